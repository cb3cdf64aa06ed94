"""Whose signature a message to the oracle bears: anybody can send one, and only the publisher's counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from keeper.model import Address
from keeper.protocols.options.book import CONTRACTS

KINDS: Final = {"publish": "spot", "publishSmile": "smile"}  # what a message calls itself
LENGTH: Final = 65  # bytes: r, s, v
V: Final = (27, 28)


def signer(chain_id: int, oracle: Address, data: bytes) -> Address | None:
    """Who signed the message in this call, as ``Oracle._authentic`` recovers it; None for what is none."""
    call = CONTRACTS["Oracle"].decode(data)
    if call is None or call[0] not in KINDS:
        return None
    *values, signature = call[1].values()
    types = CONTRACTS["Oracle"].functions[call[0]].inputs[:-1]
    head = (chain_id, oracle, KINDS[call[0]])
    return recovered(keccak(encode(("uint256", "address", "string", *types), (*head, *values))), signature)


@lru_cache(maxsize=256)
def recovered(digest: bytes, signature: bytes) -> Address | None:
    """Remembered, since a call that is pending is looked at with every block."""
    if len(signature) != LENGTH or signature[-1] not in V:
        return None
    try:
        return _recover()(digest, signature[:-1] + bytes([signature[-1] - V[0]]))
    except Exception:  # whatever the library calls it: there is no such key
        return None


@lru_cache(maxsize=1)
def _recover() -> Callable[[bytes, bytes], Address]:
    """By libsecp256k1 where that is installed, which takes 0.1 ms; else a hundred times as long."""
    try:
        from coincurve import PublicKey
    except ImportError:
        from eth_keys.datatypes import Signature

        return lambda digest, rsv: Signature(rsv).recover_public_key_from_msg_hash(digest).to_canonical_address()

    def recover(digest: bytes, rsv: bytes) -> Address:
        key = PublicKey.from_signature_and_message(rsv, digest, hasher=None)
        return bytes(keccak(key.format(compressed=False)[1:])[-20:])

    return recover

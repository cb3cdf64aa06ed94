"""Type-2 transactions, signed. The only transactions that this key can sign.

The serialiser (``rlp.py``) is written out, because the general one costs ten times the signature; it is byte-identical
to eth-account's (a property test holds them together). The curve is libsecp256k1 through coincurve where that is
installed, otherwise eth-account's own; both are deterministic (RFC 6979) and low-s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from eth_hash.auto import keccak

from keeper.errors import WrongChain
from keeper.model import Address, Call, Hash
from keeper.tx import rlp
from keeper.tx.budget import Budget
from keeper.tx.guard import Allowed, Guard
from keeper.tx.keys import Key

Signed = tuple[bytes, Hash]
Curve = Callable[[bytes], bytes]  # 32-byte digest -> r (32), s (32), parity (1)


class Signer(Protocol):
    address: Address
    chain_id: int

    def sign(
        self, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int
    ) -> Signed | Awaitable[Signed]:
        """The raw transaction and its hash, now or, from a signer elsewhere, later. Fees are wei per gas.

        Raises Refused (a limit), Retry (not to be had now), Stop (must not happen); nothing is signed then.
        """
        ...


class LocalSigner:
    """Signs with a key in this process, after ``guard`` has read the very bytes that are hashed."""

    __slots__ = ("_chain", "_curve", "address", "chain_id", "guard")

    def __init__(self, address: Address, chain_id: int, curve: Curve, guard: Guard) -> None:
        self.address = address
        self.chain_id = chain_id
        self.guard = guard
        self._chain = rlp.number(chain_id)
        self._curve = curve

    def sign(self, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int) -> tuple[bytes, Hash]:
        if chain_id != self.chain_id:
            raise WrongChain(f"asked to sign for chain {chain_id}; this signer is for chain {self.chain_id}")
        fields = encoded(self._chain, nonce, call, gas, max_fee, tip)
        payload = b"\x02" + rlp.sequence(fields)
        self.guard.check(payload)
        signature = self._curve(keccak(payload))
        return sealed(fields, signature)

    def __repr__(self) -> str:
        return f"LocalSigner(0x{self.address.hex()}, chain {self.chain_id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer cannot be copied or pickled")


def local_signer(key: Key, chain_id: int, allowed: Allowed | None = None, budget: Budget | None = None) -> LocalSigner:
    """A signer on the fastest curve that is installed."""
    address, curve = curve_of(key)
    return LocalSigner(address, chain_id, curve, Guard(chain_id, address, allowed, budget))


def curve_of(key: Key) -> tuple[Address, Curve]:
    """The address of a key, and what signs with it."""
    try:
        return coincurve_curve(key)
    except ImportError:
        return eth_account_curve(key)


def encoded(chain: bytes, nonce: int, call: Call, gas: int, max_fee: int, tip: int) -> bytes:
    """The nine fields of an unsigned type-2 transaction, without the head of their list."""
    return b"".join(
        (
            chain,
            rlp.number(nonce),
            rlp.number(tip),
            rlp.number(max_fee),
            rlp.number(gas),
            rlp.octets(call.target),
            rlp.number(call.value),
            rlp.octets(call.data),
            b"\xc0",  # no access list
        )
    )


def sealed(fields: bytes, signature: bytes) -> tuple[bytes, Hash]:
    """The raw transaction and its hash, of its fields and r (32), s (32), parity (1)."""
    r, s, parity = signature[:32], signature[32:64], signature[64]
    ending = rlp.number(parity) + rlp.octets(r.lstrip(b"\0")) + rlp.octets(s.lstrip(b"\0"))
    raw = b"\x02" + rlp.sequence(fields + ending)
    return raw, keccak(raw)


def coincurve_curve(key: Key) -> tuple[Address, Curve]:
    from coincurve import PrivateKey

    private = PrivateKey(key.reveal())
    address = keccak(private.public_key.format(compressed=False)[1:])[-20:]

    def sign(digest: bytes) -> bytes:
        signature: bytes = private.sign_recoverable(digest, hasher=None)
        return signature

    return address, sign


def eth_account_curve(key: Key) -> tuple[Address, Curve]:
    from eth_account import Account

    def sign(digest: bytes) -> bytes:
        signed = Account.unsafe_sign_hash(digest, key.reveal())
        signature: bytes = signed.r.to_bytes(32) + signed.s.to_bytes(32) + bytes([signed.v - 27])
        return signature

    return bytes.fromhex(Account.from_key(key.reveal()).address[2:]), sign

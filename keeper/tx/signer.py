"""Type-2 transactions, signed. The only transactions that this key can sign.

The serialiser is written out, because the general one costs ten times the signature; it is byte-identical to
eth-account's (a property test holds them together). The curve is libsecp256k1 through coincurve where that is
installed, otherwise eth-account's own; both are deterministic (RFC 6979) and low-s.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final, NoReturn, Protocol

from eth_hash.auto import keccak

from keeper.errors import Broken, WrongChain
from keeper.model import Address, Call, Hash
from keeper.tx.keys import Key

Selector = bytes  # the first four bytes of call data; empty for a plain transfer
Allowed = Set[tuple[Address, Selector]]
Curve = Callable[[bytes], bytes]  # 32-byte digest -> r (32), s (32), parity (1)


class Signer(Protocol):
    address: Address
    chain_id: int

    def sign(self, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int) -> tuple[bytes, Hash]:
        """The raw transaction and its hash. Fees are wei per gas."""
        ...


class LocalSigner:
    """Signs with a key in this process; refuses another chain and, given a list, any call that is not on it.

    The no-op (nothing, to itself) is always allowed: it is how a transaction is cancelled.
    """

    __slots__ = ("_allowed", "_chain", "_curve", "address", "chain_id")

    def __init__(self, address: Address, chain_id: int, curve: Curve, allowed: Allowed | None = None) -> None:
        self.address = address
        self.chain_id = chain_id
        self._chain = _int(chain_id)
        self._curve = curve
        self._allowed = allowed

    def sign(self, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int) -> tuple[bytes, Hash]:
        self._guard(call, chain_id)
        fields = b"".join(
            (
                self._chain,
                _int(nonce),
                _int(tip),
                _int(max_fee),
                _int(gas),
                b"\x94",
                call.target,
                _int(call.value),
                _bytes(call.data),
                b"\xc0",  # no access list
            )
        )
        signature = self._curve(keccak(b"\x02" + _list(fields)))
        r, s, parity = signature[:32], signature[32:64], signature[64]
        raw = b"\x02" + _list(fields + _int(parity) + _bytes(r.lstrip(b"\0")) + _bytes(s.lstrip(b"\0")))
        return raw, keccak(raw)

    def _guard(self, call: Call, chain_id: int) -> None:
        if chain_id != self.chain_id:
            raise WrongChain(f"asked to sign for chain {chain_id}; this signer is for chain {self.chain_id}")
        if len(call.target) != 20:
            raise Broken("asked to sign a transaction without a 20-byte target")
        if self._allowed is None or call == Call(self.address, b""):
            return
        if (call.target, call.data[:4]) not in self._allowed:
            raise Broken(
                f"asked to sign a call that is not on the list: 0x{call.target.hex()} 0x{call.data[:4].hex()}",
                help="add the target and the selector to the allowed calls if this call is meant",
            )

    def __repr__(self) -> str:
        return f"LocalSigner(0x{self.address.hex()}, chain {self.chain_id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer cannot be copied or pickled")


def local_signer(key: Key, chain_id: int, allowed: Allowed | None = None) -> LocalSigner:
    """A signer on the fastest curve that is installed."""
    try:
        address, curve = coincurve_curve(key)
    except ImportError:
        address, curve = eth_account_curve(key)
    return LocalSigner(address, chain_id, curve, allowed)


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


# ─── RLP (Ethereum Yellow Paper, appendix B), as far as a transaction needs it ────────────────────────

_SHORT: Final = 55  # longest payload whose length fits into the first byte


def _int(n: int) -> bytes:
    return _bytes(n.to_bytes((n.bit_length() + 7) // 8))


def _bytes(data: bytes) -> bytes:
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _head(0x80, len(data)) + data


def _list(payload: bytes) -> bytes:
    return _head(0xC0, len(payload)) + payload


def _head(base: int, length: int) -> bytes:
    if length <= _SHORT:
        return bytes((base + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((base + _SHORT + len(size),)) + size

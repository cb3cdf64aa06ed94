"""``Sealed.sol`` in Python, and what a bidder needs beside it: a salt that is never lost, and his own bid found again.

Everything a bid needs after a restart comes from the signing key and the chain:

    salt = keccak(secret, account, auction)            never stored
    note = (rho, most) xor keccak(secret, "note", …)   emitted by ``commit``, read back from the event
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from keeper.model import Address
from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer
from keeper.protocols.options.params import AuctionParams
from keeper.protocols.options.records import Auction, SealedBid, State
from keeper.protocols.options.risk import Health
from keeper.units import mul_down, wad

STEP: Final = wad("0.0005")  # grid of the discounts we bid


class Phase(IntEnum):
    NONE = 0
    COMMIT = 1
    REVEAL = 2
    AWARD = 3
    OVER = 4


def clock(state: State, a: Auction, now: int) -> tuple[AuctionParams, int] | None:
    """(parameters, live seconds since the flag); None when this auction has no sealed stage."""
    p = state.params(a.version).auction
    if not a.flagged_at or a.since != a.flagged_at or not p.commit_time:
        return None
    return p, auction.elapsed(state, a, 15, now)[0]


def phase(state: State, account: int, a: Auction, now: int) -> Phase:
    """``Sealed.phase`` at a timestamp."""
    found, bids = clock(state, a, now), state.sealed(account, a.flagged_at)
    if found is None or not (bids or state.guests()):
        return Phase.NONE
    p, t = found
    if t <= p.commit_time:
        return Phase.COMMIT
    if len(bids) < 2:
        return Phase.OVER
    if t <= p.commit_time + p.reveal_time:
        return Phase.REVEAL
    return Phase.AWARD if t <= p.commit_time + 2 * p.reveal_time and queue(bids) else Phase.OVER


def queue(bids: tuple[SealedBid, ...]) -> list[SealedBid]:
    """Open bids in the order in which they are filled: by rising rho, the earlier of equals first."""
    return sorted((b for b in bids if b.most), key=lambda b: b.rho)


def hash_of(
    chain_id: int, contract: Address, account: int, flagged_at: int, bid: tuple[int, int, int], salt: bytes
) -> bytes:
    """``Sealed.hashOf``; ``bid`` is (bidder, rho, most)."""
    types = ("uint256", "address", "uint256", "uint256", "uint256", "uint256", "uint256", "bytes32")
    return bytes(keccak(encode(types, (chain_id, contract, account, flagged_at, *bid, salt))))


def salt(secret: bytes, account: int, flagged_at: int) -> bytes:
    return bytes(keccak(secret + account.to_bytes(32) + flagged_at.to_bytes(8)))


def note(secret: bytes, account: int, flagged_at: int, rho: int, most: int) -> bytes:
    """32 bytes that only the holder of the secret can read; its own inverse as a cipher."""
    return _mask(secret, account, flagged_at, rho.to_bytes(16) + most.to_bytes(16))


def read_note(secret: bytes, account: int, flagged_at: int, noted: bytes) -> tuple[int, int]:
    """(rho, most)."""
    plain = _mask(secret, account, flagged_at, noted)
    return int.from_bytes(plain[:16]), int.from_bytes(plain[16:])


def _mask(secret: bytes, account: int, flagged_at: int, text: bytes) -> bytes:
    pad = keccak(b"note" + secret + account.to_bytes(32) + flagged_at.to_bytes(8))
    return bytes(a ^ b for a, b in zip(text, pad, strict=True))


@dataclass(frozen=True, slots=True)
class Terms:
    """What a bid at any discount would bring, the account as it is."""

    health: Health
    params: AuctionParams
    fund_left: int  # usd
    share: int  # of the largest slice that is wanted, wad

    def offer(self, rho: int) -> Offer:
        return auction.make_offer(self.health, self.params, rho, self.fund_left)

    def most(self, rho: int) -> int:
        return mul_down(self.offer(rho).fmax, self.share)

    def gain(self, rho: int) -> int:
        """The slice at the protocol's marks, less what is paid for it. Usd."""
        o = self.offer(rho)
        return mul_down(o.equity - o.total, self.most(rho))

    def lowest(self, gain: int) -> int | None:
        """The lowest discount on the grid that brings so much; None when not even rhoSealed does."""
        low, high = 0, self.params.rho_sealed // STEP
        if self.gain(high * STEP) < gain:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.gain(middle * STEP) >= gain else (middle + 1, high)
        return low * STEP

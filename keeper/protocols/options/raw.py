"""Many accounts in the words of the chain, told apart at array speed: what events and the packed reader have in common.

Shapes: W words of four 64-bit parts each, the most significant first; N accounts; A assets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keeper.errors import AdapterFault
from keeper.protocols.options.plain import LONGEST, LOT, MOST, Ints, Plain
from keeper.protocols.options.records import UNUSED, Account, leg

WORD: Final = 32  # bytes
HEAD: Final = 6  # words of an event beside legs and amounts
LEGS_AT: Final = WORD * 4  # where the offset of the legs points to

Words = NDArray[np.uint64]


def words_of(data: bytes, what: str) -> Words:
    """(W, 4); AdapterFault when the data is no whole words."""
    if len(data) % WORD:
        raise AdapterFault(f"{what} has {len(data)} bytes, which are no words")
    return np.frombuffer(data, ">u8").reshape(-1, 4).astype(np.uint64)


class Raw(NamedTuple):
    words: Words  # (W, 4)
    cash: Ints  # (N,) which word; its lower half counts
    change: Words  # (N,) change id
    loss: Words  # (N,) loss index, wad
    first: Ints  # (N,) the word of the first leg
    legs: Ints  # (N,)
    amounts: Ints  # (N, A) the word of each amount of collateral; -1: none
    assets: Ints  # (N,) how many of the A are told

    def record(self, i: int) -> Account:
        """One account, exact."""
        first, legs = int(self.first[i]), int(self.legs[i])
        w, cash = self.words[first : first + legs].tolist(), self.words[int(self.cash[i])].tolist()
        sizes = ((a << 64 | b, ((c << 64 | d) ^ 2**127) - 2**127) for a, b, c, d in w)
        high = cash[2] - 2**64 if cash[2] >> 63 else cash[2]
        return Account(
            (high << 64) + cash[3],
            tuple(sorted(map(leg, sizes))),
            self._held(i),
            int(self.change[i]),
            int(self.loss[i]),
        )

    def _held(self, i: int) -> tuple[int, ...]:
        return tuple(self._word(at) if at >= 0 else 0 for at in self.amounts[i, : self.assets[i]].tolist())

    def _word(self, at: int) -> int:
        return int.from_bytes(self.words[at].astype(">u8").tobytes())

    def plain(self) -> tuple[Plain, NDArray[np.bool_]]:
        """In columns, and which of the accounts are as plain as that; what is said of the others means nothing.

        AdapterFault for a leg that is none: its bits would run into those of whose it is.
        """
        owner = np.repeat(np.arange(len(self.legs)), self.legs)
        at = np.arange(len(owner)) + np.repeat(self.first - np.cumsum(self.legs) + self.legs, self.legs)
        legs, cash = self.words[at], self.words[self.cash]
        if (legs[:, 0] & np.uint64(UNUSED)).any():
            raise AdapterFault("an account has a leg that is of no series")
        lots, whole = _lots(legs[:, 2], legs[:, 3])
        top, change = cash[:, 2].view(np.int64), self.change.astype(np.int64)
        fits = (np.bincount(owner[~whole], minlength=len(self.legs)) == 0) & (self.legs <= MOST)
        fits &= (np.abs(top) < LONGEST) & (change < LONGEST)
        heads = top, cash[:, 3], change + 1, self.assets.astype(np.uint8), self.loss, self._pledged()
        return Plain(*heads, owner, legs[:, 0], legs[:, 1], lots).sorted(), fits

    def _pledged(self) -> NDArray[np.object_]:
        found = np.full(len(self.cash), None, np.object_)
        whose, asset = np.nonzero(self.amounts >= 0)
        told = self.words[self.amounts[whose, asset]]
        some = told.any(axis=1)
        rows, at = np.unique(whose[some], return_inverse=True)
        amounts = np.zeros((len(rows), self.amounts.shape[1]), np.object_)
        amounts[at, asset[some]] = [
            a << 192 | b << 128 | c << 64 | d if a or b or c else d for a, b, c, d in told[some].tolist()
        ]
        for i, count, held in zip(rows.tolist(), self.assets[rows].tolist(), amounts.tolist(), strict=True):
            found[i] = tuple(held[:count])
        return found


def of_events(data: Sequence[bytes], losses: Sequence[int]) -> Raw:
    """``Clearing.Changed`` many times over, without its topics, each at its loss index; as solc lays them out.

    AdapterFault when one is laid out otherwise.
    """
    sizes = np.fromiter(map(len, data), np.int64, len(data))
    ends = np.cumsum(sizes // WORD)
    at, words = ends - sizes // WORD, words_of(b"".join(data), "an account's event")
    if (sizes < HEAD * WORD).any() or (sizes % WORD).any():
        raise AdapterFault("an account's event is too short")
    legs = _small(words, at + 4, "legs")
    tail = at + 5 + legs
    if (tail >= ends).any():
        raise AdapterFault("an account's event ends within its legs")
    assets = _small(words, tail, "amounts")
    offsets = words[np.stack((at + 2, at + 3), axis=1), 3].view(np.int64)
    if (tail + 1 + assets != ends).any() or (offsets != np.stack((0 * at, WORD * (1 + legs)), axis=1) + LEGS_AT).any():
        raise AdapterFault("an account's event is not laid out as the compiler does it")
    slots = np.arange(int(assets.max(initial=0)))
    amounts = np.where(slots < assets[:, None], tail[:, None] + 1 + slots, -1)
    return Raw(words, at + 1, words[at, 3], np.array(losses, np.uint64), at + 5, legs, amounts, assets)


def _small(words: Words, at: Ints, what: str) -> Ints:
    """Lengths of arrays."""
    found = words[at]
    if found[:, :3].any() or (found[:, 3] > len(words)).any():
        raise AdapterFault(f"an account's event has more {what} than words")
    return found[:, 3].view(np.int64)


def _lots(high: Words, low: Words) -> tuple[Ints, NDArray[np.bool_]]:
    """Sizes (int128 in two words) in whole lots, and whether they are exactly that."""
    guess = np.rint((high.astype(np.int64) * float(2**64) + low) / LOT)
    small = np.abs(guess) < LONGEST
    lots = np.where(small, guess, 0).astype(np.int64)
    back: Any = lots.view(np.uint64) * np.uint64(LOT)  # modulo 2^64; the guess is off by less than that
    return lots, small & (back == low)

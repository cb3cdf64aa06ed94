"""Accounts as columns, exact: what ``Account`` says, in some 60 bytes and a dict entry instead of two kilobytes.

Cash is an int128 in two words; legs lie in the blocks that are also scanned (``margin/scan/blocks.py``), as whole lots
of the clearing house. What does not fit, such as the odd sizes that slices leave, is kept as it is in ``_odd``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.blocks import WIDTHS, Blocks, Segment, Slice, grown
from keeper.protocols.options.records import Account, Leg, Series, leg, series_of
from keeper.units import WAD, clamp

LOT: Final = 10**15  # wad: ``Clearing.LOT``; traded sizes are multiples of it
WORD: Final = 2**64
LONGEST: Final = 2**31 - 1  # lots that a column holds
HUGE: Final = 1e12  # lots
TOO_MUCH: Final = int(HUGE) * LOT
CARE: Final = 2**20  # cash in float32, and ten sums with it, are off by less than this part of it
MIX: Final = 0x9E3779B97F4A7C15  # an odd number without pattern
GONE: Final = Account(0, (), (), -1)


class Plain(NamedTuple):
    """Accounts of the usual kind: up to eight legs, sorted, in one underlying, in whole lots, without collateral."""

    high: NDArray[np.int64]  # (N,) cash, upper word
    low: NDArray[np.uint64]
    change: NDArray[np.uint32]  # change ids
    assets: NDArray[np.uint8]
    words_high: NDArray[np.uint64]  # (N, 8) series, upper word; 0 for none
    words_low: NDArray[np.uint64]
    lots: NDArray[np.int64]  # (N, 8)

    def where(self, at: NDArray[np.bool_]) -> Plain:
        columns: tuple[Any, ...] = self
        return Plain(*(column[at] for column in columns))

    def slice(self, series: NDArray[np.int64]) -> Slice:
        """As blocks; ``series`` (N, 8) are rows of the table."""
        n, used = len(self.high), self.words_high != 0
        terms = self.words_high >> np.uint64(8)
        begins = used & np.concatenate([np.ones((n, 1), bool), terms[:, 1:] != terms[:, :-1]], axis=1)
        calls, puts = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for k in range(used.shape[1]):
            is_call = self.words_high[:, k] & np.uint64(1) != 0
            calls, puts = (np.where(begins[:, k], np.minimum(each, 0), each) for each in (calls, puts))
            calls, puts = calls + self.lots[:, k] * is_call, puts + self.lots[:, k] * ~is_call
        naked, shorts = np.maximum(-calls, 0) + np.maximum(-puts, 0), np.maximum(-self.lots, 0).sum(axis=1)
        first, under = (begins << np.arange(used.shape[1])).sum(axis=1), self.words_high[:, 0] >> np.uint64(48)
        return Slice(series, self.lots, first, under, np.zeros(n), shorts, naked, np.abs(self.lots).sum(axis=1))


class Listing:
    """The series that somebody holds, each with its row in the value table; row 0 is none."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._holders = [0]
        self._free: list[int] = []
        self.words = [0]  # row -> series
        self.arranged: Any = None  # what others have made of it; forgotten at every change

    def hold(self, word: int) -> int:
        row = self._rows.get(word)
        if row is None:
            row = self._rows[word] = self._new(word)
        self._holders[row] += 1
        return row

    def _new(self, word: int) -> int:
        self.arranged = None
        if self._free:
            row = self._free.pop()
            self.words[row] = word
            return row
        self.words.append(word)
        self._holders.append(0)
        return len(self.words) - 1

    def hold_all(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        """``hold`` for many series, as upper and lower words; 0 is none. ValueError when two have one fingerprint."""
        prints = high * np.uint64(MIX) + low
        _, at, inverse, counts = np.unique(prints, return_index=True, return_inverse=True, return_counts=True)
        inverse = inverse.reshape(high.shape)
        if (high.flat[at][inverse] != high).any() or (low.flat[at][inverse] != low).any():
            raise ValueError("two series have one fingerprint")
        words = [int(h) << 64 | int(w) for h, w in zip(high.flat[at], low.flat[at], strict=True)]
        rows = [self.hold(word) if word else 0 for word in words]
        for row, count in zip(rows, counts.tolist(), strict=True):
            self._holders[row] += (count - 1) if row else 0
        return np.array(rows, np.int64)[inverse]

    def drop(self, row: int) -> None:
        self._holders[row] -= 1
        if not self._holders[row]:
            self.arranged = None
            del self._rows[self.words[row]]
            self._free.append(row)

    def live(self) -> dict[int, Series]:
        """Row -> series, of those held."""
        return {row: series_of(word) for word, row in self._rows.items()}

    def __len__(self) -> int:
        """Rows, the empty ones included."""
        return len(self.words)


class Store:
    """All accounts. A row is never given to another account; one that is gone is empty."""

    def __init__(self) -> None:
        self.listing = Listing()
        self.first = Blocks(WIDTHS[0])  # row of the account = number of the block
        self.more = Blocks(WIDTHS[0])  # other underlyings of an account
        self.long = Blocks(WIDTHS[1])  # more than eight legs in one underlying
        self.odd = Blocks(WIDTHS[1], np.float64)  # sizes that are no whole lots
        self.cash: NDArray[np.float32] = np.zeros(0, np.float32)  # US dollars, less what float32 may be off by
        self._rows: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._high: NDArray[np.int32] = np.zeros(0, np.int32)
        self._low: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._change: NDArray[np.uint32] = np.zeros(0, np.uint32)  # 0: no such account, else its change id + 1
        self._assets: NDArray[np.uint8] = np.zeros(0, np.uint8)  # length of ``collateral``
        self._era: NDArray[np.uint16] = np.zeros(0, np.uint16)  # place in ``_eras``
        self._eras: dict[int, int] = {WAD: 0}  # loss indices at which cash was last changed
        self.loss = WAD  # loss index at which ``cash`` counts
        self._beyond: dict[int, list[tuple[Blocks, int]]] = {}  # row -> blocks beside its first
        self._odd: dict[int, Account] = {}
        self.huge: set[int] = set()  # rows that hold more than float32 can square: looked at every time
        self.pledged: dict[int, tuple[int, ...]] = {}  # row -> collateral, of those that have any

    def __len__(self) -> int:
        """Rows, of accounts that are gone too."""
        return len(self._keys)

    @property
    def blocks(self) -> tuple[Blocks, ...]:
        return self.first, self.more, self.long, self.odd

    # ── keys ──

    def __contains__(self, account: int) -> bool:
        """Whether it was ever seen."""
        return _key(account) in self._rows

    def account(self, row: int) -> int:
        return int.from_bytes(self._keys[row])

    def rows(self, accounts: Iterable[int]) -> list[int]:
        """KeyError for one that was never seen."""
        return [self._rows[_key(account)] for account in accounts]

    def accounts(self) -> Iterator[int]:
        """By row; accounts that are gone left out."""
        return (int.from_bytes(key) for key, change in zip(self._keys, self._change.tolist(), strict=False) if change)

    def _row(self, account: int) -> int:
        key = _key(account)
        row = self._rows.setdefault(key, len(self._keys))
        if row == len(self._keys):
            self._keys.append(key)
            if row == len(self.cash):
                self._grow(max(64, 2 * row))
            self.first.take()
        return row

    def _grow(self, rows: int) -> None:
        self.cash, self._high, self._low = (grown(a, rows) for a in (self.cash, self._high, self._low))
        self._change, self._assets, self._era = (grown(a, rows) for a in (self._change, self._assets, self._era))

    # ── records ──

    def get(self, account: int) -> Account | None:
        row = self._rows.get(_key(account))
        if row is None or not self._change[row]:
            return None
        if row in self._odd:
            return self._odd[row]
        collateral = self.pledged.get(row) or (0,) * self._assets.item(row)
        cash = (self._high.item(row) << 64) + self._low.item(row)
        era = self._era.item(row)
        index = list(self._eras)[era] if era else WAD
        return Account(cash, self._legs(row), collateral, self._change.item(row) - 1, index)

    def _legs(self, row: int) -> tuple[Leg, ...]:
        words, parts = self.listing.words, self._parts(row)
        each = [zip(*blocks.legs(at), strict=True) for blocks, at in parts]
        legs = [leg((words[series], lots * LOT)) for part in each for series, lots in part]
        return tuple(legs if len(parts) == 1 else sorted(legs))  # a block is in order

    def _parts(self, row: int) -> Sequence[tuple[Blocks, int]]:
        return [(self.first, row), *self._beyond.get(row, ())]

    def put(self, account: int, record: Account | None, units: Mapping[int, float]) -> int:
        """Write one account over what it was; None is gone. ``units``: collateral by underlying, in lots. Its row."""
        row = self._row(account)
        record = record or GONE
        whole, high = all(_fits(size) for _, size in record.legs), record.cash // WORD
        if whole and record.change_id < LONGEST and abs(high) < LONGEST and self._known(record.index):
            self._odd.pop(row, None)
            self._high[row], self._low[row] = high, record.cash % WORD
        else:
            self._odd[row] = record
        self._era[row] = self._eras.get(record.index, 0)
        self.cash[row] = _careful(self._now(record)) / WAD
        self._change[row], self._assets[row] = (
            0 if record is GONE else record.change_id % LONGEST + 1,
            len(record.collateral),
        )
        self._pledge(row, record.collateral)
        self.place(row, record.legs, units, whole=whole)
        return row

    def _known(self, index: int) -> bool:
        """Whether a loss index has, or can be given, a number."""
        if index not in self._eras and len(self._eras) < 2**16:
            self._eras[index] = len(self._eras)
        return index in self._eras

    def _pledge(self, row: int, collateral: tuple[int, ...]) -> None:
        if any(collateral):
            self.pledged[row] = collateral
        else:
            self.pledged.pop(row, None)

    def dollars(self) -> NDArray[np.float64]:
        """Cash by row in float64, after its share in the losses since it last changed."""
        n = len(self)
        cash = _dollars(self._high[:n], self._low[:n])
        if self.loss != WAD or len(self._eras) > 1:
            cash = _share(cash, (self.loss / np.array(list(self._eras), np.float64))[self._era[:n]])
        for row, account in self._odd.items():
            cash[row] = self._now(account) / WAD
        return cash

    def _now(self, account: Account) -> float:
        """Cash after its share in losses, wad."""
        return account.cash * self.loss / account.index if account.cash > 0 else account.cash

    def share(self, loss: int) -> None:
        """Count all cash anew, at another loss index."""
        self.loss, n = loss, len(self)
        self.cash[:n] = _careful(self.dollars())

    def beyond(self, rows: Iterable[int]) -> Iterator[tuple[int, Blocks, int]]:
        """(position among ``rows``, blocks, number) of all blocks beside the first."""
        for i, row in enumerate(rows if self._beyond else ()):
            for blocks, at in self._beyond.get(row, ()):
                yield i, blocks, at

    # ── many at once ──

    def fill(self, accounts: Sequence[int], many: Plain) -> None:
        """Write accounts that are not in the store yet: what ``put`` would do one by one, at array speed."""
        n = len(accounts)
        start = len(self)
        keys = [_key(account) for account in accounts]
        self._rows |= dict(zip(keys, range(start, start + n), strict=True))
        self._keys += keys
        if len(self) > len(self.cash):
            self._grow(max(64, 2 * start, len(self)))
        to = slice(start, start + n)
        self._high[to], self._low[to] = many.high, many.low
        self._change[to], self._assets[to] = many.change + 1, many.assets
        self.cash[to] = _careful(_share(_dollars(many.high, many.low), self.loss / WAD))
        self.first.append(many.slice(self.listing.hold_all(many.words_high, many.words_low)))

    # ── positions ──

    def again(self, row: int, units: Mapping[int, float]) -> None:
        """Lay an account out again, with collateral as it counts now."""
        record = self.get(self.account(row))
        if record is not None:
            self.place(row, record.legs, units, whole=all(_fits(size) for _, size in record.legs))

    def place(self, row: int, legs: Sequence[Leg], units: Mapping[int, float], *, whole: bool = True) -> None:
        """Lay the positions of an account out in blocks, whatever it had before."""
        old = [series for blocks, at in self._parts(row) for series in blocks.legs(at)[0]]
        groups = {u: list(group) for u, group in groupby(legs, lambda one: one[0] >> 112 & 0xFF)}
        segments = [self._segment(u, groups.get(u, ()), units.get(u, 0.0), whole) for u in sorted({*groups, *units})]
        for blocks, at in self._beyond.pop(row, ()):
            blocks.free(at)
        for series in old:
            self.listing.drop(series)
        self._lay(row, segments, whole)
        within = all(max(s.gross, s.units) < HUGE for s in segments)
        (self.huge.discard if within else self.huge.add)(row)

    def _lay(self, row: int, segments: list[Segment], whole: bool) -> None:
        short = next((i for i, s in enumerate(segments) if whole and len(s.series) <= WIDTHS[0]), None)
        self.first.write(row, segments.pop(short) if short is not None else EMPTY)
        taken = []
        for s in segments:
            blocks = self.odd if not whole else self.more if len(s.series) <= WIDTHS[0] else self.long
            at = blocks.take(row)
            blocks.write(at, s)
            taken.append((blocks, at))
        if taken:  # in the order in which a scan adds them up
            self._beyond[row] = sorted(taken, key=lambda part: (self.blocks.index(part[0]), part[1]))

    def _segment(self, u: int, legs: Sequence[Leg], units: float, whole: bool) -> Segment:
        first, calls, puts, before = 0, 0, 0, -1
        for k, (series, size) in enumerate(legs):
            if series >> 72 != before:
                first, before, calls, puts = first | 1 << k, series >> 72, min(calls, 0), min(puts, 0)
            calls, puts = (calls + size, puts) if series >> 64 & 1 else (calls, puts + size)
        lots = (
            [size // LOT for _, size in legs] if whole else [clamp(size, -TOO_MUCH, TOO_MUCH) / LOT for _, size in legs]
        )
        naked = min((max(0, -calls) + max(0, -puts)) / LOT, HUGE)
        shorts = min(-sum(size for _, size in legs if size < 0) / LOT, HUGE)
        return Segment(
            u, [self.listing.hold(series) for series, _ in legs], lots, first, min(units, HUGE), shorts, naked
        )

    @property
    def nbytes(self) -> int:
        """Of the columns; keys not counted."""
        each = (a.itemsize for a in (self.cash, self._high, self._low, self._change, self._assets, self._era))
        return sum(each) * len(self) + sum(blocks.nbytes for blocks in self.blocks)


def _key(account: int) -> bytes:
    """20 bytes for the first account of an owner, 32 for its sub-accounts."""
    return account.to_bytes(20 if account >> 160 == 0 else 32)


def _dollars(high: NDArray[Any], low: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (high * float(WORD) + low) / WAD


def _share(cash: NDArray[np.float64], share: Any) -> NDArray[np.float64]:
    """Positive cash bears losses."""
    return np.where(cash > 0, cash * share, cash)


def _careful(cash: Any) -> Any:
    """Less what it may be off by in float32."""
    return cash - abs(cash) / CARE


def _fits(size: int) -> bool:
    lots, rest = divmod(size, LOT)
    return not rest and -LONGEST <= lots <= LONGEST


EMPTY: Final = Segment(0, (), (), 0, 0.0, 0.0, 0.0)


def raw(store: Store) -> Mapping[int, Any]:
    """Every account with what is kept of it, for comparing two stores."""
    return {account: store.get(account) for account in store.accounts()}

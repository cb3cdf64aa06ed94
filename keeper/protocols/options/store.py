"""Accounts as columns, exact: what ``Account`` says, in some 60 bytes and a dict entry instead of two kilobytes.

Cash is an int128 in two words; legs lie in the blocks that are also scanned (``margin/scan/blocks.py``), as whole lots
of the clearing house. What does not fit, such as the odd sizes that slices leave, is kept as it is in ``_odd``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.blocks import WIDTHS, Blocks, Segment, grown
from keeper.protocols.options.listing import WORD, Listing
from keeper.protocols.options.plain import LONGEST, LOT, Counted, Ints, Plain, Segments
from keeper.protocols.options.records import UNUSED, Account, Leg, leg
from keeper.units import WAD, clamp

HUGE: Final = 1e12  # lots
TOO_MUCH: Final = int(HUGE) * LOT
MOST: Final = LONGEST * LOT
CARE: Final = 2**20  # cash in float32, and ten sums with it, are off by less than this part of it
SUBS: Final = 2**160  # sub-accounts from here on
GONE: Final = Account(0, (), (), -1)


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
        """Write one account over what it was; None is gone. ``units``: collateral by underlying, in lots. Its row.

        ValueError, and nothing written, for a record that is none: it would compare as healthy.
        """
        record = record or GONE
        _judge(account, record)
        row = self._row(account)
        whole, high = all(_fits(size) for _, size in record.legs), record.cash // WORD
        if whole and record.change_id < LONGEST and abs(high) < LONGEST and self.known(record.index):
            self._odd.pop(row, None)
            self._high[row], self._low[row] = high, record.cash % WORD
            dollars = (high * float(WORD) + record.cash % WORD) / WAD  # as ``write`` reckons
            self.cash[row] = _careful(dollars * (self.loss / float(record.index)) if dollars > 0 else dollars)
        else:
            self._odd[row] = record
            self.cash[row] = _careful(self._now(record) / WAD)
        self._era[row] = self._eras.get(record.index, 0)
        self._change[row], self._assets[row] = (
            0 if record is GONE else record.change_id % LONGEST + 1,
            len(record.collateral),
        )
        self._pledge(row, record.collateral)
        self.place(row, record.legs, units, whole=whole)
        return row

    def known(self, index: int) -> bool:
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

    def take(self, accounts: Sequence[int]) -> Ints:
        """The rows of accounts, new ones for those that were never seen."""
        keys = [account.to_bytes(20 if account < SUBS else 32) for account in accounts]  # ``_key``, in place
        new = [key for key in dict.fromkeys(keys) if key not in self._rows]
        if new:
            start = len(self)
            self._rows |= zip(new, range(start, start + len(new)), strict=True)
            self._keys += new
            if len(self) > len(self.cash):
                self._grow(max(64, 2 * start, len(self)))
            self.first.extend(len(new))
        return np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys))

    def plain(self, rows: Ints) -> NDArray[np.bool_]:
        """Which of them ``snapshot`` can tell."""
        told = np.ones(len(rows), bool)
        if self._odd and (strange := self._odd.keys() & set(rows.tolist())):
            told = np.array([row not in strange for row in rows.tolist()])
        return told

    def snapshot(self, rows: Ints) -> Plain:
        """Plain accounts as they are: what ``write`` needs to bring them back."""
        pledged = np.empty(len(rows), np.object_)
        if self.pledged:
            pledged[:] = [self.pledged.get(row) for row in rows.tolist()]
        index = np.array(list(self._eras), np.uint64)[self._era[rows]]
        cash, change = (self._high[rows].astype(np.int64), self._low[rows]), self._change[rows].astype(np.int64)
        parts = [(self.first, np.arange(len(rows)), rows), *self._others(rows)]
        owner, series, lots = (np.concatenate(each) for each in zip(*(_held(*part) for part in parts), strict=True))
        high, low = (half[series] for half in self.listing.halves)
        heads = *cash, change, self._assets[rows], index, pledged
        made = Plain(*heads, owner, high, low, lots.astype(np.int64))
        return made.sorted() if len(parts) > 1 else made  # a block is in order

    def _others(self, rows: Ints) -> list[tuple[Blocks, Ints, Ints]]:
        """The blocks beside their first: (blocks, which of ``rows``, numbers)."""
        where = dict(zip(rows.tolist(), range(len(rows)), strict=True)) if self._beyond else {}
        found = [(blocks, where[row], at) for row in self._beyond.keys() & where for blocks, at in self._beyond[row]]
        of = ((blocks, [(i, at) for b, i, at in found if b is blocks]) for blocks in self.blocks[1:])
        return [(blocks, *np.array(pairs, np.int64).T) for blocks, pairs in of if pairs]

    def write(self, rows: Ints, many: Plain, counted: Counted) -> None:
        """Write accounts over what they were, each once: what ``put`` does one by one, at array speed.

        ``counted`` gives the ``units`` of collateral.
        """
        series = self.listing.hold_all(many.words_high, many.words_low)
        if self._change[rows].any():
            self._bare(rows)
        self._high[rows], self._low[rows], self._change[rows] = many.high, many.low, many.change
        self._assets[rows], self._era[rows] = many.assets, self._numbers(many.loss)
        share = float(self.loss) / many.loss.astype(np.float64)
        self.cash[rows] = _careful(_share(_dollars(many.high, many.low), share))
        secured = many.secured
        self.pledged.update(zip(rows[secured].tolist(), many.pledged[secured].tolist(), strict=True))
        segments = many.segments(counted)
        short = np.flatnonzero(segments.length <= WIDTHS[0])
        chosen = short[np.unique(segments.owner[short], return_index=True)[1]]  # the first that fits into a first block
        leading = segments.where(chosen)
        self.first.lay(rows[leading.owner], many.laid(leading, series, WIDTHS[0]))
        if len(chosen) < len(segments.owner):
            left = np.ones(len(segments.owner), bool)
            left[chosen] = False
            self._lay_beyond(rows, many, segments.where(left), series)
        for i in np.flatnonzero(segments.units >= HUGE).tolist():
            self.huge.add(int(rows[segments.owner[i]]))

    def _lay_beyond(self, rows: Ints, many: Plain, segments: Segments, series: Ints) -> None:
        for blocks, fits in ((self.more, segments.length <= WIDTHS[0]), (self.long, segments.length > WIDTHS[0])):
            if not fits.any():
                continue
            these = segments.where(fits)
            whose = rows[these.owner].tolist()
            at = [blocks.take(row) for row in whose]
            blocks.lay(np.array(at, np.int64), many.laid(these, series, blocks.width))
            for row, each in zip(whose, at, strict=True):
                self._beyond.setdefault(row, []).append((blocks, each))
        for row in set(rows[segments.owner].tolist()):
            self._beyond[row].sort(key=self._turn)

    def _turn(self, part: tuple[Blocks, int]) -> tuple[int, int]:
        """The order in which a scan adds blocks up."""
        return self.blocks.index(part[0]), part[1]

    def _bare(self, rows: Ints) -> None:
        """Take all from accounts that ``write`` does not overwrite."""
        self.listing.drop_all(self.first.used.series[rows])
        for blocks, _, at in self._others(rows):
            self.listing.drop_all(blocks.used.series[at])
            blocks.free_all(at)
        self.first.clear(rows)
        these = set(rows.tolist()) if self._beyond or self._odd or self.pledged or self.huge else set()
        for records in (self._beyond, self.pledged, self._odd):
            for row in records.keys() & these:
                del records[row]
        self.huge -= these

    def _numbers(self, index: NDArray[np.uint64]) -> Ints:
        """Of loss indices, each known."""
        known, at = np.unique(index, return_inverse=True)
        return np.array([self._eras[int(each)] for each in known], np.int64)[at]

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
            self._beyond[row] = sorted(taken, key=self._turn)

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
    return account.to_bytes(20 if account < SUBS else 32)


def _judge(account: int, record: Account) -> None:
    """ValueError unless it is made of integers, of which one that is none would spoil the sum, and of legs."""
    words, sizes = 0, 0
    for series, size in record.legs:
        words |= series
        sizes += size
    total = record.cash + record.index + record.change_id + sum(record.collateral) + sizes
    if type(total) is not int or record.index <= 0:
        raise ValueError(f"account 0x{account:x} holds something that is no whole number, or has no loss index")
    if words >> 64 & UNUSED:
        raise ValueError(f"account 0x{account:x} has a leg that is of no series")


def _held(blocks: Blocks, owner: Ints, at: Ints) -> tuple[Ints, NDArray[Any], NDArray[Any]]:
    """(owner, row of the table, lots) of the slots in use."""
    series, lots = blocks.used.series[at], blocks.used.lots[at]
    used = lots != 0
    return np.repeat(owner, used.sum(axis=1)), series[used], lots[used]


def _dollars(high: NDArray[Any], low: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (high * float(WORD) + low) / WAD


def _share(cash: NDArray[np.float64], share: Any) -> NDArray[np.float64]:
    """Positive cash bears losses."""
    return np.where(cash > 0, cash * share, cash)


def _careful(cash: Any) -> Any:
    """Less what it may be off by in float32."""
    return cash - abs(cash) / CARE


def _fits(size: int) -> bool:
    return size % LOT == 0 and -MOST <= size <= MOST


EMPTY: Final = Segment(0, (), (), 0, 0.0, 0.0, 0.0)


def raw(store: Store) -> Mapping[int, Any]:
    """Every account with what is kept of it, for comparing two stores."""
    return {account: store.get(account) for account in store.accounts()}

"""All accounts of the clearing house in columns: the records themselves, and the screen over them.

    view ─► inputs ─► table: every series in every scenario ─► kernel: times positions ─► suspects
            market.py  margin/scan/table.py                     margin/scan/kernels

A suspect is an account whose equity may be below its requirement, as far as float32 can tell; the exact telling
(``risk.py``) decides. What cannot be valued, such as a series without a smile, is refused: nobody could liquidate its
holders on chain either, and ``refused`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Final

import numpy as np

from keeper.margin import portfolio
from keeper.margin.portfolio import Rules
from keeper.margin.scan import exact, slack, table
from keeper.margin.scan.blocks import Array, Blocks, Slice
from keeper.margin.scan.kernels import Kernel
from keeper.margin.scan.kernels.ready import READY
from keeper.margin.scan.slack import Index
from keeper.margin.scan.table import Inputs, Lanes, Singles, Table
from keeper.model import Key, Moment
from keeper.ports import View
from keeper.protocols.options import bulk, market, packed
from keeper.protocols.options.market import Collaterals, Listed, make_rules
from keeper.protocols.options.params import RiskParams
from keeper.protocols.options.plain import LOT
from keeper.protocols.options.records import Account, State
from keeper.protocols.options.risk import Price
from keeper.protocols.options.store import Store
from keeper.units import WAD

ABSOLUTE: Final = 1e-6  # US dollars: integers of the contract are rounded, by less
IN_CONTRACTS: Final = LOT / WAD
INDEX_FROM: Final = 50_000  # accounts; below, a scan of all takes as long as making an index
WARM_AT: Final = 300  # accounts; numpy scans fewer in less than a millisecond
DENSE: Final = 10  # a scan of all is quicker than a look at one account in so many

__all__ = ["Columns", "make_rules"]


@dataclass(frozen=True)
class Scan:
    """One pass over all accounts at one price. ``lower``: (rows,) least equity - requirement, US dollars, float32."""

    inputs: Inputs
    lanes: Lanes
    lower: Singles
    refused: Mapping[int, str]  # row -> why it has no number


@dataclass(frozen=True)
class Blind:
    """Who could not be valued, and what that was found from."""

    state: object = None
    rows: Mapping[int, str] = field(default_factory=dict)


class Columns:
    """Implements ``ports.Columns`` and ``ports.Timely``."""

    kinds = ("account",)

    def __init__(self, kernel: Kernel | None = None, *, index_from: int = INDEX_FROM) -> None:
        """``kernel``: None takes the fastest that is ready, see ``warming``. Books from ``index_from`` accounts on
        are scanned by their slack where that is enough."""
        self.store = Store()
        self._kernel, self._index_from = kernel, index_from
        self._collaterals: Collaterals = ()
        self._counted: tuple[object, object] = None, None  # what these were made of
        self._index: tuple[Index, Sequence[int], Listed] | None = None  # with words and listing of its table
        self._rules: tuple[RiskParams, Rules] | None = None  # what they were made of
        self._dates: market.Dates = {}
        self._blind = Blind()
        self._named: tuple[Blind, Mapping[Key, str]] = self._blind, {}
        self._changed: set[int] = set()  # rows written to since the index was made

    # ── records ──

    def put(self, key: Key, record: Any) -> None:
        if key.kind == "account":
            row = self.store.put(key.id, record, self._units(record.collateral) if record else {})
            if self._index is not None:
                self._changed.add(row)

    def put_all(self, told: Mapping[Key, bulk.Event]) -> bulk.Undo:
        return self._noted(bulk.tell(self.store, {key.id: event for key, event in told.items()}, self._units))

    def restore(self, undo: bulk.Undo) -> None:
        bulk.restore(self.store, undo, self._units)
        self._noted(undo)

    def load(self, view: View, accounts: Sequence[int], answer: bytes) -> None:
        """Different accounts as the packed reader tells them, in the market of ``view``."""
        self._count(State(view))
        bulk.write(self.store, bulk.ready(self.store, accounts, packed.of_storage(answer, len(accounts))), self._units)
        self._index = None

    def _noted(self, undo: bulk.Undo) -> bulk.Undo:
        """Their rows were written to."""
        if self._index is not None:
            self._changed.update(undo.rows.tolist(), self.store.rows(account for account, _ in undo.singles))
        return undo

    def get(self, key: Key) -> Account | None:
        return self.store.get(key.id)

    def keys(self, kind: str) -> Iterator[Key]:
        return (Key(kind, account) for account in sorted(self.store.accounts()))

    def rolling(self, turn: int, count: int) -> Sequence[Key]:
        rows = len(self.store)
        return [Key("account", self.store.account((turn * count + i) % rows)) for i in range(min(count, rows))]

    def _units(self, amounts: Sequence[int]) -> Mapping[int, float]:
        return market.units(amounts, self._collaterals)

    def _count(self, state: State) -> None:
        """Collateral counts in lots of its underlying, as the current parameters and listings have it; cash counts
        after its share in losses."""
        clearing, current = state.clearing(), state.version() and state.params(state.version())
        if clearing is self._counted[0] and current is self._counted[1]:
            return
        now, loss = market.collaterals(state), clearing.index
        if loss != self.store.loss:
            self.store.share(loss)
            self._index = None
        if now != self._collaterals:
            self._collaterals, self._index = now, None
            for row, amounts in self.store.pledged.items():
                self.store.again(row, market.units(amounts, now))
        self._counted = clearing, current

    # ── screening ──

    def warming(self) -> Callable[[], str] | None:
        """A book that is not small is worth a second of compiling."""
        if self._kernel is not None or len(self.store) < WARM_AT:
            return None
        READY.want(self.store.blocks)
        return READY.warm if READY.wants else None

    def ahead(self, view: View, at: Moment) -> None:
        state = State(view)
        if len(self.store) and (version := state.version()):
            market.ahead(state, self.store.listing, at, state.params(version).risk, self._dates)

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        """Accounts below their requirement at the trigger price and, where that is clamped, at spot too."""
        state = State(view)
        if not len(self.store) or not state.version():
            return ()
        made, lanes = self._lanes(state, at, Price.TRIGGER)
        low = self._low(lanes)
        if self.store.huge:
            low = np.union1d(low, np.fromiter(self.store.huge, np.int64))
        if len(low) and made.clamped:
            kept = self._some(low, self._lanes(state, at, Price.SPOT)[1]) < ABSOLUTE
            low = low[kept | np.isin(low, list(self.store.huge))]
        low = self._both_sets(state, at, made, low)
        refused = self._refused(made)
        named = sorted(self.store.account(row) for row in low.tolist() if row not in refused)
        return [Key("account", account) for account in named]

    def _both_sets(self, state: State, at: Moment, made: Inputs, low: Array) -> Array:
        """While a new set of parameters is phased in: those that the old one condemns too, at both prices, since only
        they can be touched (``adapter._phased``). All where the two differ in what they count or can value."""
        ramp = state.ramp()
        growth = ramp.growth(at.timestamp)
        if growth is None or not len(low) or market.collaterals(state, ramp.previous) != self._collaterals:
            return low
        risk = state.params(ramp.previous).risk
        for mode in (Price.TRIGGER, Price.SPOT):
            inputs = market.inputs(state, self.store.listing, at, mode, risk, self._dates)
            if inputs.refused != made.refused or len(inputs.prices) != len(made.prices):
                return low
            kept = self._some(low, self._told(inputs, make_rules(risk).times(growth / WAD))) < ABSOLUTE
            low = low[kept | np.isin(low, list(self.store.huge))]
        return low

    def _low(self, lanes: Lanes) -> Array:
        """Rows of the accounts that may be below their requirement."""
        rows = self._within(lanes)
        if rows is not None:
            return rows[self._some(rows, lanes) < ABSOLUTE]
        lower = self._whole(lanes)
        if len(lower) >= self._index_from:
            made = slack.build(lower, self.store.cash[: len(lower)], ABSOLUTE, list(self._laid()), lanes)
            self._index = made, tuple(self.store.listing.words), market.listed(self.store.listing)
            self._changed.clear()
        return (lower < ABSOLUTE).nonzero()[0]

    def _within(self, lanes: Lanes) -> Array | None:
        """Rows that the market, or their owners, may have brought below; None when all must be looked at."""
        if self._index is None:
            return None
        index, words, listed = self._index
        same: Array | slice = slice(None)
        if (now := market.listed(self.store.listing)) is not listed:
            mine = self.store.listing.words
            same = np.array([row for row in now.rows if row < len(words) and words[row] == mine[row]], np.int64)
        rows = index.within(lanes, same, self.kernel.moves)
        if rows is None or len(rows) + len(self._changed) > len(self.store) // DENSE:
            return None
        if self._changed:
            rows = np.union1d(rows, np.fromiter(self._changed, np.int64))
        return rows

    @property
    def refusals(self) -> Mapping[Key, str]:
        """``refused`` of the last look; the same object for as long as nothing changes."""
        if self._named[0] is not self._blind:
            rows = self._blind.rows.items()
            self._named = self._blind, {Key("account", self.store.account(row)): why for row, why in rows}
        return self._named[1]

    def refused(self, view: View, at: Moment) -> Mapping[Key, str]:
        """Accounts that no number can be given for, and why."""
        state = State(view)
        if not len(self.store) or not state.version():
            return {}
        made, _ = self._lanes(state, at, Price.TRIGGER)
        return {Key("account", self.store.account(row)): why for row, why in self._refused(made).items()}

    def nearest(self, view: View, at: Moment, count: int) -> Sequence[tuple[Key, float]]:
        state = State(view)
        if not len(self.store) or not state.version():
            return ()
        h = self.assess(state, at, Price.TRIGGER)
        ratio = np.where(h.mm > 0, h.equity / np.where(h.mm > 0, h.mm, 1.0), np.inf)
        rows = np.argsort(ratio, kind="stable")[:count].tolist()
        return [(Key("account", self.store.account(row)), float(ratio[row])) for row in rows if np.isfinite(ratio[row])]

    def scan(self, state: State, at: Moment, mode: Price) -> Scan:
        """The screen at one price; ValueError where the market is no market, naming what is wrong with it."""
        made, lanes = self._lanes(state, at, mode)
        return Scan(made, lanes, self._whole(lanes), self._refused(made))

    def _whole(self, lanes: Lanes) -> Singles:
        """``Scan.lower``."""
        lower = self.kernel.whole(self.store.first, lanes)
        lower += self.store.cash[: len(lower)]
        for blocks in self.store.blocks[1:]:
            if blocks.size:
                np.add.at(lower, blocks.row[: blocks.size], self.kernel.whole(blocks, lanes))
        return lower

    @property
    def kernel(self) -> Kernel:
        return self._kernel or READY

    def _lanes(self, state: State, at: Moment, mode: Price) -> tuple[Inputs, Lanes]:
        self._count(state)
        inputs, rules = self._market(state, at, mode)
        return inputs, self._told(inputs, rules)

    def _told(self, inputs: Inputs, rules: Rules) -> Lanes:
        return table.quickly(inputs, rules, IN_CONTRACTS, self.kernel.lanes, self.kernel.value)

    def _market(self, state: State, at: Moment, mode: Price) -> tuple[Inputs, Rules]:
        params = state.params(state.version()).risk
        if self._rules is None or self._rules[0] is not params:
            self._rules = params, make_rules(params)
        return market.inputs(state, self.store.listing, at, mode, params, self._dates), self._rules[1]

    def table(self, state: State, at: Moment, mode: Price) -> Table:
        """Every series that somebody holds, valued."""
        return table.build(*self._market(state, at, mode), self.kernel.value)

    def _some(self, rows: Array, lanes: Lanes) -> Singles:
        """``Scan.lower`` of some rows."""
        lower = self.kernel.some(self.store.first.used[rows], lanes) + self.store.cash[rows]
        for i, blocks, at in self.store.beyond(rows.tolist()):
            lower[i] += self.kernel.some(blocks.used[at : at + 1], lanes)[0]
        return np.asarray(lower, np.float32)

    def _refused(self, made: Inputs) -> Mapping[int, str]:
        """Rows of accounts that hold what has no value, and why; the same as before for as long as nothing changes."""
        if not made.refused and not any(map(isnan, made.prices.tolist())):
            if self._blind.rows:
                self._blind = Blind()
            return self._blind.rows
        unpriced = np.isnan(made.prices)
        lost = np.zeros(len(made.under), np.bool_)
        lost[list(made.refused)] = True
        found = [self._refused_in(blocks, lost, unpriced) for blocks in self.store.blocks]
        state = made.refused, unpriced.tobytes(), *(rows.tobytes() for rows, _ in found)
        if state != self._blind.state:
            told = {int(row): self._why(b[i], made, lost) for rows, b in found for i, row in enumerate(rows.tolist())}
            self._blind = Blind(state, told)
        return self._blind.rows

    def _refused_in(self, blocks: Blocks, lost: Array, unpriced: Array) -> tuple[Array, Slice]:
        """(rows of the accounts, blocks)"""
        b, rows = blocks.used, np.arange(blocks.size) if blocks is self.store.first else blocks.row[: blocks.size]
        bad = lost[b.series].any(axis=1) | (unpriced[b.under] & (b.gross + b.units > 0))
        return rows[bad], b[bad]

    def _why(self, b: Slice, made: Inputs, lost: Array) -> str:
        """Of one block."""
        held = b.series[lost[b.series]]
        return made.refused[int(held[0])] if len(held) else f"underlying {b.under} has no price"

    # ── everything, in float64 ──

    def assess(self, state: State, at: Moment, mode: Price) -> portfolio.Health:
        """Health of every account, by row, within 1e-9 of gross notional; NaN for what is refused."""
        self._count(state)
        made = self.table(state, at, mode)
        units = {row: market.units(amounts, self._collaterals) for row, amounts in self.store.pledged.items()}
        h = exact.assess(self.store.dollars(), list(self._laid()), made, IN_CONTRACTS, units)
        if mode == Price.INITIAL and self._widened(state, at):  # wider moves are not worse for every book
            np.maximum(h.im, self.assess(state, at, Price.BID).mm, out=h.im)
        for row in self._refused(made.inputs):
            h.equity[row] = h.mm[row] = h.im[row] = np.nan
        return h

    def _widened(self, state: State, at: Moment) -> bool:
        params = state.params(state.version()).risk
        both = (
            [market.stretch(state, u, at, mode, params.stress_cap) for u in range(len(params.depths))]
            for mode in (Price.INITIAL, Price.BID)
        )
        return next(both) != next(both)

    def greeks(self, state: State, at: Moment, mode: Price = Price.SPOT) -> Mapping[str, Array]:
        """Of every account, (rows, U) each, as ``Table.greeks`` has them; their sums are those of the whole book."""
        self._count(state)
        return exact.greeks(len(self.store), list(self._laid()), self.table(state, at, mode), IN_CONTRACTS)

    def _laid(self) -> Iterator[tuple[Array, Blocks]]:
        """(row of the account of each block, blocks)."""
        for blocks in self.store.blocks:
            yield np.arange(blocks.size) if blocks is self.store.first else blocks.row[: blocks.size], blocks

    @property
    def accounts(self) -> Sequence[int]:
        """Accounts by row."""
        return [self.store.account(row) for row in range(len(self.store))]

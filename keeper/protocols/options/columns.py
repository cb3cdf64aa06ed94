"""All accounts of the clearing house as float columns: the screen.

Positions stand in one matrix per expiry, (accounts, series), so that a scan is one matrix product per expiry and
scenario list. Prices come from the exact telling (``oracle.py``), everything after them from ``keeper.margin``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from keeper.margin import portfolio
from keeper.margin.black76 import Floats
from keeper.model import Key, Moment
from keeper.ports import View
from keeper.protocols.options import oracle
from keeper.protocols.options.params import RiskParams
from keeper.protocols.options.records import Account, Clearing, Series, State, series_of
from keeper.protocols.options.risk import Price, clamp_price
from keeper.units import BPS, WAD

# What float64 may be off by: shown by test to exceed the largest difference to the contract.
RELATIVE: Final = 1e-9  # of gross notional
ABSOLUTE: Final = 1e-6  # US dollars


@dataclass
class Expiry:
    """The positions in one expiry of one underlying."""

    series: list[Series] = field(default_factory=list)
    index: dict[int, int] = field(default_factory=dict)  # series word -> column
    sizes: Floats = field(default_factory=lambda: np.zeros((0, 0)))  # contracts, (accounts, series)


class Columns:
    """Implements ``ports.Columns``."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}  # account -> row
        self._accounts: list[int] = []  # row -> account
        self._cash: Floats = np.zeros(0)
        self._index: Floats = np.ones(0)  # loss index at the last change
        self._loss: float = 1.0  # loss index
        self._collateral: Floats = np.zeros((0, 8))  # native units
        self._expiries: dict[tuple[int, int], Expiry] = {}

    # ── following ──

    def put(self, key: Key, record: Any) -> None:
        if key.kind == "account":
            self._write(self._row(key.id), record or Account(0, (), (), 0))
        if key.kind == "clearing":
            self._loss = (record or Clearing()).index / WAD

    def _row(self, account: int) -> int:
        row = self._rows.setdefault(account, len(self._accounts))
        if row == len(self._accounts):
            self._accounts.append(account)
            if row == len(self._cash):
                self._grow(max(64, 2 * row))
        return row

    def _grow(self, rows: int) -> None:
        self._cash = _resized(self._cash[:, None], rows, 1)[:, 0]
        self._index = _resized(self._index[:, None], rows, 1)[:, 0]
        self._collateral = _resized(self._collateral, rows, 8)
        for block in self._expiries.values():
            block.sizes = _resized(block.sizes, rows, block.sizes.shape[1])

    def _write(self, row: int, account: Account) -> None:
        self._cash[row], self._index[row] = account.cash / WAD, account.index / WAD
        self._collateral[row] = 0
        self._collateral[row, : len(account.collateral)] = account.collateral
        for block in self._expiries.values():
            block.sizes[row] = 0
        for word, size in account.legs:
            block, column = self._column(word)
            block.sizes[row, column] = size / WAD

    def _column(self, word: int) -> tuple[Expiry, int]:
        series = series_of(word)
        block = self._expiries.setdefault((series.underlying, series.expiry), Expiry())
        if word not in block.index:
            block.index[word] = len(block.series)
            block.series.append(series)
            if len(block.series) > block.sizes.shape[1] or len(block.sizes) != len(self._cash):
                block.sizes = _resized(block.sizes, len(self._cash), max(8, 2 * len(block.series)))
        return block, block.index[word]

    # ── screening ──

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        """Accounts below their requirement at the trigger price and, where that is clamped, at spot too."""
        state = State(view)
        if not self._accounts or not state.version():
            return ()
        low = self._below(state, at, Price.TRIGGER)
        if low.any() and self._clamped(state, at):
            low &= self._below(state, at, Price.SPOT)
        return sorted(Key("account", self._accounts[row]) for row in np.flatnonzero(low))

    def nearest(self, view: View, at: Moment, count: int) -> Sequence[tuple[Key, float]]:
        state = State(view)
        if not self._accounts or not state.version():
            return ()
        h = self.assess(state, at, Price.TRIGGER)
        ratio = np.where(h.mm > 0, h.equity / np.where(h.mm > 0, h.mm, 1.0), np.inf)
        rows = np.argsort(ratio, kind="stable")[:count]
        return [(Key("account", self._accounts[row]), float(ratio[row])) for row in rows if np.isfinite(ratio[row])]

    def _below(self, state: State, at: Moment, mode: Price) -> np.ndarray:
        h = self.assess(state, at, mode)
        return np.asarray(h.equity - h.mm < RELATIVE * h.gross + ABSOLUTE)

    def _clamped(self, state: State, at: Moment) -> bool:
        params = state.params(state.version()).risk
        quotes = (_quote(state, u, at) for u in range(len(params.depths)))
        return any(q is not None and clamp_price(q, Price.TRIGGER, params) != q.spot for q in quotes)

    def assess(self, state: State, at: Moment, mode: Price) -> portfolio.Health:
        """Health of every account, by row; underlyings without a price count for nothing."""
        params, config = state.params(state.version()).risk, state.config()
        rules = make_rules(params)
        count = len(self._accounts)
        sums = portfolio.Assessment(self._worth(count), rules)
        units = np.array([asset.unit for asset in state.clearing().assets], dtype=np.float64)
        collateral = self._collateral[:count, : len(units)] / units
        for u in range(len(params.depths)):
            feed, quote = state.feed(u), _quote(state, u, at)
            if feed is None or quote is None:
                continue
            price = clamp_price(quote, mode, params) / WAD
            wide = rules.stretched(_stress(feed, at, config, mode), params.stress_cap / WAD)
            terms = []
            for (of, expiry), block in sorted(self._expiries.items()):
                smile = state.smile(u, expiry)
                if of != u or smile is None:
                    continue
                fixed, open_ = oracle.observed(feed, state.steps(u), expiry, at.timestamp, config)
                now = _float_smile(oracle.smile(smile, feed, at.timestamp, config), quote)
                calls = np.array([s.is_call for s in block.series])
                strikes = np.array([s.strike / WAD for s in block.series])
                left = float(expiry - at.timestamp)
                term = portfolio.term(price, left, fixed / WAD, open_ / WAD, now, calls, strikes, wide)
                terms.append((term, block.sizes[:count, : len(block.series)]))
            sums.add(u, price, terms, collateral, wide)
        return sums.health

    def _worth(self, count: int) -> Floats:
        """Cash after its share in the losses since it last changed."""
        cash, index = self._cash[:count], self._index[:count]
        return np.where((cash > 0) & (index != self._loss), cash * self._loss / np.where(index, index, 1.0), cash)

    @property
    def accounts(self) -> Sequence[int]:
        """Accounts by row."""
        return self._accounts


def _resized(a: Floats, rows: int, columns: int) -> Floats:
    """``a`` in the corner of a larger matrix of zeros."""
    b = np.zeros((rows, columns))
    b[: a.shape[0], : a.shape[1]] = a
    return b


def _quote(state: State, underlying: int, at: Moment) -> oracle.Prices | None:
    feed = state.feed(underlying)
    return oracle.prices(feed, at.timestamp, state.config()) if feed else None


def _stress(feed: oracle.Feed, at: Moment, config: oracle.Config, mode: Price) -> float:
    stress = oracle.stress(feed, at.timestamp, config)
    return (stress.at_once if mode == Price.INITIAL else stress.eased) / WAD


def _float_smile(s: oracle.SmileNow, quote: oracle.Prices) -> portfolio.Smile:
    confidence = min(s.confidence, quote.confidence) / BPS
    return portfolio.Smile(s.atm / WAD, s.skew / WAD, s.curv / WAD, s.rate / WAD, confidence)


def make_rules(p: RiskParams) -> portfolio.Rules:
    """The parameter set in floats."""
    s = p.scenarios
    scenarios = portfolio.Scenarios(
        np.array([x.spot for x in s]) / BPS,
        np.array([int(x.kind) for x in s]),
        np.array([x.vol for x in s]) / BPS,
        np.array([x.weight for x in s]) / BPS,
    )
    return portfolio.Rules(
        factor=(p.mm_factor / WAD, p.im_factor / WAD),
        floor_gross=(p.floor_gross_mm / WAD, p.floor_gross_im / WAD),
        floor_naked=p.floor_naked / WAD,
        size=p.lambda_ / WAD,
        doubt=p.confidence / WAD,
        power=(p.vol_power_short / WAD, p.vol_power_long / WAD),
        nearest=float(p.vol_days_floor),
        depths=np.array([d / WAD for d in p.depths]),
        asset_of=[-1, *(a.underlying for a in p.assets[1:])],
        haircuts=np.array([(a.haircut_mm / WAD, a.haircut_im / WAD) for a in p.assets]),
        scenarios=scenarios,
    )

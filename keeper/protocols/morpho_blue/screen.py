"""The float shadow of all borrowers.

Exactly, a position is unhealthy when ``floor(floor(c p) l) < ceil(s i)``, for collateral c, price p, lltv l, borrow
shares s and assets per share i. The floors lose less than 2 (l < 1) and the ceiling adds less than 1, and these
are integers, so that ``c p l < s i + 2`` then holds in real numbers. Each float below is off by some 10**-16 of
itself per operation; ``MARGIN`` covers that a thousand times over, ``SLACK`` the rounding to whole units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.lending import Positions
from keeper.model import Key, Moment
from keeper.ports import View
from keeper.protocols.morpho_blue.maths import ORACLE_PRICE_SCALE, VIRTUAL_ASSETS, VIRTUAL_SHARES
from keeper.protocols.morpho_blue.records import POSITION, Position, market_of
from keeper.protocols.morpho_blue.settings import Settings
from keeper.protocols.morpho_blue.valuation import Valued, value
from keeper.units import WAD

MARGIN: Final = 1e-12  # of the debt
Floats = NDArray[np.float64]
SLACK: Final = 3.0  # smallest units of the loan token


class Screen:
    """Implements ``ports.Columns``: one row per borrower; ``_keys[row]`` names it."""

    kinds = ()  # records stay with the book

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._positions = Positions(1, 1)  # a market is an asset on either side
        self._keys: list[Key] = []
        self._rows: dict[Key, int] = {}
        self.refusals: Mapping[Key, str] = {}
        self._markets: dict[Key, int] = {}  # in the order of the column ``market``

    def get(self, key: Key) -> None:
        return None

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(())

    def put(self, key: Key, record: Any) -> None:
        if key.kind != POSITION:
            return
        if isinstance(record, Position) and record.shares:
            self._set(key, record)
        elif key in self._rows:
            self._drop(key)

    def rolling(self, turn: int, count: int) -> Sequence[Key]:
        return [self._keys[(turn * count + i) % len(self._keys)] for i in range(min(count, len(self._keys)))]

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        """In the order of the keys. Markets that cannot be valued have none: nothing is known about them."""
        debt, limit = self._sums(view, at)
        self.refusals = self._blind(debt, limit)
        return sorted(self._keys[row] for row in np.flatnonzero(limit < debt * (1 + MARGIN) + SLACK))

    def nearest(self, view: View, at: Moment, count: int) -> Sequence[tuple[Key, float]]:
        debt, limit = self._sums(view, at)
        ratio = np.where(debt > 0, limit / np.where(debt > 0, debt, 1.0), np.inf)
        rows = np.argsort(ratio, kind="stable")[:count]
        return [(self._keys[row], float(ratio[row])) for row in rows if np.isfinite(ratio[row])]

    def refused(self, view: View, at: Moment) -> Mapping[Key, str]:
        return self._blind(*self._sums(view, at))

    def _blind(self, debt: Floats, limit: Floats) -> Mapping[Key, str]:
        return {self._keys[row]: "its market has no value" for row in np.flatnonzero(np.isnan(debt) | np.isnan(limit))}

    def warming(self) -> Callable[[], str] | None:
        return self._positions.warming()

    def _sums(self, view: View, at: Moment) -> tuple[Floats, Floats]:
        """Per row: what is owed and what may be owed, loan assets; NaN where the market cannot be valued."""
        owed, power = self._rates(view, at)
        limit, debt = self._positions.sums(power, owed)
        return debt, limit

    def _rates(self, view: View, at: Moment) -> tuple[Floats, Floats]:
        """Per market: loan assets owed per share, and lent per collateral asset; NaN compares as never suspect."""
        owed, power = np.full(len(self._markets), np.nan), np.full(len(self._markets), np.nan)
        for key, i in self._markets.items():
            market = value(self._settings, view, key, at)
            if isinstance(market, Valued):
                totals = market.totals
                owed[i] = (totals.borrow_assets + VIRTUAL_ASSETS) / (totals.borrow_shares + VIRTUAL_SHARES)
                power[i] = market.price * market.params.lltv / (ORACLE_PRICE_SCALE * WAD)
        return owed, power

    def _set(self, key: Key, position: Position) -> None:
        row = self._rows.setdefault(key, len(self._keys))
        if row == len(self._keys):
            self._keys.append(key)
        market = self._markets.setdefault(market_of(key), len(self._markets))
        self._positions.put(row, [(market, float(position.collateral))], [(market, float(position.shares))])

    def _drop(self, key: Key) -> None:
        """Move the last row into the gap."""
        row, last = self._rows.pop(key), self._keys.pop()
        self._positions.drop(row)
        if last != key:
            self._keys[row], self._rows[last] = last, row

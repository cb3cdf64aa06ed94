"""Health of very many borrowers: what their collateral lets them owe, against what they owe, over several assets.

Shapes: N accounts, C entries of collateral and D of debt each, A assets. Entry by entry, not account by account, so
that every pass runs along contiguous accounts. Unused entries have amount 0. A rate is worth per unit: price times
liquidation threshold for collateral, price or index for debt; NaN means that the asset cannot be valued, and makes
the health of its holders NaN, which is below nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.blocks import Array

Floats = NDArray[np.float64]
Entries = Sequence[tuple[int, float]]  # (asset, amount)
COMPILE_AT: Final = 20_000  # accounts from which a second of compiling is well spent


class Positions:
    """Rows without gaps: one that is dropped is taken by the last."""

    def __init__(self, collateral: int, debt: int) -> None:
        """So many entries each."""
        self.size = 0
        self._assets: list[Array] = [np.zeros((n, 0), np.int32) for n in (collateral, debt)]  # 0 is none
        self._amounts: list[Floats] = [np.zeros((n, 0)) for n in (collateral, debt)]

    def put(self, row: int, collateral: Entries, debt: Entries) -> None:
        """Write row ``row``, at most one past the last. ValueError when there are more entries than columns."""
        if row == self.size:
            self._grow(row + 1)
            self.size += 1
        for side, entries in enumerate((collateral, debt)):
            assets, amounts = self._assets[side], self._amounts[side]
            if len(entries) > len(assets):
                raise ValueError(
                    f"row {row} has {len(entries)} entries on one side, more than the {len(assets)} there are"
                )
            assets[:, row], amounts[:, row] = 0, 0
            for k, (asset, amount) in enumerate(entries):
                assets[k, row], amounts[k, row] = asset + 1, amount

    def fill(self, collateral: tuple[Array, Floats], debt: tuple[Array, Floats]) -> None:
        """All rows at once: assets and amounts, (C, N) and (D, N)."""
        self._assets = [side[0].astype(np.int32) + 1 for side in (collateral, debt)]
        self._amounts = [side[1].astype(np.float64) for side in (collateral, debt)]
        self.size = self._assets[0].shape[1]

    def drop(self, row: int) -> None:
        self.size -= 1
        columns: list[Array] = [*self._assets, *self._amounts]
        for column in columns:
            column[:, row] = column[:, self.size]

    def _grow(self, rows: int) -> None:
        have = self._assets[0].shape[1]
        if rows > have:
            more = max(64, have)
            self._assets = [np.pad(a, ((0, 0), (0, more))) for a in self._assets]
            self._amounts = [np.pad(a, ((0, 0), (0, more))) for a in self._amounts]

    def sums(self, powers: Floats, debts: Floats, *, compiled: bool | None = None) -> tuple[Floats, Floats]:
        """(N,) each: what may be owed and what is owed, at these rates (A,). IndexError for an asset without a rate."""
        each = []
        for side, rates in enumerate((powers, debts)):
            assets, amounts = self._assets[side][:, : self.size], self._amounts[side][:, : self.size]
            if assets.size and int(assets.max()) > len(rates):
                raise IndexError(
                    f"a position names asset {int(assets.max()) - 1}, but there are rates for {len(rates)}"
                )
            each += [assets, amounts, np.concatenate([[0.0], rates])]
        work = _kernel(self.size >= COMPILE_AT if compiled is None else compiled)
        return work(*each)

    def health(self, powers: Floats, debts: Floats, *, compiled: bool | None = None) -> Floats:
        """(N,) health factors: what may be owed over what is owed; infinite without debt."""
        power, debt = self.sums(powers, debts, compiled=compiled)
        return np.asarray(np.divide(power, debt, out=np.full(self.size, np.inf), where=debt != 0))


Sums = Callable[[Array, Floats, Floats, Array, Floats, Floats], tuple[Floats, Floats]]


def _plain(a: Array, n: Floats, rates: Floats, b: Array, m: Floats, owed: Floats) -> tuple[Floats, Floats]:
    return _side(a, n, rates), _side(b, m, owed)


def _side(assets: Array, amounts: Floats, rates: Floats) -> Floats:
    total = np.zeros(assets.shape[1])
    for k in range(len(assets)):
        total += rates[assets[k]] * amounts[k]
    return total


@cache
def _kernel(compiled: bool) -> Sums:
    return _made() if compiled and find_spec("numba") is not None else _plain


def _made() -> Sums:
    """One pass; the numbers of entries are lengths of tuples, and so constants to the compiler."""
    import numba

    def both(a: Any, n: Any, rates: Any, b: Any, m: Any, owed: Any, power: Any, debt: Any, c: Any, d: Any) -> None:
        for i in range(len(power)):
            x, y = 0.0, 0.0
            for k in range(len(c)):
                x += rates[a[k, i]] * n[k, i]
            for k in range(len(d)):
                y += owed[b[k, i]] * m[k, i]
            power[i], debt[i] = x, y

    kernel = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(both)

    def sums(a: Array, n: Floats, rates: Floats, b: Array, m: Floats, owed: Floats) -> tuple[Floats, Floats]:
        power, debt = np.empty(a.shape[1]), np.empty(a.shape[1])
        kernel(a, n, rates, b, m, owed, power, debt, (0,) * len(a), (0,) * len(b))
        return power, debt

    return sums

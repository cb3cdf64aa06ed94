"""Health of very many borrowers: what their collateral lets them owe, against what they owe, over several assets.

Shapes: N accounts, C entries of collateral and D of debt each, A assets. Entry by entry, not account by account, so
that every pass runs along contiguous accounts. Unused entries have amount 0. A rate is worth per unit: price times
liquidation threshold for collateral, price or index for debt; NaN means that the asset cannot be valued, and makes
the health of its holders NaN, which is below nothing: whoever asks says of them that they have no number. No other
rate or amount is taken that is no number, and no debt at a rate of 0, which would be no debt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from math import inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.blocks import Array

Floats = NDArray[np.float64]
Entries = Sequence[tuple[int, float]]  # (asset, amount)
WARM_AT: Final = 10_000  # accounts from which a second of compiling is well spent; numpy does these in 0.2 ms
Sides = tuple[Array, Floats, Floats, Array, Floats, Floats, int]  # assets, amounts and rates of each; accounts
Sums = Callable[[Array, Floats, Floats, Array, Floats, Floats, int], tuple[Floats, Floats]]
Kind = tuple[int, int, str]  # entries of collateral and of debt, type of the numbers of assets


class Positions:
    """Rows without gaps: one that is dropped is taken by the last."""

    def __init__(self, collateral: int, debt: int, assets: type[np.unsignedinteger[Any]] = np.uint16) -> None:
        """So many entries each."""
        self.size = 0
        self._top = -1  # the highest asset that was ever written
        self._assets: list[Array] = [np.zeros((n, 0), assets) for n in (collateral, debt)]  # 0 is none
        self._amounts: list[Floats] = [np.zeros((n, 0)) for n in (collateral, debt)]

    def put(self, row: int, collateral: Entries, debt: Entries) -> None:
        """Write row ``row``, at most one past the last. ValueError, and nothing written, when there are more entries
        than columns, or one that is none."""
        if not 0 <= row <= self.size:
            raise ValueError(f"row {row} is not one of {self.size}, nor the next")
        for entries, assets in zip((collateral, debt), self._assets, strict=True):
            if len(entries) > len(assets):
                raise ValueError(
                    f"row {row} has {len(entries)} entries on one side, more than the {len(assets)} there are"
                )
            for asset, amount in entries:
                if not (asset >= 0 and 0 <= amount < inf):
                    raise ValueError(f"row {row} has {amount} of asset {asset}")
        if row == self.size:
            self._grow(row + 1)
            self.size += 1
        for side, entries in enumerate((collateral, debt)):
            assets, amounts = self._assets[side], self._amounts[side]
            self._reach(max((asset for asset, _ in entries), default=-1))
            assets = self._assets[side]
            assets[:, row], amounts[:, row] = 0, 0
            for k, (asset, amount) in enumerate(entries):
                assets[k, row], amounts[k, row] = asset + 1, amount

    def fill(self, collateral: tuple[Array, Floats], debt: tuple[Array, Floats]) -> None:
        """All rows at once: assets and amounts, (C, N) and (D, N). ValueError where one is none."""
        for assets, amounts in (collateral, debt):
            if bad := np.argwhere((assets < 0) | ~((amounts >= 0) & (amounts < inf)))[:1].tolist():
                k, row = bad[0]
                raise ValueError(f"row {row} has {amounts[k, row]} of asset {assets[k, row]}")
        self._reach(max(int(side[0].max(initial=-1)) for side in (collateral, debt)))
        self._assets = [(side[0] + 1).astype(self._assets[0].dtype) for side in (collateral, debt)]
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

    def _reach(self, asset: int) -> None:
        """Make room for the number of an asset."""
        self._top = max(self._top, asset)
        if asset >= np.iinfo(self._assets[0].dtype).max:
            self._assets = [a.astype(np.uint32) for a in self._assets]

    @property
    def kind(self) -> Kind:
        return len(self._assets[0]), len(self._assets[1]), self._assets[0].dtype.name

    def warming(self) -> Callable[[], str] | None:
        """What is worth compiling before a block waits for it; until then numpy does the work."""
        due = self.size >= WARM_AT and self.kind not in MADE.kinds and not MADE.why
        return partial(_ready, self.kind) if due and find_spec("numba") is not None else None

    def sums(self, powers: Floats, debts: Floats, *, compiled: bool | None = None) -> tuple[Floats, Floats]:
        """(N,) each: what may be owed and what is owed, at these rates (A,). IndexError for an asset without a rate,
        ValueError for a rate that is none; NaN says that the asset has no value.

        ``compiled``: None where that is ready.
        """
        if self._top >= min(len(powers), len(debts)):
            have = min(len(powers), len(debts))
            raise IndexError(f"a position names asset {self._top}, but there are rates for {have}")
        self._judge(powers, debts)
        if compiled:
            _ready(self.kind)
        ready = MADE.work if self.kind in MADE.kinds and compiled is not False else None
        return (ready or _plain)(*self._sides(powers, debts))

    def _judge(self, powers: Floats, debts: Floats) -> None:
        bad = np.flatnonzero((powers < 0) | np.isinf(powers) | (debts < 0) | np.isinf(debts)).tolist()
        if len(free := np.flatnonzero(debts == 0)):
            owed = self._assets[1][:, : self.size][self._amounts[1][:, : self.size] > 0]
            bad += (np.intersect1d(free + 1, owed) - 1).tolist()
        if bad:
            asset = bad[0]
            raise ValueError(
                f"asset {asset} has the rates {powers[asset]} and {debts[asset]}: no health follows from them"
            )

    def _sides(self, powers: Floats, debts: Floats) -> Sides:
        """With the room beyond ``size`` too: compiled code is for arrays without gaps."""
        (a, b), (n, m) = self._assets, self._amounts
        return a, n, np.concatenate([[0.0], powers]), b, m, np.concatenate([[0.0], debts]), self.size

    def health(self, powers: Floats, debts: Floats, *, compiled: bool | None = None) -> Floats:
        """(N,) health factors: what may be owed over what is owed; infinite without debt."""
        power, debt = self.sums(powers, debts, compiled=compiled)
        return np.asarray(np.divide(power, debt, out=np.full(self.size, np.inf), where=debt != 0))


def _plain(a: Array, n: Floats, rates: Floats, b: Array, m: Floats, owed: Floats, size: int) -> tuple[Floats, Floats]:
    return _side(a[:, :size], n[:, :size], rates), _side(b[:, :size], m[:, :size], owed)


def _side(assets: Array, amounts: Floats, rates: Floats) -> Floats:
    total = np.zeros(assets.shape[1])
    for k in range(len(assets)):
        total += rates[assets[k]] * amounts[k]
    return total


@dataclass
class _Made:
    """The compiled kernel, the kinds of positions it is ready for, and why there is none."""

    work: Sums | None = None
    kinds: set[Kind] = field(default_factory=set)
    why: str = ""


MADE: Final = _Made()


def _ready(kind: Kind) -> str:
    """Compile for these; what there is now."""
    try:
        if MADE.work is None:
            from keeper.margin.scan.kernels.entries import sums

            MADE.work = sums
        none = Positions(*kind[:2], np.dtype(kind[2]).type)
        MADE.work(*none._sides(np.zeros(0), np.zeros(0)))
        MADE.kinds.add(kind)
    except Exception as error:  # slower is better than not at all
        MADE.why = f"numba does not work here: {error}"
    return f"plain; {MADE.why}" if MADE.why else "compiled"

"""A market in which everything that a clearing house has for bad days is needed.

Prices fall by almost half between two blocks, when nobody could act, and stay there; the insurance fund is thin, and so
are the rivals. Beside the usual crowd there are accounts that owe cash against a token and hold no options, so that no
counterparty can be found for them, and accounts too small for anybody to want.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from keeper.simulation.paths import Path
from keeper.simulation.portfolios import Grid, Kind, Leg, Plan
from keeper.units import WAD

BLOCKS: Final = 300
GAP: Final = 0.55  # of the price that is left
FALLS, RISES, BACK = 0.1, 0.9, 0.95  # parts of the path at which it falls, begins to rise again, and ends

SMALL: Final = (300, 400)  # US dollars
HOPELESS: Final = (60_000, 150_000, 400_000)  # US dollars
BARELY: Final = (0.77, 0.7733, 0.7767, 0.78)  # usage that leaves a debtor with next to nothing: a backstop may have it
MIDDLING: Final = 50_000  # US dollars
BETWEEN: Final = (0.66, 0.70, 0.74)  # usage that leaves a debtor with less than its requirement, and more than nothing


def gap(seed: int, blocks: int, dt: int, spots: Sequence[float]) -> Path:
    """All prices together: a tenth of the path calm, the fall in one block, most of the path low, back at its end."""
    rng = np.random.Generator(np.random.PCG64(seed))
    at = np.arange(blocks) / blocks
    level = np.interp(at, (FALLS, FALLS + 1e-9, RISES, 1.0), (1.0, GAP, GAP, BACK))
    noise = np.exp(rng.normal(0.0, 0.0005, blocks))
    prices = np.round(np.outer(level * noise, spots), 8)
    return Path(dt * np.arange(blocks, dtype=np.int64), prices, np.zeros(blocks, np.bool_))


def hardships(first: int, grids: Sequence[Grid]) -> tuple[Plan, ...]:
    """Owners are counted from ``first``."""
    grid = grids[0]
    debtors = [(usd, usage) for usd in SMALL for usage in BETWEEN] + [(usd, 0.97) for usd in HOPELESS]
    debtors += [(MIDDLING, usage) for usage in BARELY]
    small = [(usd, usage) for usd in SMALL for usage in (0.30, 0.36, 0.42, 0.48)]
    plans = [_debtor(first + i, grid, len(grids), usd, usage) for i, (usd, usage) in enumerate(debtors)]
    plans += [_seller(first + len(plans) + i, grid, len(grids), usd, usage) for i, (usd, usage) in enumerate(small)]
    return tuple(plans)


def _debtor(owner: int, grid: Grid, underlyings: int, usd: int, usage: float) -> Plan:
    """A token bought with the cash of others."""
    amount = usd * 10**8 * 10**grid.decimals // grid.spot
    return Plan(owner, None, (), (amount, *(0,) * (underlyings - 1)), usage)


def _seller(owner: int, grid: Grid, underlyings: int, usd: int, usage: float) -> Plan:
    """A put at the money."""
    size = max(1, usd * 10**8 * 1_000 // grid.spot) * WAD // 1_000
    leg = Leg(grid.underlying, grid.expiries[-1], False, grid.strike(False, 0), -size)
    return Plan(owner, Kind.NAKED_PUT, (leg,), (0,) * underlyings, usage)

"""Scenario lists in the manner of other venues, as a parameter set can hold them: at most 32, moves in whole bps.

SPAN's 16 are the default (``params.span_scenarios``). The others show that a list is data; what these venues add to
their lists (dampeners that are thresholds, skew scenarios, minimum charges) is in ``keeper/margin/rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keeper.protocols.options.params import Scenario, Shock, span_scenarios
from keeper.units import BPS

UP, DOWN = 5_000, -3_000  # bps, vol shock at 30 days


def tims() -> tuple[Scenario, ...]:
    """Ten equidistant points to +-15 %, each option at its own implied volatility."""
    return tuple(Scenario(move, Shock.NONE, 0, BPS) for move in range(-1500, 1501, 300) if move)


def derive() -> tuple[Scenario, ...]:
    """PMRM 2: +-18 % in steps of 4.5 %, vol up, as it is and down; tails of which a share counts.

    Its tails of +400 and +500 % are beyond 16 bits; they weigh as much as those of +100 to +300 %.
    """
    grid = [Scenario(move, Shock.TERM, vol, BPS) for move in range(-1350, 1351, 450) for vol in (UP, 0, DOWN)]
    edges = [Scenario(move, Shock.TERM, UP, BPS) for move in (1800, -1800)]
    tails = ((-6600, 2100), (-3300, 4200), (5000, 2772), (10_000, 1386), (20_000, 693), (30_000, 462))
    return (*edges, *grid, *(Scenario(move, Shock.TERM, UP, weight) for move, weight in tails))


def deribit() -> tuple[Scenario, ...]:
    """+-16 % in steps of 4 %, vol up, as it is and down by a quarter; five extremes, weighted by the range."""
    grid = [Scenario(move, Shock.TERM, vol, BPS) for move in range(-1600, 1601, 400) for vol in (UP, 0, -2_500)]
    extremes = (-6600, -3300, 5000, 10_000, 20_000)
    return (*grid, *(Scenario(move, Shock.TERM, UP, 1600 * BPS // abs(move)) for move in extremes))


LISTS: Final[Mapping[str, tuple[Scenario, ...]]] = {
    "span": span_scenarios(),
    "tims": tims(),
    "derive": derive(),
    "deribit": deribit(),
}

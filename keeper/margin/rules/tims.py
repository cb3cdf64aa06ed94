"""TIMS, as the Options Clearing Corporation's customer portfolio margin uses it.

Ten points across the range, each option at its own implied volatility, and a minimum per option of 100 shares.
Puts are American: worth at least their intrinsic value.
"""

from __future__ import annotations

from typing import Final

from keeper.margin.rules.parameters import ANY, Minimum, Range, Rules, Scenario

POINTS: Final = (-1.0, -0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8, 1.0)

RULES: Final = Rules(
    name="tims",
    put_floor=True,
    scenarios=tuple(Scenario(ranges=point) for point in POINTS),
    ranges={ANY: Range(up=0.15, down=0.15)},
    minimum=Minimum(contract=37.50),
)

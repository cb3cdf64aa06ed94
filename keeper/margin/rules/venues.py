"""Rules like those of two exchanges, from their help pages; their engines are closed and their parameters change.

``deribit``: portfolio margin of contracts that are paid in the underlying: 27 scenarios, 8 extreme ones, and shocks
for rolls and for large deltas. Of an extreme a share of the loss counts, as far as it lies beyond a threshold; the
share is not published, here it is the price range by the move. ``bybit``: options by their strikes.
"""

from __future__ import annotations

from typing import Final

from keeper.margin.rules.parameters import (
    ANY,
    Factor,
    Kind,
    Levy,
    Rules,
    Scenario,
    Size,
    Standard,
    VolShock,
)

GRID: Final = (Kind.UP, Kind.NONE, Kind.DOWN)
STEPS: Final = (-4, -3, -2, -1, 0, 1, 2, 3, 4)  # quarters of the price range
RANGE: Final = 0.16
EXTREMES: Final = (0.34, 0.67, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0)
BEYOND: Final = 100_000.0  # US dollars
SHOCK: Final = 0.1  # of delta, from THRESHOLD US dollars of it
THRESHOLD: Final = 20_000_000.0

DERIBIT: Final = Rules(
    name="deribit",
    inverse=True,
    scenarios=(
        *(Scenario(spot=round(1 + RANGE * step / 4, 12), vol=v) for step in STEPS for v in GRID),
        *(Scenario(spot=s, vol=Kind.UP, weight=RANGE / abs(s - 1), beyond=BEYOND) for s in EXTREMES),
    ),
    vol=VolShock(up=0.5, down=0.25, short_power=0.3, long_power=0.13, least_up=0.5),
    factor=Factor(mm=0.8, im=1.0),
    scaled=True,
    roll=Levy(mm=0.01),
    size=Size(factor=SHOCK, most=SHOCK, depth={ANY: THRESHOLD}),
)

BYBIT: Final = Rules(
    name="bybit",
    discounted=False,
    standard=Standard(
        call=0.03,
        call_mark=0.03,
        put=0.03,
        put_mark=0.03,
        fee=0.002,
        most=0.15,
        least=0.10,
        put_scale=0.0,
        greatest=False,
    ),
)

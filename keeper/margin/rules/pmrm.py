"""Derive's portfolio margin, versions 2 and 1, with the parameters of its deployment script and of its tests.

Two defaults differ from that script on purpose: it sets the static discounts of long and short values the other
way round (1.05 and 0.95), which would raise the margin of a position by shocking it.
"""

from __future__ import annotations

from typing import Final

from keeper.margin.rules.parameters import (
    Basis,
    Confidence,
    Discount,
    Doubt,
    Factor,
    Haircut,
    Kind,
    NakedLevy,
    Peg,
    PerpLevy,
    Rules,
    Scenario,
    Skew,
    SkewCap,
    Source,
    StaticDiscount,
    VolShock,
    Worth,
)

GRID: Final = (Kind.UP, Kind.NONE, Kind.DOWN)
TAILS: Final = (
    *((0.34, 0.21), (0.67, 0.42), (1.5, 0.2772), (2.0, 0.1386)),
    *((3.0, 0.0693), (4.0, 0.0462), (5.0, 0.03465), (6.0, 0.02772)),
)
OF_PERP: Final = (Source.SPOT, Source.PERP)
OF_OPTION: Final = (Source.SPOT, Source.FORWARD, Source.RATE, Source.VOL, Source.PERP)

V2: Final = Rules(
    name="pmrm2",
    floor_rates=True,
    window=1800.0,
    scenarios=(
        Scenario(spot=1.18, vol=Kind.UP),
        *(Scenario(spot=spot, vol=v) for spot in (1.135, 1.09, 1.045, 1.0, 0.955, 0.91, 0.865) for v in GRID),
        Scenario(spot=0.82, vol=Kind.UP),
        *(Scenario(spot=spot, vol=Kind.UP, weight=weight) for spot, weight in TAILS),
        Scenario(vol=Kind.LINEAR),
        Scenario(vol=Kind.ABS),
    ),
    vol=VolShock(up=0.5, down=0.3, short_power=0.3, long_power=0.13, shortest=86_400, least_up=0.4),
    skew=Skew(SkewCap(0.25, -0.1), SkewCap(0.25, -0.1), least_k=0.01, width=4.0, vol=0.6),
    discount=StaticDiscount(long=Discount(0.95, 0.0, 0.16), short=Discount(1.05, 0.0, 0.16)),
    basis=Basis(up=1.045, down=0.955, add=0.5, mult=2.0),
    factor=Factor(mm=0.8, im=1.0),
    perp=PerpLevy(mm=0.03, extra=0.01),
    naked=NakedLevy(mm=0.003, extra=0.002),
    confidence=Confidence(
        perp=Doubt(0.55, 1.0, OF_PERP),
        option=Doubt(0.55, 1.0, OF_OPTION),
        collateral=Doubt(0.55, 1.0, (Source.OWN, Source.SPOT)),
    ),
    peg=Peg(0.99, 4.0),
)

V1: Final = Rules(
    name="pmrm1",
    discounted=False,
    floor_rates=True,
    window=1800.0,
    scenarios=tuple(Scenario(spot=spot, vol=v) for spot in (1.15, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85) for v in GRID),
    vol=VolShock(up=0.45, down=0.3, short_power=0.3, long_power=0.13, shortest=86_400),
    discount=StaticDiscount(long=Discount(0.95, 4.0, 0.05)),
    basis=Basis(up=1.05, down=0.95, add=0.25, mult=0.01),
    factor=Factor(mm=1.0, im=1.3),
    scaled=True,
    perp=PerpLevy(mm=0.02),
    naked=NakedLevy(mm=0.01),
    haircut=Haircut(mm=0.02, charged=Worth.NOTIONAL),
    confidence=Confidence(
        perp=Doubt(0.6, 0.5, OF_PERP),
        option=Doubt(0.6, 0.5, OF_OPTION),
        collateral=Doubt(0.6, 0.5, OF_PERP),
    ),
    peg=Peg(0.98, 2.0),
)

"""The rules of the reference protocol: ``contracts/Risk.sol`` with its default parameters."""

from __future__ import annotations

from typing import Final

from keeper.margin.rules.parameters import (
    Confidence,
    Doubt,
    Factor,
    Fold,
    Haircut,
    Kind,
    Levy,
    NakedLevy,
    Netting,
    Rules,
    Scenario,
    Size,
    Source,
    VolShock,
)

SPOTS: Final = (1.0, 1.06, 0.94, 1.12, 0.88, 1.18, 0.82)
TAILS: Final = (0.5, 1.6)

RULES: Final = Rules(
    name="reference",
    band=0.05,
    stress_cap=1.5,
    scenarios=(
        *(Scenario(spot=spot, vol=Kind.TERM, by=by) for spot in SPOTS for by in (0.5, -0.3)),
        *(Scenario(spot=spot, vol=Kind.TERM, by=0.5, weight=0.5) for spot in TAILS),
    ),
    vol=VolShock(short_power=0.30, long_power=0.13, shortest=86_400),
    fold=Fold.CARRY,
    factor=Factor(mm=0.8, im=1.2),
    naked=NakedLevy(mm=0.01, net=Netting.CARRIED),
    gross=Levy(mm=0.01, extra=0.0025),
    haircut=Haircut(mm=0.02, extra=0.03),
    size=Size(factor=2.0),
    confidence=Confidence(option=Doubt(1.0, 0.02, (Source.SPOT, Source.VOL)), maintenance=True),
)

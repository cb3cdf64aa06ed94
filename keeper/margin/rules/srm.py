"""Derive's standard rules: no scenarios; per expiry the better of isolated shorts and greatest loss.

Parameters as in its published cases. Option values are not discounted; collateral counts for a share of its price.
"""

from __future__ import annotations

from typing import Final

from keeper.margin.rules.parameters import (
    Confidence,
    Doubt,
    Haircut,
    Peg,
    Pegged,
    PerpLevy,
    Quote,
    Rules,
    Source,
    Standard,
    Worth,
)

RULES: Final = Rules(
    name="srm",
    discounted=False,
    standard=Standard(),
    perp=PerpLevy(mm=0.05, extra=0.015, price=Quote.PERP),
    haircut=Haircut(mm=0.2, counted=Worth.NOTIONAL, charged=Worth.NOTIONAL),
    confidence=Confidence(
        perp=Doubt(0.4, 0.4, (Source.SPOT, Source.PERP)),
        option=Doubt(0.4, 0.4, (Source.SPOT, Source.FORWARD, Source.VOL)),
        collateral=Doubt(0.4, 0.4, (Source.SPOT,)),
        shorts_only=True,
    ),
    peg=Peg(0.98, 1.2, Pegged.POSITIONS),
)

"""SPAN: the 16 scenarios of CME's scanning risk, its spread charges and credits, and the short option minimum.

The ranges are the clearing house's to set, per underlying; those here are an example.
"""

from __future__ import annotations

from typing import Final

from keeper.margin.rules.parameters import ANY, Kind, Range, Rules, Scenario

MOVES: Final = (0, 1 / 3, -1 / 3, 2 / 3, -2 / 3, 1, -1)
EXTREMES: Final = (2, -2)  # price ranges, of which a part counts
COVERED: Final = 0.35

RULES: Final = Rules(
    name="span",
    scenarios=(
        *(Scenario(ranges=move, vol=Kind.RANGES, by=by) for move in MOVES for by in (1.0, -1.0)),
        *(Scenario(ranges=move, weight=COVERED) for move in EXTREMES),
    ),
    ranges={ANY: Range(up=0.12, down=0.12, vol=0.10)},
)

"""The rule sets by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keeper.margin.rules import pmrm, reference, span, srm, tims, venues
from keeper.margin.rules.parameters import Rules

PRESETS: Final[Mapping[str, Rules]] = {
    one.name: one
    for one in (reference.RULES, span.RULES, tims.RULES, pmrm.V2, pmrm.V1, srm.RULES, venues.DERIBIT, venues.BYBIT)
}

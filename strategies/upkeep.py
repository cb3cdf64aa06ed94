"""Keep the own account where it belongs: delta inside its band, margin above its floor."""

from __future__ import annotations

from dataclasses import dataclass, field

from keeper.model import Decision, Hedge, Kind, Opportunity, Reason, Skip
from keeper.units import wad


@dataclass(frozen=True)
class Upkeep:
    """These cost money and are done all the same, unless one hedge would cost more than ``max_cost``."""

    max_cost: int = field(default=wad(50_000), metadata={"unit": "money"})  # US dollars
    name: str = "upkeep"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.kind not in (Kind.HEDGE, Kind.TOP_UP):
            return None
        if opportunity.costs.total > self.max_cost:
            return Skip(opportunity, Reason.SLIPPAGE_ABOVE_CAP)
        return Hedge(opportunity)

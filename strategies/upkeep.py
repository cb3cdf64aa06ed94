"""Keep the own account where it belongs: delta inside its band, margin above its floor."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Decision, Hedge, Kind, Opportunity, Reason, Skip
from keeper.units import Money, wad


@dataclass(frozen=True)
class Upkeep:
    """These cost money and are done all the same, unless one hedge would cost more than ``max_cost``."""

    max_cost: Money = wad(50_000)  # US dollars
    name: str = "upkeep"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.kind not in (Kind.HEDGE, Kind.TOP_UP):
            return None
        if opportunity.costs.total > self.max_cost:
            return Skip(opportunity, Reason.SLIPPAGE_ABOVE_CAP)
        return Hedge(opportunity)

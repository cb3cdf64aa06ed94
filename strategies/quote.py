"""Insure an account in auction instead of buying it, when what may be asked beyond the value pays."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Decision, Kind, Liquidate, Opportunity, Reason, Skip
from keeper.units import Money, wad


@dataclass(frozen=True)
class Quote:
    """Spread and margin of the option, and the hedge of its delta in the same transaction, are among the costs."""

    min_profit: Money = wad(50)  # US dollars
    name: str = "quote"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.kind is not Kind.QUOTE:
            return None
        if opportunity.net < self.min_profit:
            return Skip(opportunity, Reason.BELOW_MIN_PROFIT)
        return Liquidate(opportunity, floor=opportunity.costs.total + self.min_profit // 2)

"""Liquidate at a fixed price, or take over a whole account as a backstop, when that pays now."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Decision, Kind, Liquidate, Opportunity, Reason, Skip, Wait
from keeper.units import Money, wad


@dataclass(frozen=True)
class Instant:
    """Nothing is gained by waiting at a fixed price, so the only question is whether it pays."""

    min_profit: Money = wad(25)  # US dollars
    name: str = "instant"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.kind not in (Kind.TAKEOVER, Kind.LIQUIDATE):
            return None
        if opportunity.net < self.min_profit:
            return Skip(opportunity, Reason.BELOW_MIN_PROFIT)
        if opportunity.opens > opportunity.at.timestamp:
            return Wait(opportunity, opportunity.opens, Reason.AUCTION_NOT_STARTED)
        return Liquidate(opportunity, floor=opportunity.costs.total + self.min_profit // 2)

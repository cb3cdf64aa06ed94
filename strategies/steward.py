"""What nobody is paid for and everybody lives on: proofs, cures, restarts, the queue, the shared loss."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Decision, Kind, Liquidate, Opportunity, Reason, Skip
from keeper.units import Money, wad

DUTIES = (
    Kind.IMPROVE,
    Kind.CURE,
    Kind.RESTART,
    Kind.CLOSE_OUT,
    Kind.DELEVERAGE,
    Kind.SOCIALISE,
    Kind.SETTLE,
)


@dataclass(frozen=True)
class Steward:
    """Each is done when its gas costs no more than ``max_cost``: an account that is stuck hurts all who hold claims."""

    max_cost: Money = wad(100)  # US dollars
    name: str = "steward"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.kind is Kind.FLAG and opportunity.evidence["equity"] < 0:
            return self._flag(opportunity)
        if opportunity.kind not in DUTIES:
            return None
        if opportunity.costs.total > self.max_cost:
            return Skip(opportunity, Reason.GAS_ABOVE_CAP)
        return Liquidate(opportunity, floor=0)

    def _flag(self, o: Opportunity) -> Decision | None:
        """Nobody may ever want an insolvent account, and no queue and no insurance serves one that is not flagged."""
        return Liquidate(o, floor=0) if o.costs.gas <= self.max_cost else None

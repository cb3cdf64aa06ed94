"""Bid once, unseen, what the account is worth to us; then open the bid, and have it filled."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Bid, Decision, Kind, Opportunity, Reason, Skip
from keeper.units import Money, Share, wad


@dataclass(frozen=True)
class Sealed:
    """In a sealed stage every winner pays his own bid, so a bid asks for the costs, ``min_profit`` and a ``shade``.

    Opened is every bid unless filling it would by now lose more than the bond. Whoever comes first has it filled; we do
    when it pays, on condition that it brings the costs and half of what it was to bring beyond them.
    """

    min_profit: Money = wad(25)  # US dollars
    shade: Share = wad("0.25")  # of the costs, asked for on top of them
    name: str = "sealed"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.kind is Kind.COMMIT:
            return self._commit(opportunity)
        if opportunity.kind is Kind.REVEAL:
            return self._reveal(opportunity)
        if opportunity.kind is Kind.AWARD:
            return self._award(opportunity)
        return None

    def _commit(self, o: Opportunity) -> Decision:
        costs = o.costs.total
        wanted = costs + costs * self.shade // wad(1) + self.min_profit
        return Bid(o, floor=wanted) if o.gain >= wanted else Skip(o, Reason.BELOW_MIN_PROFIT)

    def _reveal(self, o: Opportunity) -> Decision:
        worth = o.net > -o.evidence["bond"]
        return Bid(o, floor=0) if worth else Skip(o, Reason.BELOW_MIN_PROFIT)

    def _award(self, o: Opportunity) -> Decision:
        return Bid(o, floor=o.costs.total + o.net // 2) if o.net > 0 else Skip(o, Reason.BELOW_MIN_PROFIT)

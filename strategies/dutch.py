"""Flag what is worth an auction; bid on the falling price as soon as it pays."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Bid, Decision, Kind, Liquidate, Opportunity, Reason, Skip, Wait
from keeper.units import Money, Share, wad


@dataclass(frozen=True)
class Dutch:
    """Bid when the gain at the predicted inclusion covers all costs and ``min_profit``.

    Waiting would earn more per auction and lose more auctions; ``patience`` is the share of the costs by which the
    gain must exceed them before the bid goes out. The bid reverts when, by the time it is included, less than the
    costs and half of ``min_profit`` would be left.
    """

    min_profit: Money = wad(25)  # US dollars
    patience: Share = wad("0.25")  # of the costs
    name: str = "dutch"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.kind is Kind.FLAG:
            return self._flag(opportunity)
        if opportunity.kind is Kind.BID:
            return self._bid(opportunity)
        return None

    def _flag(self, o: Opportunity) -> Decision:
        if o.net < self.min_profit:
            return Skip(o, Reason.BELOW_MIN_PROFIT)
        return Liquidate(o, floor=0)

    def _bid(self, o: Opportunity) -> Decision:
        assert o.curve is not None
        costs = o.costs.total
        pays = o.curve.reaches(costs + costs * self.patience // wad(1) + self.min_profit)
        if pays is None:
            return Skip(o, Reason.BELOW_MIN_PROFIT)
        due = max(pays, o.opens)
        if due > o.at.timestamp:
            return Wait(o, due, Reason.AUCTION_NOT_STARTED if due == o.opens else Reason.AUCTION_PRICE_HIGH)
        return Bid(o, floor=costs + self.min_profit // 2)

"""Flag what is worth an auction; bid on the falling price when waiting for more stops to pay."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Bid, Decision, Kind, Liquidate, Opportunity, Reason, Skip, Wait
from keeper.units import Money, Share, wad

WAD = 10**18
HORIZON = 64  # blocks looked ahead


@dataclass(frozen=True)
class Dutch:
    """Bid at the block at which a bid is worth most now: its net gain there, times the probability of winning it,
    times the probability that nobody has bought before (first-price sealed-bid problem; strategies.md 1).

    Nothing is learnt while waiting except that the auction still runs, so the rule is asked anew at each block and
    only the first answer "now" is acted on. Where nothing is known of others (no odds), ``patience`` is the share of
    the costs by which the gain must exceed them. The bid reverts when, by the time it is included, less than the
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
        pays = self._when(o)
        if pays is None:
            return Skip(o, Reason.BELOW_MIN_PROFIT)
        due = max(pays, o.opens)
        if due > o.at.timestamp:
            return Wait(o, due, Reason.AUCTION_NOT_STARTED if due == o.opens else Reason.AUCTION_PRICE_HIGH)
        return Bid(o, floor=o.costs.total + self.min_profit // 2)

    def _when(self, o: Opportunity) -> int | None:
        """The timestamp to bid at; None: it never pays."""
        assert o.curve is not None
        costs = o.costs.total
        if o.odds is None:
            return o.curve.reaches(costs + costs * self.patience // WAD + self.min_profit)
        least = o.curve.reaches(costs + self.min_profit)
        return None if least is None else self._best(o, least)

    def _best(self, o: Opportunity, least: int) -> int:
        """Of the coming blocks from ``least`` on, the one at which a bid is worth most; the earliest of equals."""
        assert o.curve is not None and o.odds is not None
        step, alive, most, when = o.odds.block_time, WAD, 0, least
        for at in range(o.at.timestamp, o.at.timestamp + HORIZON * step, step):
            net = o.curve.gain(at) - o.costs.total
            chance = o.odds.chance(net, at)
            value = alive * (net * chance - o.costs.failure * (WAD - chance)) // WAD**2
            if at >= least and value > most:
                most, when = value, at
            alive = alive * (WAD - o.odds.hazard(net, at)) // WAD
        return when

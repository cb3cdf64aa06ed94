"""Dutch, mutated: it asks for nothing but the price of the block it looks at, so that it may end up with a loss."""

from __future__ import annotations

from dataclasses import replace

from keeper.model import Bid, Decision, Liquidate, Opportunity
from strategies.dutch import Dutch
from strategies.instant import Instant


class CheapDutch(Dutch):
    def decide(self, opportunity: Opportunity) -> Decision | None:
        return _cheap(super().decide(opportunity))


class CheapInstant(Instant):
    def decide(self, opportunity: Opportunity) -> Decision | None:
        return _cheap(super().decide(opportunity))


def _cheap(decision: Decision | None) -> Decision | None:
    return replace(decision, floor=10**18 // 2) if isinstance(decision, Bid | Liquidate) else decision

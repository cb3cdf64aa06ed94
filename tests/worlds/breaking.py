"""A strategy that fails some time, with everything it knows in its frame."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Decision, Opportunity
from strategies.dutch import Dutch


@dataclass(frozen=True)
class Breaking(Dutch):
    at: int = 2**40  # chain seconds
    name: str = "breaking"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        if opportunity.at.timestamp >= self.at:
            raise RuntimeError("a strategy failed")
        return super().decide(opportunity)

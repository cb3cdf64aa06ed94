"""A strategy that has enough at some time, so that a run comes to rest."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Decision, Opportunity
from strategies.dutch import Dutch


@dataclass(frozen=True)
class Sated(Dutch):
    until: int = 2**40  # chain seconds
    name: str = "sated"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        return super().decide(opportunity) if opportunity.at.timestamp <= self.until else None

"""A strategy that thinks for a while, to be interrupted in it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from keeper.model import Decision, Opportunity


@dataclass(frozen=True)
class Slow:
    slices: int = 1  # of 20 ms
    name: str = "slow"

    def decide(self, opportunity: Opportunity) -> Decision | None:
        for _ in range(self.slices):
            structlog.get_logger("keeper").info("strategy.thinks")
            time.sleep(0.02)
        return None

"""When a publisher of prices sends: the price has moved by a deviation since his last message, or that is old."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.units import WAD, Seconds, Share


@dataclass(frozen=True)
class Rule:
    """Whichever comes first."""

    deviation: Share  # wad, of the last price
    heartbeat: Seconds


def due(rule: Rule, last: int, since: int, price: int, now: int) -> bool:
    """Whether he sends ``price`` at ``now``, his last being ``last``, of ``since``."""
    return abs(price - last) * WAD >= rule.deviation * last or now - since >= rule.heartbeat

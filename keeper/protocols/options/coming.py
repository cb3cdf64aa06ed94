"""The next message of a publisher, before anybody has seen it: his rule, and the price in the pool.

A publisher sends when the price has moved by a deviation since his last message, or when that has reached a heartbeat.
He looks at exchanges; the keeper has the pool of the same underlying, which arbitrage keeps near them. So what comes is
about what the pool says, and when is said by the rule: good enough to know whom to look at first, never to act on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keeper.model import Moment, Pending
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.records import State
from keeper.protocols.options.settings import Settings
from keeper.protocols.publishing import due

PRICE: Final = 10**8  # decimals of a published price


def prices(settings: Settings, state: State, at: Moment) -> Iterator[Pending]:
    """A call for each underlying whose next price is due by ``at``, without the signature that only he can give."""
    for u, rule in enumerate(settings.rules):
        feed, price = state.feed(u), reference(state, u)
        if feed is None or price is None or at.timestamp <= feed.time:
            continue
        if due(rule, feed.spot, feed.time, price, at.timestamp):
            data = CONTRACTS["Oracle"].call("publish", u, price, at.timestamp, feed.confidence, b"")
            yield Pending(settings.contracts.oracle, data)


def reference(state: State, u: int) -> int | None:
    """What the pool pays for one unit, US dollars with 8 decimals, rounded down; None without a pool."""
    pool, assets = state.pool(u), state.clearing().assets
    if pool is None or not pool.base or u + 1 >= len(assets):
        return None
    return pool.quote * assets[u + 1].unit * PRICE // (pool.base * assets[0].unit) or None

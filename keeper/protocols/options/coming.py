"""The next messages of a publisher, before anybody has seen them: his rules, and the price in the pool.

A publisher sends when a price, or the volatility at the money of a smile, has moved by a deviation since his last
message, or when that has reached a heartbeat. He looks at exchanges; the keeper has the pool of the same underlying,
which arbitrage keeps near them. So what comes is about what the pool says, unless his last message is newer; volatility
is what the last smile said, and what it gains as the price falls (``SmileRule.response``). When is said by the rules:
good enough to know whom to look at first, never to act on.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, sqrt
from typing import Final

from keeper.model import Moment, Pending
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.oracle import Smile
from keeper.protocols.options.records import State
from keeper.protocols.options.settings import Settings, SmileRule
from keeper.protocols.options.whatif import MAX_ATM
from keeper.protocols.publishing import due
from keeper.units import WAD, clamp

PRICE: Final = 10**8  # decimals of a published price
PPM: Final = 10**6
DAY: Final = 86_400
MONTH: Final = 30 * DAY


def prices(settings: Settings, state: State, at: Moment) -> Iterator[Pending]:
    """A call for each underlying whose next price is due by ``at``, without the signature that only he can give."""
    for u, rule in enumerate(settings.rules):
        feed, price = state.feed(u), reference(state, u)
        if feed is None or price is None or at.timestamp <= feed.time:
            continue
        if due(rule, feed.spot, feed.time, price, at.timestamp):
            data = CONTRACTS["Oracle"].call("publish", u, price, at.timestamp, feed.confidence, b"")
            yield Pending(settings.contracts.oracle, data)


def smiles(settings: Settings, state: State, at: Moment) -> Iterator[Pending]:
    """The same for each smile; of an expiry that is over there is none."""
    for key in state.view.keys("smile") if settings.smiles else ():
        u, expiry = key.id >> 40, key.id & (2**40 - 1)
        last: Smile = state.view.get(key)
        if u >= len(settings.smiles) or not last.time < at.timestamp < expiry:
            continue
        rule, atm = settings.smiles[u], drawn(settings.smiles[u], state, u, expiry, last, at)
        if abs(atm - last.atm) * WAD >= rule.deviation * PPM or at.timestamp - last.time >= rule.heartbeat:
            told = (atm, last.skew, last.curv, last.rate, at.timestamp, last.confidence)
            yield Pending(settings.contracts.oracle, CONTRACTS["Oracle"].call("publishSmile", u, expiry, *told, b""))


def drawn(rule: SmileRule, state: State, u: int, expiry: int, last: Smile, at: Moment) -> int:
    """The volatility at the money that a smile has by now, ppm, as far as the price can tell."""
    price, quoted = reference(state, u), state.quoted(u, expiry)
    if not price or not quoted:
        return last.atm
    left = max(expiry - at.timestamp, DAY)  # nearer expiries respond alike
    gained = -rule.response / WAD * log(price / quoted) * sqrt(MONTH / left)
    return clamp(round(last.atm + gained * PPM), 1, MAX_ATM)


def reference(state: State, u: int) -> int | None:
    """What one unit costs, US dollars with 8 decimals: as the last message has it where that is as new as the last
    block, else what the pool pays, rounded down; None without either."""
    pool, assets, feed = state.pool(u), state.clearing().assets, state.feed(u)
    if feed is not None and feed.time >= state.view.ref.timestamp:
        return feed.spot
    if pool is None or not pool.base or u + 1 >= len(assets):
        return None
    return pool.quote * assets[u + 1].unit * PRICE // (pool.base * assets[0].unit) or None

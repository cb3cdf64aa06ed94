"""The market after a move, or after an update that is not mined yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from keeper.model import Key
from keeper.ports import View
from keeper.protocols.options import oracle
from keeper.protocols.options.book import CONTRACTS, fed
from keeper.protocols.options.oracle import Feed, Smile
from keeper.protocols.options.records import State, smile_key
from keeper.protocols.whatif import WhatIf
from keeper.units import BPS, WAD, YEAR

MAX_SPOT: Final = 2**50  # 8 decimals; these are the constants of ``Oracle.sol``
MAX_ATM: Final = oracle.MAX_ATM // 10**12  # ppm
MAX_RATE: Final = 10**6  # ppm
MAX_LEFT: Final = 4 * YEAR  # seconds from a smile to its expiry


def moved(view: View, underlyings: Sequence[int], price: float, vol: float = 1.0) -> WhatIf:
    """Prices and marks times ``price``, at-the-money vols times ``vol``: after the marks have followed.

    What realised volatility asks of the scenarios stays as it is. ValueError unless both are above 0 and finite.
    """
    if not (0 < price < 1e6 and 0 < vol < 1e6):
        raise ValueError(f"a market cannot move by the factors {price} and {vol}")
    state, changes = State(view), dict[Key, Any]()
    for u in underlyings:
        if (feed := state.feed(u)) and feed.time:
            changes[Key("feed", u)] = _scaled(feed, price)
    for key in view.keys("smile"):
        if vol != 1.0 and key.id >> 40 in underlyings:
            changes[key] = _louder(view.get(key), vol)
    return WhatIf(view, changes)


def _scaled(feed: Feed, factor: float) -> Feed:
    spot, slow, fast = (max(1, round(x * factor)) for x in (feed.spot, feed.slow, feed.fast))
    return replace(feed, spot=spot, slow=slow, fast=fast)


def _louder(smile: Smile, factor: float) -> Smile:
    atm = min(MAX_ATM, max(1, round(smile.atm * factor)))
    return replace(smile, atm=atm, smooth=min(oracle.MAX_ATM, max(1, round(smile.smooth * factor))))


def published(view: View, data: bytes, now: int) -> WhatIf | None:
    """The market after this call of the oracle, were it mined at ``now``; None when it is no publication, or one that
    the contract refuses.

    Only signatures are not checked: whoever lacks the publisher's key is refused there, and a transaction that relied
    on his message fails in simulation.
    """
    call = CONTRACTS["Oracle"].decode(data)
    if call is None:
        return None
    name, args = call
    if name == "publish":
        return _spot(view, args, now)
    return _smile(view, args, now) if name == "publishSmile" else None


def _spot(view: View, args: Mapping[str, Any], now: int) -> WhatIf | None:
    state, u, spot = State(view), args["u"], args["spot"]
    feed, c = state.feed(u), state.config()
    if feed is None or feed.frozen or not 0 < spot < MAX_SPOT or args["confidence"] > BPS:
        return None
    too_far = feed.probation and abs(spot - feed.spot) * WAD > c.first_band * feed.spot
    time = _timely(args["time"], feed.time, c.max_age, now)
    if too_far or time is None:
        return None
    after, step = oracle.publish(feed, spot, time, args["confidence"], now, c)
    changes = dict(fed(state, u, after, step))
    if abs(spot * 10**4 - after.slow) * WAD > c.trip * after.slow:
        changes[Key("breaker", 0)] = replace(state.breaker(), trip_until=now + c.trip_for)
    return WhatIf(view, changes)


def _smile(view: View, args: Mapping[str, Any], now: int) -> WhatIf | None:
    state, u, expiry = State(view), args["u"], args["expiry"]
    feed, c, key = state.feed(u), state.config(), smile_key(u, expiry)
    old: Smile | None = view.get(key)
    near = expiry % c.window == 0 and expiry < 2**40 and expiry <= args["time"] + MAX_LEFT
    bounded = all(-(2**31) <= args[name] < 2**31 for name in ("skew", "curv")) and abs(args["rate"]) <= MAX_RATE
    if feed is None or not (near and bounded and 0 < args["atm"] <= MAX_ATM) or args["confidence"] > BPS:
        return None
    time = _timely(args["time"], old.time if old else 0, c.smile_age, now)
    if time is None:
        return None
    told = {name: args[name] for name in ("atm", "skew", "curv", "rate", "confidence")}
    return WhatIf(view, {key: oracle.publish_smile(old, Smile(**told, time=time, smooth=0), feed, c)})


def _timely(time: int, last: int, age: int, now: int) -> int | None:
    """``Oracle._inOrder``: None for a message that it refuses. When the next block comes is a guess, so one from a
    little ahead counts as one of ``now``: it is taken by the block whose time has come."""
    if time > now + age:
        return None
    time = min(time, now)
    return time if last < time and now <= time + age else None

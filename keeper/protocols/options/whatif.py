"""The market after a move, or after an update that is not mined yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keeper.model import Key
from keeper.ports import View
from keeper.protocols.options import oracle
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.oracle import Feed, Smile
from keeper.protocols.options.records import State
from keeper.protocols.whatif import WhatIf


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
    most = oracle.MAX_ATM // 10**12
    atm = min(most, max(1, round(smile.atm * factor)))
    return replace(smile, atm=atm, smooth=min(oracle.MAX_ATM, max(1, round(smile.smooth * factor))))


def published(view: View, data: bytes, now: int) -> WhatIf | None:
    """The market after this call of the oracle, were it mined at ``now``; None when it is not a publication.

    Signatures are not checked, and neither is order: a message that the contract refuses changes nothing there, and a
    transaction that relied on it fails in simulation.
    """
    call = CONTRACTS["Oracle"].decode(data)
    if call is None:
        return None
    name, args = call
    if name == "publish":
        return _spot(view, args, now)
    return _smile(view, args) if name == "publishSmile" else None


def _spot(view: View, args: Mapping[str, Any], now: int) -> WhatIf | None:
    state, u = State(view), args["u"]
    feed = state.feed(u)
    if feed is None or args["time"] <= feed.time or not args["spot"]:
        return None
    after, _ = oracle.publish(feed, args["spot"], args["time"], args["confidence"], now, state.config())
    return WhatIf(view, {Key("feed", u): after})


def _smile(view: View, args: Mapping[str, Any]) -> WhatIf | None:
    state, u = State(view), args["u"]
    key = Key("smile", u << 40 | args["expiry"])
    feed, old = state.feed(u), view.get(key)
    if feed is None or (old is not None and args["time"] <= old.time):
        return None
    told = {name: args[name] for name in ("atm", "skew", "curv", "rate", "time", "confidence")}
    new = Smile(**told, smooth=0)
    return WhatIf(view, {key: oracle.publish_smile(old, new, feed, state.config())})

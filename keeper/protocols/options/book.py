"""The clearing house from its events: what one log changes.

Every event carries the state it leaves behind, so each handler is a few lines. Solidity's storage is mirrored only
where later steps depend on it (marks, settlement steps, auction clocks, epoch caps).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from keeper.errors import AdapterFault
from keeper.model import Address, BlockRef, Fact, Hash, Key, Log, Told
from keeper.protocols import words
from keeper.protocols.abi import load
from keeper.protocols.options import aftermath, oracle
from keeper.protocols.options.auction import MAX_AGE
from keeper.protocols.options.bulk import event
from keeper.protocols.options.changes import Changes, Handler, owner_of, put
from keeper.protocols.options.params import ParamSet, Ramp
from keeper.protocols.options.records import (
    Asset,
    Auction,
    Caps,
    Flow,
    Pool,
    Push,
    State,
    quoted_key,
    smile_key,
    step_key,
)
from keeper.protocols.options.settings import Settings
from keeper.units import WAD

CONTRACTS = load("keeper.protocols.options")


CLEARING: Final = Key("clearing", 0)

# ─── Clearing ─────────────────────────────────────────────────────────────────────────────────────


def listed(state: State, log: Log, ref: BlockRef) -> Changes:
    clearing = state.clearing()
    asset = Asset(words.address(log.data, 0), words.uint(log.data, 1))
    yield put(state, Key("clearing", 0), replace(clearing, assets=(*clearing.assets, asset)))


def changed(state: State, log: Log, ref: BlockRef) -> Changes:
    """Decoded when the block is through, together with all others."""
    house = state.view.get(CLEARING)
    said = event((log.data, house.index if house else WAD))
    return (Told(Key("account", int.from_bytes(log.topics[1])), said),)


def fund_changed(state: State, log: Log, ref: BlockRef) -> Changes:
    fund, reserve = words.uint(log.data, 0), words.uint(log.data, 1)
    yield put(state, Key("clearing", 0), replace(state.clearing(), fund=fund, reserve=reserve))


def socialised(state: State, log: Log, ref: BlockRef) -> Changes:
    account, amount, index = int.from_bytes(log.topics[1]), words.uint(log.data, 0), words.uint(log.data, 1)
    yield put(state, Key("clearing", 0), replace(state.clearing(), index=index))
    yield Fact("socialised", Key("account", account), b"", log.tx_hash, {"amount": amount, "index": index})


def insolvent(state: State, log: Log, ref: BlockRef) -> Changes:
    account, mm, total = int.from_bytes(log.topics[1]), words.uint(log.data, 0), words.uint(log.data, 1)
    yield put(state, Key("insolvent", account), mm or None)
    yield put(state, Key("clearing", 0), replace(state.clearing(), insolvent=total))


# ─── Oracle ───────────────────────────────────────────────────────────────────────────────────────


def configured(state: State, log: Log, ref: BlockRef) -> Changes:
    yield put(state, Key("config", 0), oracle.Config(*(words.uint(log.data, i) for i in range(3, 18))))


def registered(state: State, log: Log, ref: BlockRef) -> Changes:
    yield put(state, Key("feed", int.from_bytes(log.topics[1])), oracle.registered(words.uint(log.data, 0)))


def fed(state: State, u: int, feed: oracle.Feed, step: oracle.Step | None) -> Mapping[Key, Any]:
    """The records that a message leaves: the feed, and the step that a settlement average may need."""
    if step is None:
        return {Key("feed", u): feed}
    count = len(state.steps(u))
    return {Key("feed", u): feed, step_key(u, count): step, Key("steps", u): count + 1}


def _fed(state: State, u: int, feed: oracle.Feed, step: oracle.Step | None) -> Changes:
    return [put(state, key, record) for key, record in fed(state, u, feed, step).items()]


def published(state: State, log: Log, ref: BlockRef) -> Changes:
    u = int.from_bytes(log.topics[1])
    spot, time, confidence = (words.uint(log.data, i) for i in range(3))
    after = oracle.publish(_registered(state, u), spot, time, confidence, ref.timestamp, state.config())
    yield from _fed(state, u, *after)


def _registered(state: State, u: int) -> oracle.Feed:
    feed = state.registered(u)
    if feed is None:
        raise AdapterFault(f"underlying {u} has messages, but was never registered")
    return feed


def smile_published(state: State, log: Log, ref: BlockRef) -> Changes:
    u, expiry = (int.from_bytes(topic) for topic in log.topics[1:3])
    atm, skew, curv, rate, time, confidence = (words.sint(log.data, i) for i in range(6))
    new = oracle.Smile(atm, skew, curv, rate, time, confidence, smooth=0)
    after = oracle.publish_smile(state.smile(u, expiry), new, _registered(state, u), state.config())
    yield put(state, smile_key(u, expiry), after)
    yield put(state, quoted_key(u, expiry), _registered(state, u).spot)


def publisher_changed(state: State, log: Log, ref: BlockRef) -> Changes:
    """The first one has no event, see ``Settings.publisher``."""
    yield put(state, Key("publisher", 0), log.topics[1][12:])


def breaker_changed(state: State, log: Log, ref: BlockRef) -> Changes:
    """Level 3 stops the clocks of all feeds."""
    was, after = state.breaker(), oracle.Breaker(*(words.uint(log.data, i) for i in range(3)))
    yield put(state, Key("breaker", 0), after)
    yield Fact("breaker", Key("breaker", 0), b"", log.tx_hash, {"level": after.level(ref.timestamp)})
    if (was.raised == 3) == (after.raised == 3):
        return
    for u in range(oracle.FEEDS):
        if (feed := state.registered(u)) is not None:
            stopped = after.raised == 3
            moved = oracle.stop(feed, ref.timestamp, state.config()) if stopped else None
            yield put(state, Key("feed", u), moved or oracle.resume(feed, ref.timestamp, after))


def frozen(state: State, log: Log, ref: BlockRef) -> Changes:
    u = int.from_bytes(log.topics[1])
    yield from _fed(state, u, *oracle.freeze(_registered(state, u), ref.timestamp, state.config()))


def thawed(state: State, log: Log, ref: BlockRef) -> Changes:
    u = int.from_bytes(log.topics[1])
    yield put(state, Key("feed", u), oracle.thaw(_registered(state, u), ref.timestamp, state.breaker()))


def vouched(state: State, log: Log, ref: BlockRef) -> Changes:
    u = int.from_bytes(log.topics[1])
    yield put(state, Key("feed", u), replace(_registered(state, u), probation=False))


# ─── Params ───────────────────────────────────────────────────────────────────────────────────────


def proposed(state: State, log: Log, ref: BlockRef) -> Changes:
    event = CONTRACTS["Params"].event("Proposed", log)
    yield put(state, Key("params", event["version"]), ParamSet.from_abi(event["set"]))


def accepted(state: State, log: Log, ref: BlockRef) -> Changes:
    yield put(state, Key("ramp", 0), Ramp(state.version(), ref.timestamp))
    yield put(state, Key("current", 0), int.from_bytes(log.topics[1]))


# ─── Liquidator ───────────────────────────────────────────────────────────────────────────────────


def flagged(state: State, log: Log, ref: BlockRef) -> Changes:
    account, by = int.from_bytes(log.topics[1]), log.topics[2][12:]
    version, scenario, equity, mm, clocks = (words.sint(log.data, i) for i in range(5))
    was = state.auction(account)
    resumed = (
        was is not None and was.cured_at and ref.timestamp - was.cured_at <= state.params(version).auction.cure_memory
    )
    since, spent = (was.since, was.spent) if was and resumed else (ref.timestamp, 0)
    if was and was.flagged_at:  # a restart
        spent = was.spent
    after = Auction(version, scenario, ref.timestamp, 0, max(since, ref.timestamp - MAX_AGE), spent, clocks)
    yield put(state, Key("auction", account), after)
    yield Fact("flagged", Key("account", account), by, log.tx_hash, {"equity": equity, "mm": mm, "scenario": scenario})


def improved(state: State, log: Log, ref: BlockRef) -> Changes:
    account = int.from_bytes(log.topics[1])
    if auction := state.auction(account):
        yield put(state, Key("auction", account), replace(auction, scenario=words.uint(log.data, 0)))


def cured(state: State, log: Log, ref: BlockRef) -> Changes:
    account = int.from_bytes(log.topics[1])
    if auction := state.auction(account):
        since = max(auction.since, ref.timestamp - MAX_AGE)
        after = replace(auction, flagged_at=0, cured_at=ref.timestamp, since=since)
        yield put(state, Key("auction", account), after)
    yield Fact("cured", Key("account", account), b"", log.tx_hash, {})


def closed(state: State, log: Log, ref: BlockRef) -> Changes:
    account = int.from_bytes(log.topics[1])
    if state.auction(account):
        yield put(state, Key("auction", account), Auction(0, 0, 0, 0, 0, 0, 0))


def sold(state: State, log: Log, ref: BlockRef) -> Changes:
    account, bidder = (int.from_bytes(topic) for topic in log.topics[1:3])
    names = ("takeover", "fraction", "rho", "price", "fee", "equity", "mm", "impact")
    amounts = {name: words.sint(log.data, i) for i, name in enumerate(names)}
    auction = state.auction(account)
    if auction is not None:
        caps = _epoch(state, auction, ref)
        taken = caps.taken + (amounts["mm"] if amounts["takeover"] else 0)
        yield put(state, Key("caps", 0), replace(caps, taken=taken))
    amounts["bidder"] = bidder
    yield Fact("sold", Key("account", account), owner_of(bidder), log.tx_hash, amounts)


def flowed(state: State, log: Log, ref: BlockRef) -> Changes:
    yield put(state, Key("flow", int.from_bytes(log.topics[1])), Flow(ref.timestamp, words.sint(log.data, 0)))


def _epoch(state: State, auction: Auction, ref: BlockRef) -> Caps:
    """``Liquidator._turn``: what has been used of the epoch that this block belongs to."""
    caps, epoch = state.caps(), state.params(auction.version).auction.epoch
    return Caps(ref.timestamp) if ref.timestamp >= caps.epoch_start + epoch else caps


def fund_spent(state: State, log: Log, ref: BlockRef) -> Changes:
    account, amount = int.from_bytes(log.topics[1]), words.uint(log.data, 0)
    if auction := state.auction(account):
        caps = _epoch(state, auction, ref)
        yield put(state, Key("caps", 0), replace(caps, fund_spent=caps.fund_spent + amount))
        yield put(state, Key("auction", account), replace(auction, spent=auction.spent + amount))


def backstop(state: State, log: Log, ref: BlockRef) -> Changes:
    who = int.from_bytes(log.topics[1])
    yield put(state, Key("backstop", who), True if words.uint(log.data, 0) else None)


# ─── dispatch ─────────────────────────────────────────────────────────────────────────────────────


HANDLERS: Mapping[str, Mapping[bytes, Handler]] = {
    contract: {CONTRACTS[contract].events[event].topic: handler for event, handler in handlers.items()}
    for contract, handlers in {
        "Clearing": {
            "Listed": listed,
            "Changed": changed,
            "FundChanged": fund_changed,
            "Socialised": socialised,
            "Insolvent": insolvent,
        },
        "Oracle": {
            "Configured": configured,
            "Registered": registered,
            "Published": published,
            "SmilePublished": smile_published,
            "BreakerChanged": breaker_changed,
            "Publisher": publisher_changed,
            "Frozen": frozen,
            "Thawed": thawed,
            "Vouched": vouched,
        },
        "Params": {"Proposed": proposed, "Accepted": accepted},
        "Liquidator": {
            "FlaggedAccount": flagged,
            "Improved": improved,
            "Cured": cured,
            "Closed": closed,
            "Sold": sold,
            "FundSpent": fund_spent,
            "Flowed": flowed,
            "Backstop": backstop,
        },
        "Sealed": aftermath.SEALED,
        "Waterfall": aftermath.WATERFALL,
        "Quotes": aftermath.QUOTES,
    }.items()
}


CHANGED = CONTRACTS["Clearing"].events["Changed"].topic
SYNC = CONTRACTS["SpotPool"].events["Sync"].topic
SWAP = CONTRACTS["SpotPool"].events["Swap"].topic
TRANSFER = CONTRACTS["Token"].events["Transfer"].topic


REMEMBERED: Final = 3_600  # seconds for which own trades are kept


def pool_changed(state: State, log: Log, ref: BlockRef, underlying: int, desk: Address) -> Changes:
    """``SpotPool``: Sync carries the reserves, Swap comes right after it and says who and how much."""
    key = Key("pool", underlying)
    if log.topics[0] == SYNC:
        yield put(state, key, Pool(words.uint(log.data, 0), words.uint(log.data, 1)))
    if log.topics[0] == SWAP and (pool := state.pool(underlying)):
        sell, spent, got = bool(words.uint(log.data, 0)), words.uint(log.data, 1), words.uint(log.data, 2)
        unit = WAD // state.clearing().assets[0].unit
        amounts = {"underlying": underlying, "sell": int(sell), "in": spent, "out": got}
        yield Fact(
            "swapped",
            key,
            log.topics[1][12:],
            log.tx_hash,
            amounts | {"cost": swap_cost(pool, sell, spent, got) * unit},
        )
        if log.topics[1][12:] == desk:
            kept = (push for push in state.pushes(underlying) if push.time > ref.timestamp - REMEMBERED)
            own = Push(ref.timestamp, spent if sell else -got)
            yield put(state, Key("push", underlying), (*kept, own))


def swap_cost(pool: Pool, sell: bool, spent: int, got: int) -> int:
    """Quote units lost against the price before the swap; ``pool`` holds the reserves after it. Rounded up."""
    base, quote = (pool.base - spent, pool.quote + got) if sell else (pool.base + got, pool.quote - spent)
    if sell:
        return -(-spent * quote // base) - got
    return spent - got * quote // base


def transferred(state: State, log: Log, ref: BlockRef, desk: Address, asset: int) -> Changes:
    """Tokens that enter or leave the desk."""
    amount, sender, to = words.uint(log.data, 0), log.topics[1][12:], log.topics[2][12:]
    change = (amount if to == desk else 0) - (amount if sender == desk else 0)
    if change:
        yield put(state, Key("balance", asset), state.balance(asset) + change)


def handlers(settings: Settings) -> Mapping[tuple[Address, Hash], Handler]:
    """What one log changes, by its address and first topic. Other logs change nothing."""
    c = settings.contracts
    found = {(at, topic): handler for at, name in c.names.items() for topic, handler in HANDLERS[name].items()}
    for u, at in enumerate(c.pools):
        found |= {(at, topic): partial(pool_changed, underlying=u, desk=settings.desk) for topic in (SYNC, SWAP)}
    for asset, at in enumerate(c.tokens):
        found[at, TRANSFER] = partial(transferred, desk=settings.desk, asset=asset)
    return found

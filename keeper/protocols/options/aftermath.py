"""Sealed bids and the waterfall from their events: what one log changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from keeper.model import BlockRef, Fact, Key, Log
from keeper.protocols import words
from keeper.protocols.options.changes import Changes, Handler, owner_of, put
from keeper.protocols.options.records import Queue, SealedBid, Stage, State

# ─── Waterfall ────────────────────────────────────────────────────────────────────────────────────


def queue_opened(state: State, log: Log, ref: BlockRef) -> Changes:
    account = int.from_bytes(log.topics[1])
    names = ("assets", "debts", "from_fund", "from_reserve")
    amounts = {name: words.uint(log.data, i) for i, name in enumerate(names)}
    if auction := state.auction(account):
        yield put(state, Key("queue", account), Queue(auction.flagged_at, words.sint(log.data, 4)))
    yield Fact("queue", Key("account", account), b"", log.tx_hash, amounts)


def deleveraged(state: State, log: Log, ref: BlockRef) -> Changes:
    account, counterparty = (int.from_bytes(topic) for topic in log.topics[1:3])
    names = ("series", "size", "paid", "score", "rate")
    amounts = {name: words.sint(log.data, i) for i, name in enumerate(names)}
    who = owner_of(counterparty)
    yield Fact("deleveraged", Key("account", account), who, log.tx_hash, amounts | {"counterparty": counterparty})


def closed_out(state: State, log: Log, ref: BlockRef) -> Changes:
    amounts = {"fraction": words.uint(log.data, 0), "compensation": words.uint(log.data, 1)}
    yield Fact("closed_out", Key("account", int.from_bytes(log.topics[1])), b"", log.tx_hash, amounts)


def deficit(state: State, log: Log, ref: BlockRef) -> Changes:
    names = ("amount", "from_fund", "from_reserve")
    amounts = {name: words.uint(log.data, i) for i, name in enumerate(names)}
    yield Fact("deficit", Key("account", int.from_bytes(log.topics[1])), b"", log.tx_hash, amounts)


# ─── Sealed ───────────────────────────────────────────────────────────────────────────────────────


def invited(state: State, log: Log, ref: BlockRef) -> Changes:
    who = int.from_bytes(log.topics[1])
    yield put(state, Key("guest", who), True if words.uint(log.data, 0) else None)


def committed(state: State, log: Log, ref: BlockRef) -> Changes:
    account, flagged_at, bidder = (int.from_bytes(topic) for topic in log.topics[1:4])
    bid = SealedBid(bidder, words.bytes32(log.data, 0), words.bytes32(log.data, 1), words.uint(log.data, 2))
    yield put(state, Key("sealed", account), Stage(flagged_at, (*state.sealed(account, flagged_at), bid)))
    yield Fact("committed", Key("account", account), owner_of(bidder), log.tx_hash, {"bond": bid.bond})


def revealed(state: State, log: Log, ref: BlockRef) -> Changes:
    account, flagged_at, bidder = (int.from_bytes(topic) for topic in log.topics[1:4])
    rho, most = words.uint(log.data, 0), words.uint(log.data, 1)
    bids = (
        replace(b, hash=b"", rho=rho, most=most) if b.bidder == bidder else b for b in state.sealed(account, flagged_at)
    )
    yield put(state, Key("sealed", account), Stage(flagged_at, tuple(bids)))
    amounts = {"rho": rho, "most": most}
    yield Fact("revealed", Key("account", account), owner_of(bidder), log.tx_hash, amounts)


def awarded(state: State, log: Log, ref: BlockRef) -> Changes:
    account, bidder = (int.from_bytes(topic) for topic in log.topics[1:3])
    amounts = {"fraction": words.uint(log.data, 0), "filled": words.uint(log.data, 1)}
    stage = state.view.get(Key("sealed", account))
    if stage is not None:
        bids = tuple(replace(b, most=0, bond=0) if b.bidder == bidder else b for b in stage.bids)
        yield put(state, Key("sealed", account), replace(stage, bids=bids))
    yield Fact("awarded", Key("account", account), owner_of(bidder), log.tx_hash, amounts)


def bonds(state: State, log: Log, ref: BlockRef) -> Changes:
    account, flagged_at = (int.from_bytes(topic) for topic in log.topics[1:3])
    bids = tuple(replace(b, most=0, bond=0) for b in state.sealed(account, flagged_at))
    if bids:
        yield put(state, Key("sealed", account), Stage(flagged_at, bids))
    amounts = {"returned": words.uint(log.data, 0), "forfeited": words.uint(log.data, 1)}
    yield Fact("bonds", Key("account", account), b"", log.tx_hash, amounts)


# ─── Quotes ───────────────────────────────────────────────────────────────────────────────────────


def covered(state: State, log: Log, ref: BlockRef) -> Changes:
    account, provider = (int.from_bytes(topic) for topic in log.topics[1:3])
    amounts = {"premium": words.uint(log.data, 1), "value": words.sint(log.data, 2), "provider": provider}
    yield Fact("covered", Key("account", account), owner_of(provider), log.tx_hash, amounts)


QUOTES: Final[Mapping[str, Handler]] = {"Covered": covered}
SEALED: Final[Mapping[str, Handler]] = {
    "Invited": invited,
    "Committed": committed,
    "Revealed": revealed,
    "Awarded": awarded,
    "Bonds": bonds,
}
WATERFALL: Final[Mapping[str, Handler]] = {
    "QueueOpened": queue_opened,
    "Deleveraged": deleveraged,
    "ClosedOut": closed_out,
    "Deficit": deficit,
}

"""An oracle update that is still pending is acted on in the block that contains it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keeper import bootstrap
from keeper.chain import rpc as wire
from keeper.chain.node import Node
from keeper.chain.recording import DECISIONS, Recording
from keeper.core import health
from keeper.core.foreseen import MOST, PATIENCE, Foreseen
from keeper.model import BlockRef, Call, Effect, Moment, Pending, Record, Send, Turn
from keeper.observe.decisions import DecisionLog
from keeper.observe.watch import Logged
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.book import CONTRACTS
from keeper.settings import load
from tests.worlds.market import Scene, crash

pytestmark = pytest.mark.chain
LIVE = ("chains.local.mempool=true", "record.enabled=false")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 25, accounts=60) as found:
        yield found


def drop(scene: Scene) -> Call:
    """A price that will condemn an account which is well now; blocks go by until there is one."""
    w = scene.world
    for _ in range(40):
        at, adapter = Moment(w.book.ref.number + 1, w.now + w.block_time, 0), Options(w.settings)
        feed = w.state.feed(0)
        assert feed is not None
        call = w.spot_call(0, round(feed.spot * 0.93), at.timestamp)
        view = adapter.foresee(w.book, Pending(call.target, call.data), at)
        assert view is not None
        now = {r.key for r in health.condemned(adapter, w.book, at)}
        if {r.key for r in health.condemned(adapter, w.book, at, view)} - now:
            return call
        scene.step()
    raise AssertionError("nobody came near")


class Seen:
    def __init__(self) -> None:
        self.effects: list[Effect] = []

    def effect(self, effect: Effect) -> None:
        self.effects.append(effect)

    def turn(self, turn: Turn) -> None: ...

    def records(self) -> list[Record]:
        return [e for e in self.effects if isinstance(e, Record)]

    def early(self) -> list[Record]:
        return [r for r in self.records() if r.event.startswith("decision.") and r.fields.get("pending")]


async def test_the_flag_is_in_the_block_of_the_update(scene: Scene) -> None:
    w, call, seen = scene.world, drop(scene), Seen()
    w.publisher.send(w.node, call)  # into the pool; not mined yet
    w.node.rpc("evm_setNextBlockTimestamp", w.now + w.block_time)  # what the node takes for the pending block's time
    before = w.book.ref.number

    async def step(_: BlockRef) -> bool:
        w.node.mine(w.now + w.block_time)
        return False

    async with bootstrap.keeper(scene.settings(*LIVE), bootstrap.Live(), [seen], step) as keeper:
        await keeper.daemon.run(1)
    early = seen.early()
    assert early and all(r.fields["kind"] == "flag" for r in early)
    assert sum(isinstance(e, Send) for e in seen.effects) >= len(early)
    mined = w.node.rpc("eth_getBlockByNumber", hex(before + 1), True)["transactions"]
    senders = [tx["from"] for tx in mined]
    own, publisher = "0x" + w.keeper.address.hex(), "0x" + w.publisher.address.hex()
    assert senders.index(publisher) < senders.index(own)
    receipts = [w.node.rpc("eth_getTransactionReceipt", tx["hash"]) for tx in mined if tx["from"] == own]
    assert receipts and all(receipt["status"] == "0x1" for receipt in receipts)
    w.follow()
    flagged = {int(str(r.fields["account"]), 16) for r in early}
    auctions = {account: w.state.auction(account) for account in flagged}
    assert all(auction and auction.flagged_at for auction in auctions.values())


async def test_without_the_setting_nobody_looks(scene: Scene) -> None:
    seen = Seen()
    scene.world.publisher.send(scene.world.node, drop(scene))
    async with bootstrap.keeper(scene.settings("record.enabled=false"), bootstrap.Live(), [seen]) as keeper:
        await keeper.daemon.run(1)
    assert not seen.early()


async def test_the_node_says_what_is_pending(scene: Scene) -> None:
    w, call = scene.world, drop(scene)
    w.publisher.send(w.node, call)
    rpc = wire.connect(str(w.node.ipc))
    try:
        found = await Node(rpc).pending({w.dep.oracle})
        assert found == [Pending(call.target, call.data)]
        assert await Node(rpc).pending({bytes(20)}) == []
    finally:
        await rpc.close()


class Telling(Seen):
    """Says when something was decided early."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    def effect(self, effect: Effect) -> None:
        super().effect(effect)
        if self.early() and isinstance(effect, Record) and effect.event == "tx.broadcast":
            self.told.set()


async def test_an_update_between_two_heads_is_acted_on_at_once_and_recorded(scene: Scene) -> None:
    """No head comes: the subscription alone brings the flag, in the block of the update; and a replay does the same."""
    w, call, seen = scene.world, drop(scene), Telling()
    config = scene.config.parent / "recording"
    settings = scene.settings("chains.local.mempool=true", f'record.folder="{config}"')
    turns = list[BlockRef]()

    async def step(ref: BlockRef) -> bool:
        turns.append(ref)
        if len(turns) == 1:
            w.publisher.send(w.node, call)
        return len(turns) == 1

    async def mined() -> None:
        async with asyncio.timeout(20):
            await seen.told.wait()
        w.node.mine(w.now + w.block_time)
        w.follow()

    with DecisionLog(config / DECISIONS, {}) as log:
        async with bootstrap.keeper(settings, bootstrap.Live(), [seen, Logged(log)], step) as keeper:
            async with asyncio.timeout(30):
                await asyncio.gather(keeper.daemon.run(), mined())
    early = seen.early()
    assert early and {r.block for r in early} == {turns[0].number}
    auctions = [w.state.auction(int(str(r.fields["account"]), 16)) for r in early]
    assert all(a and a.flagged_at == turns[1].timestamp for a in auctions)
    replayed = Seen()
    recording = Recording(config)
    assert [len(block.between) for block in recording.blocks] == [1]
    with DecisionLog(config / "again.jsonl", {}) as log:
        mode = bootstrap.Backtest(recording)
        async with bootstrap.keeper(load(recording.configs, (), {}), mode, [replayed, Logged(log)]) as keeper:
            await keeper.daemon.run()
            assert keeper.replay and (keeper.replay.equal, keeper.replay.differs) == (1, None)
    ours, theirs = ((config / name).read_text().splitlines()[1:] for name in (DECISIONS, "again.jsonl"))
    assert ours == theirs
    assert [r.fields for r in replayed.early()] == [r.fields for r in early]


async def test_whom_the_rule_condemns_is_dealt_with_before_the_book_is_looked_at(scene: Scene) -> None:
    """The pool has fallen and the oracle has not: its next price is due. When it comes, its victims come first."""
    w, seen, call = scene.world, Seen(), drop(scene)
    feed = w.state.feed(0)
    assert feed is not None
    fallen = scene.driver._pool_price(0) * (1 - 2 * (1 - 0.93 * feed.spot / 10**8 / scene.driver._pool_price(0)))
    swap = scene.driver._arbitrage(0, fallen)
    assert swap is not None
    w.arbitrageur.send(w.node, swap)
    w.node.mine(w.now + w.block_time)
    w.follow()
    turns, signed = list[BlockRef](), list[str]()

    async def step(ref: BlockRef) -> bool:
        turns.append(ref)
        if len(turns) == 1:
            assert foretold(seen) == []
            signed.extend(held(scene))
            w.publisher.send(w.node, w.spot_call(0, args_of(call), w.now + w.block_time))
        w.node.mine(w.now + w.block_time)
        w.follow()
        return len(turns) < 2

    async with bootstrap.keeper(scene.settings("record.enabled=false"), bootstrap.Live(), [seen], step) as keeper:
        async with asyncio.timeout(60):
            await keeper.daemon.run(2)
    told = [r for r in seen.records() if r.event == "account.expected" and r.block == turns[0].number]
    named = {int(account, 16) for r in told for account in str(r.fields["accounts"]).split()}
    first = foretold(seen)
    assert named and first and {r.block for r in first} == {turns[1].number}
    flagged = {int(str(r.fields["account"]), 16) for r in first}
    assert flagged <= named
    order = [r.event for r in seen.records() if r.block == turns[1].number]
    assert order.index(first[0].event) < order.index("account.unhealthy")
    assert all((auction := w.state.auction(account)) and auction.flagged_at for account in flagged)
    assert len([r for r in seen.records() if r.event == "tx.broadcast"]) == len(set(sent(seen)))
    receipts = [w.node.rpc("eth_getTransactionReceipt", hash) for hash in signed[: len(first)]]
    assert receipts and all(int(receipt["status"], 16) == 1 for receipt in receipts)  # the bytes of before it came


def held(scene: Scene) -> list[str]:
    """What the journal holds signed ahead: transaction hashes."""
    [file] = scene.settings().keeper.state.glob("*.live.db")
    with closing(sqlite3.connect(file.as_uri() + "?mode=ro", uri=True)) as db:
        return ["0x" + hash.hex() for (hash,) in db.execute("SELECT hash FROM ahead ORDER BY nonce")]


def foretold(seen: Seen) -> list[Record]:
    return [r for r in seen.records() if r.fields.get("foretold")]


def sent(seen: Seen) -> list[bytes]:
    """Subjects: nothing is done twice, though the whole book is looked at afterwards."""
    return [e.intent.subject.encode() for e in seen.effects if isinstance(e, Send)]


def args_of(call: Call) -> int:
    decoded = CONTRACTS["Oracle"].decode(call.data)
    assert decoded is not None
    return int(decoded[1]["spot"])


def test_what_is_not_mined_is_not_waited_for() -> None:
    seen, call = Foreseen(), Pending(bytes(20), b"abcd")
    assert [r.event for r in seen.add(call, 10)] == ["oracle.pending"]
    assert list(seen.add(call, 11)) == []
    seen.forget(10 + PATIENCE)
    assert list(seen.add(call, 20)) == []
    seen.forget(20 + PATIENCE)
    assert len(list(seen.add(call, 30))) == 1
    for n in range(2 * MOST):
        list(seen.add(Pending(bytes(20), bytes([n])), 30))
    assert len(seen._calls) == MOST

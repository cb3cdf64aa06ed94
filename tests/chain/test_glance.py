"""A run in which what was signed ahead left at a glance is replayed without any, to the same decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from keeper import bootstrap
from keeper.chain.recording import DECISIONS, Recording
from keeper.model import BlockRef, TxIntent
from keeper.observe.decisions import DecisionLog
from keeper.observe.watch import Logged
from keeper.settings import load
from keeper.tx.manager import Manager
from tests.chain.test_pending import Seen, args_of, drop, foretold
from tests.worlds.market import crash

pytestmark = pytest.mark.chain


async def test_what_left_at_a_glance_is_replayed_to_the_same_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry, left = Manager.hurry, list[tuple[int, TxIntent]]()

    async def hurrying(manager: Manager, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        found = await hurry(manager, intents, head)
        left.extend((head.number, intent) for intent in found)
        return found

    monkeypatch.setattr(Manager, "hurry", hurrying)
    with crash(tmp_path, 25, accounts=60) as scene:
        w, seen, call = scene.world, Seen(), drop(scene)
        feed = w.state.feed(0)
        assert feed is not None
        fallen = scene.driver._pool_price(0) * (1 - 2 * (1 - 0.93 * feed.spot / 10**8 / scene.driver._pool_price(0)))
        swap = scene.driver._arbitrage(0, fallen)
        assert swap is not None
        w.arbitrageur.send(w.node, swap)
        w.node.mine(w.now + w.block_time)
        w.follow()
        config = scene.config.parent / "recording"
        turns = list[BlockRef]()

        async def step(ref: BlockRef) -> bool:
            turns.append(ref)
            if len(turns) == 2:  # logs are subscribed to after the first
                w.publisher.send(w.node, w.spot_call(0, args_of(call), w.now + w.block_time))
            w.node.mine(w.now + w.block_time)
            w.follow()
            return len(turns) < 4

        with DecisionLog(config / DECISIONS, {}) as log:
            settings = scene.settings(f'record.folder="{config}"')
            async with bootstrap.keeper(settings, bootstrap.Live(), [seen, Logged(log)], step) as keeper:
                async with asyncio.timeout(60):
                    await keeper.daemon.run(4)
        assert left and {block for block, _ in left} == {turns[2].number}
        count = len(left)
        recording, replayed = Recording(config), Seen()
        with DecisionLog(config / "again.jsonl", {}) as log:
            mode = bootstrap.Backtest(recording)
            async with bootstrap.keeper(load(recording.configs, (), {}), mode, [replayed, Logged(log)]) as keeper:
                await keeper.daemon.run()
                assert keeper.replay and keeper.replay.differs is None
        assert len(left) == count
        ours, theirs = ((config / name).read_text().splitlines()[1:] for name in (DECISIONS, "again.jsonl"))
        assert ours == theirs and len(foretold(replayed)) == len(foretold(seen)) > 0

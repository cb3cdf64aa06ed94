"""kill -9 of a live keeper in a market that moves on: nothing is done twice, and nothing is forgotten."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from keeper import bootstrap
from keeper.model import BlockRef
from tests.faults.wishes import assert_once, wishes
from tests.worlds.market import CONTENT, Scene, clean, crash, known, unequal
from tests.worlds.process import Process

pytestmark = pytest.mark.chain

PLAIN = ("chains.local.confirmations=2", "record.enabled=false")
MOMENTS = ("tx.signed", "tx.answer", "tx.sent", "tx.included", "tx.confirmed", "keeper.recovering", "")  # "": any
DONE = ("turn.done", "keeper.recovering", "turn.skipped")


def run(scene: Scene) -> Process:
    return Process("run", "-c", scene.config, "--live", *(f"--set={one}" for one in PLAIN))


async def paced(scene: Scene, keeper: Process, blocks: int) -> None:
    """The market moves when the keeper has dealt with the last block."""
    for _ in range(blocks):
        await keeper.heard(*DONE, block=scene.step().number)


async def killed(scene: Scene, keeper: Process, moment: str, chance: random.Random) -> None:
    """In the middle of a turn: when it says ``moment``, or anything at all."""
    await keeper.heard("run.started")
    await paced(scene, keeper, chance.randrange(1, 4))
    for _ in range(30):
        scene.step()
        wanted = [moment] if moment else ["tx.answer", "tx.sent", "decision.bid", "tx.included"]
        if (await keeper.heard(*wanted, *DONE))["event"] in wanted:
            break
    keeper.send(SIGKILL)
    assert await keeper.ended() == -SIGKILL
    scene.step(chance.randrange(4))  # nobody looks


@asynccontextmanager
async def settled(scene: Scene) -> AsyncIterator[bootstrap.Keeper]:
    """A last keeper, on the same journal, that wants nothing more itself, eight blocks later."""
    goal = scene.node.head().number + 8

    async def step(ref: BlockRef) -> bool:
        if ref.number < goal:
            scene.step()
        return ref.number < goal

    async with bootstrap.keeper(scene.settings(*PLAIN, *CONTENT), bootstrap.Live(), (), step) as keeper:
        await keeper.daemon.run()
        yield keeper


@pytest.mark.fault("C09", "C39")
@pytest.mark.parametrize("seed", [4, 5])
async def test_a_keeper_that_is_killed_again_and_again_does_everything_once(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with crash(tmp_path, 48, seed=seed) as scene:
        for moment in chance.sample(MOMENTS, 4):
            async with run(scene) as keeper:
                await killed(scene, keeper, moment, chance)
        async with run(scene) as keeper:
            await keeper.heard("run.started")
            await paced(scene, keeper, 12)
            keeper.send(SIGTERM)
            assert await keeper.ended() == 0
        async with settled(scene) as last:
            assert known(last.kernel) == await clean(scene.settings(*PLAIN))
            assert await unequal(last, scene.world) == []
        done = wishes(scene, tmp_path / "state" / "local.live.db")
    assert len(done) > 9
    assert_once(done)

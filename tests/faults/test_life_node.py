"""The node is not there, goes away, or freezes: the keeper says so, tries again, and never ends with 0 for it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 1, accounts=4) as scene:
        yield scene


def run(scene: Scene, *flags: str) -> Process:
    sets = ("record.enabled=false", "chains.local.retry_for=1s")
    return Process("run", "-c", scene.config, *(f"--set={one}" for one in sets), *flags)


@pytest.mark.fault("R02")
@pytest.mark.parametrize("flags", [("--live",), ("--set=keeper.mode=dry",)])
async def test_a_node_that_goes_away_is_missed_and_then_ends_the_keeper_with_5(
    flags: tuple[str, ...], scene: Scene
) -> None:
    async with run(scene, *flags) as keeper:
        await keeper.heard("turn.done")
        scene.node.stop()
        await keeper.heard("rpc.lost")
        assert await keeper.ended() == 5
    assert "error KE405: ipc: no progress for" in keeper.said


@pytest.mark.fault("R01")
async def test_a_node_that_does_not_come_in_time_ends_it_with_5(scene: Scene) -> None:
    scene.node.stop()
    began = time.monotonic()
    async with run(scene, "--live") as keeper:
        await keeper.heard("rpc.awaited")
        slept = (await keeper.to_the_end()).slept
        assert await keeper.ended() == 5
    assert time.monotonic() - began > 1 and slept < 3  # it gives up after a second, and not before
    assert not (scene.config.parent / "state" / "local.live.db").exists()
    assert "error KE405: the node does not answer" in keeper.said
    assert "help: is it running" in keeper.said


@pytest.mark.fault("R05", "R06", "S03")
async def test_a_node_that_froze_is_taken_up_again(scene: Scene) -> None:
    async with run(scene, "--live") as keeper:
        await keeper.heard("turn.done")
        os.kill(scene.node.pid, signal.SIGSTOP)
        await asyncio.sleep(1.2)  # longer than it would try a node that is gone
        os.kill(scene.node.pid, signal.SIGCONT)
        await keeper.heard("turn.done", block=scene.step().number)
        keeper.send(signal.SIGTERM)
        assert await keeper.ended() == 0


@pytest.mark.fault("R14")
async def test_another_chain_at_the_same_place_ends_it_with_5(scene: Scene) -> None:
    async with run(scene, "--live") as keeper:
        await keeper.heard("turn.done")
        scene.node.rpc("anvil_setChainId", 5)
        scene.node.rpc("anvil_reorg", 1, [])
        assert await keeper.ended() == 5
    assert "error KE406: " in keeper.said

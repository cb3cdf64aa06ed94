"""The first SIGINT or SIGTERM ends a keeper gracefully, with 0 and soon, whatever it does; the second one forces."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from signal import SIGCONT, SIGINT, SIGSTOP, SIGTERM, Signals

import pytest

from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain

SOON = 2.0  # seconds of its own: it neither works on nor sleeps for longer
BOTH = pytest.mark.parametrize("number", [SIGINT, SIGTERM])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("world"), 60) as scene:
        yield scene


def run(scene: Scene, *sets: str) -> Process:
    sets = ("keeper.mode=dry", "record.enabled=false", *sets)
    return Process("run", "-c", scene.config, *(f"--set={one}" for one in sets))


def slow(slices: int) -> tuple[str, ...]:
    return ("strategies.dutch.use=tests.worlds.slow:Slow", f"strategies.dutch.options.slices={slices}")


@asynccontextmanager
async def frozen(scene: Scene) -> AsyncIterator[None]:
    os.kill(scene.node.pid, SIGSTOP)
    try:
        yield
    finally:
        os.kill(scene.node.pid, SIGCONT)


async def ends_soon(keeper: Process, number: Signals) -> bool:
    keeper.send(number)
    spent = await keeper.to_the_end()
    return await keeper.ended() == 0 and max(spent) < SOON


@pytest.mark.fault("C34")
@BOTH
async def test_between_two_blocks(number: Signals, scene: Scene) -> None:
    async with run(scene) as keeper:
        await keeper.heard("turn.done")
        assert await ends_soon(keeper, number)
    assert keeper.has("run.ended")


@pytest.mark.fault("C34", "R06")
@BOTH
async def test_while_it_catches_up_with_a_node_that_does_not_answer(number: Signals, scene: Scene) -> None:
    async with run(scene) as keeper:
        await keeper.heard("run.started")
        async with frozen(scene):
            assert await ends_soon(keeper, number)
    assert keeper.has("run.ended")


async def test_while_it_waits_for_the_node_at_the_start(scene: Scene) -> None:
    async with frozen(scene), run(scene) as keeper:
        await keeper.heard("run.starting")
        assert await ends_soon(keeper, SIGTERM)


@pytest.mark.fault("C35")
async def test_while_a_turn_is_in_progress(scene: Scene) -> None:
    async with run(scene, *slow(2)) as keeper:
        await keeper.heard("strategy.thinks")
        assert await ends_soon(keeper, SIGTERM)
    assert keeper.has("run.ended") or keeper.has("run.cut_off")  # the turn may take longer than it has


@pytest.mark.fault("C37")
async def test_a_second_one_forces(scene: Scene) -> None:
    async with run(scene, *slow(10_000)) as keeper:
        await keeper.heard("strategy.thinks")
        keeper.send(SIGINT)
        for _ in range(3):  # so the first one has been seen
            await keeper.heard("strategy.thinks")
        keeper.send(SIGINT)
        assert await keeper.ended() == 130

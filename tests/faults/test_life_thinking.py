"""Asked to end while the loop thinks and hears nothing: a keeper is cut off, which is no worse than a kill."""

from __future__ import annotations

from signal import SIGINT, SIGTERM, Signals

import pytest

from tests.faults.test_life_signals import run, slow
from tests.worlds.market import crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain
FOR_EVER = 100_000  # slices of 20 ms: longer than the test waits


@pytest.mark.fault("C38", "G05")
async def test_while_it_thinks_and_hears_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    with crash(tmp_path_factory.mktemp("world"), 60) as scene:
        for number in (SIGTERM, SIGINT):
            await cut_off(run(scene, *slow(FOR_EVER)), number)


async def cut_off(keeper: Process, number: Signals) -> None:
    async with keeper:
        await keeper.heard("strategy.thinks")
        keeper.send(number)
        assert await keeper.ended() == 0
    assert keeper.has("run.cut_off")

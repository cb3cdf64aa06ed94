"""Asked to stop with transactions in flight: the keeper does not wait for them, and the next start takes them up."""

from __future__ import annotations

from pathlib import Path
from signal import SIGTERM

import pytest

from keeper.tx.reading import reader
from tests.faults.test_life_killed import DONE, paced, run, settled
from tests.faults.wishes import assert_once, wishes
from tests.worlds.market import Scene, crash, unequal
from tests.worlds.process import Process

pytestmark = pytest.mark.chain

SOON = 6.0  # seconds of its own


async def sent(scene: Scene, keeper: Process) -> None:
    """The market moves until the keeper has sent something; then it stands still."""
    await keeper.heard("run.started")
    for _ in range(30):
        scene.step()
        if (await keeper.heard("tx.sent", *DONE))["event"] == "tx.sent":
            return
    raise AssertionError("nothing was sent")


@pytest.mark.fault("C36")
async def test_what_is_in_flight_is_left_to_the_next_start(tmp_path: Path) -> None:
    journal = tmp_path / "state" / "local.live.db"
    with crash(tmp_path, 48, seed=6) as scene:
        async with run(scene) as keeper:
            await sent(scene, keeper)
            keeper.send(SIGTERM)
            assert max(await keeper.to_the_end()) < SOON
            assert await keeper.ended() == 0
        with reader(journal) as left:
            assert left.ls(everything=False)
        scene.step(2)  # nobody looks
        async with run(scene) as keeper:
            await keeper.heard("run.started")
            await paced(scene, keeper, 12)
            keeper.send(SIGTERM)
            assert await keeper.ended() == 0
        async with settled(scene) as last:
            assert await unequal(last, scene.world) == []
        assert_once(wishes(scene, journal))

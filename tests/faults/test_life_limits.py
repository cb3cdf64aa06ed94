"""At the limits of the machine: no file descriptors, a log that nobody reads, a signal with money in flight."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.faults.test_rpc_daemon import settle
from tests.faults.wishes import assert_once, wishes
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 50) as scene:
        yield scene


def command(scene: Scene, *sets: str) -> list[str]:
    plain = ("record.enabled=false", "chains.local.confirmations=2", *sets)
    return ["run", "-c", str(scene.config), "--live", *(f"--set={one}" for one in plain)]


@pytest.mark.fault("C36")
async def test_a_signal_with_transactions_in_flight_ends_it_soon_and_the_next_one_resumes(
    scene: Scene, tmp_path: Path
) -> None:
    async with Process(*command(scene)) as keeper:
        await keeper.heard("turn.done")
        for _ in range(12):
            if keeper.has("tx.sent"):
                break
            await keeper.heard("turn.done", block=scene.step().number)
        assert keeper.has("tx.sent")
        keeper.send(SIGTERM)  # nothing is mined meanwhile
        async with asyncio.timeout(20):
            assert await keeper.ended() == 0
    await settle(scene)
    done = wishes(scene, tmp_path / "state" / "local.live.db")
    assert done
    assert_once(done)


@pytest.mark.fault("C43")
async def test_without_a_free_descriptor_it_goes_on_with_those_it_has(scene: Scene, tmp_path: Path) -> None:
    async with Process(*command(scene)) as keeper:
        await keeper.heard("turn.done")
        used = len(list(Path(f"/proc/{keeper.pid}/fd").iterdir()))  # noqa: ASYNC240
        resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (used, used))
        for _ in range(5):
            await keeper.heard("turn.done", "turn.skipped", block=scene.step().number)
        assert keeper.has("tx.signed")
        keeper.send(SIGTERM)
        assert await keeper.ended() == 0
    await settle(scene)
    assert_once(wishes(scene, tmp_path / "state" / "local.live.db"))


@pytest.mark.fault("C44", "G03")
async def test_a_log_that_nobody_reads_does_not_stop_it(scene: Scene) -> None:
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
    os.write(into, bytes(3500))  # a few lines more, and it is full
    arguments = [*command(scene, "keeper.mode=dry"), "-vv", "--log-format", "json"]
    arguments.remove("--live")
    keeper = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "keeper", *arguments, stderr=into, stdout=asyncio.subprocess.DEVNULL
    )
    os.close(into)
    try:
        await seen(scene, scene.config.parent / "state")
        keeper.send_signal(SIGTERM)
        async with asyncio.timeout(30):
            assert await keeper.wait() == 0
    finally:
        if keeper.returncode is None:
            keeper.kill()
            await keeper.wait()
        os.close(out)


async def seen(scene: Scene, folder: Path) -> None:
    """Until its decision log knows of a block made after the pipe was full."""
    async with asyncio.timeout(60):
        while True:
            block = scene.step().number
            await asyncio.sleep(0.2)
            known = decided(folder)
            if len(known) > 30 and max(known) >= block - 1:
                return


def decided(folder: Path) -> list[int]:
    """The blocks of all lines of the decision log."""
    lines = [line for file in folder.glob("decisions-dry-*.jsonl") for line in file.read_text().splitlines()[1:]]
    return [json.loads(line).get("block", 0) for line in lines if line.endswith("}")]

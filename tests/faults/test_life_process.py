"""The daemon as systemd, a load balancer and a hostile supervisor see it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any

import pytest

from keeper.testing.proxy import Proxy
from tests.worlds.market import Scene, crash
from tests.worlds.process import PATIENCE, Process

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("world"), 1, accounts=4) as scene:
        yield scene


def run(scene: Scene, *sets: str) -> Process:
    plain = ("record.enabled=false", "keeper.mode=dry", "http.listen=127.0.0.1:0", *sets)
    return Process("run", "-c", scene.config, *(f"--set={one}" for one in plain))


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        yield listener


async def told(listener: socket.socket, wanted: str) -> list[str]:
    """Everything up to the line that is waited for."""
    lines = list[str]()
    while wanted not in lines:
        lines += (await asyncio.to_thread(listener.recv, 4096)).decode().split("\n")
    return lines


@asynccontextmanager
async def answering(scene: Scene, *sets: str) -> AsyncIterator[tuple[Process, int]]:
    async with run(scene, *sets) as keeper:
        yield keeper, int((await keeper.heard("http.listening"))["port"])


async def get(port: int, path: str) -> tuple[int, Any]:
    def ask() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


@pytest.mark.fault("C34", "C41")
async def test_systemd_hears_when_it_is_ready_how_it_goes_and_when_it_stops(
    scene: Scene, supervisor: socket.socket
) -> None:
    async with run(scene) as keeper:
        before = await told(supervisor, "READY=1")
        assert not any(line.endswith("; ready") for line in before)
        await told(supervisor, "WATCHDOG=1")
        os.kill(keeper.pid, SIGSTOP)  # frozen: nobody feeds the watchdog
        supervisor.settimeout(1.5)
        with pytest.raises(TimeoutError):
            while True:
                supervisor.recv(4096)
        os.kill(keeper.pid, SIGCONT)
        supervisor.settimeout(PATIENCE)
        await told(supervisor, "WATCHDOG=1")
        keeper.send(SIGTERM)
        await told(supervisor, "STOPPING=1")
        assert await keeper.ended() == 0


@pytest.mark.fault("R01", "H05", "S23")
async def test_it_is_ready_when_it_has_dealt_with_a_block_and_not_when_the_head_grows_old(
    scene: Scene, tmp_path: Path
) -> None:
    async with Proxy(scene.node.ipc, tmp_path) as proxy:
        await proxy.leave()
        sets = (f"chains.local.rpc={proxy.http}", "chains.local.block_time=1s", "chains.local.max_head_age=8s")
        async with run(scene, *sets, "chains.local.retry_for=60s") as keeper:
            await keeper.heard("rpc.awaited")
            await proxy.return_()
            port = int((await keeper.heard("http.listening"))["port"])
            await keeper.heard("turn.done")
            assert await get(port, "/readyz") == (200, '{"ok": true, "reasons": []}')
            await keeper.heard("head.stale")
            status, body = await get(port, "/readyz")
            assert (status, json.loads(body)["reasons"]) == (503, ["head_stale"])
            assert (await get(port, "/livez"))[0] == 200
            await keeper_sees(scene, keeper)
            assert (await get(port, "/readyz"))[0] == 200
            keeper.send(SIGTERM)
            assert await keeper.ended() == 0


async def keeper_sees(scene: Scene, keeper: Process) -> None:
    await keeper.heard("turn.done", block=scene.step().number)


@pytest.mark.fault("H03", "L02")
async def test_nothing_that_it_answers_shows_where_its_nodes_are(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    async with Proxy(scene.node.ipc, tmp_path) as one, Proxy(scene.node.ipc, tmp_path / "two") as two:
        urls = json.dumps([f"{one.http}/canaryONE", f"{two.http}/canaryTWO"])
        async with answering(scene, f"chains.local.rpc={urls}") as (keeper, port):
            await keeper.heard("turn.done")
            for path in ("/livez", "/readyz", "/metrics", "/canary", "/../etc/passwd"):
                assert "canary" not in (await get(port, path))[1]
            assert 'keeper_rpc_endpoint_state{endpoint="2",state="alive"} 1' in (await get(port, "/metrics"))[1]
            keeper.send(SIGTERM)
            assert await keeper.ended() == 0
        assert "canary" not in keeper.said + json.dumps(keeper.events)


async def test_a_port_that_is_taken_ends_it_with_3(scene: Scene) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with run(scene, f"http.listen=127.0.0.1:{taken.getsockname()[1]}") as keeper:
            assert await keeper.ended() == 3
    assert "help: set http.listen to a free port" in keeper.said


def cpu(pid: int) -> float:
    """Seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.fault("G04", "G03")
@pytest.mark.parametrize("door", ["ipc", "http"])
async def test_idle_it_uses_less_than_two_percent_of_a_core_and_says_nothing(
    door: str, scene: Scene, tmp_path: Path
) -> None:
    async with (
        Proxy(scene.node.ipc, tmp_path) as proxy,
        run(scene, f"chains.local.rpc={getattr(proxy, door)}") as keeper,
    ):
        await keeper.heard("turn.done")
        lines, before = len(keeper.events), cpu(keeper.pid)
        await asyncio.sleep(5)  # of doing nothing, which is what is measured
        assert (cpu(keeper.pid) - before) / 5 < 0.02
        assert len(keeper.events) == lines
        keeper.send(SIGTERM)
        assert await keeper.ended() == 0

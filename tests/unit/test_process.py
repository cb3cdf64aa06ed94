"""Alive, ready, and who is told: vitals, systemd and HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from keeper.errors import Misconfigured
from keeper.model import Turn
from keeper.process import http
from keeper.process.care import Care
from keeper.process.notify import Systemd, status
from keeper.process.vitals import LAGGING, STUCK, Vitals
from keeper.settings.secrets import listening
from keeper.testing.chain import ScriptedChain
from keeper.testing.clock import VirtualClock

AGE = 60.0


def turn(number: int = 1) -> Turn:
    chain = ScriptedChain()
    return Turn(chain.mine(number), 0.1, None)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start=1000.0)


@pytest.fixture
def vitals(clock: VirtualClock) -> Vitals:
    made = Vitals(clock, AGE)
    made.turn(turn())
    return made


# ─── alive and ready ──────────────────────────────────────────────────────────────────────────────


async def beating(vitals: Vitals, clock: VirtualClock, seconds: float) -> None:
    """Time passes, and the shell looks at the clock."""
    await clock.advance(seconds)
    vitals.pulse.monotonic()


def test_before_the_first_block_it_is_alive_and_not_ready(clock: VirtualClock) -> None:
    vitals = Vitals(clock, AGE)
    assert (vitals.alive, vitals.unready()) == (True, ("starting",))


def test_after_the_first_block_it_is_ready(vitals: Vitals) -> None:
    assert (vitals.alive, vitals.unready()) == (True, ())


@pytest.mark.fault("S23", "H05")
async def test_a_chain_that_stands_still_makes_it_unready_and_not_dead(vitals: Vitals, clock: VirtualClock) -> None:
    await beating(vitals, clock, AGE + 1)
    assert (vitals.alive, vitals.unready()) == (True, ("head_stale",))
    vitals.turn(turn(2))
    assert vitals.unready() == ()


@pytest.mark.fault("C41", "H05")
async def test_a_shell_that_beats_no_more_is_dead(vitals: Vitals, clock: VirtualClock) -> None:
    await clock.advance(STUCK + 1)
    assert not vitals.alive
    assert "stuck" in vitals.unready()


@pytest.mark.fault("G05")
async def test_a_loop_that_stood_still_is_noticed(vitals: Vitals) -> None:
    feeling = asyncio.create_task(vitals.feel())
    await asyncio.sleep(0)
    time.sleep(0.7)  # noqa: ASYNC251  as a careless strategy might
    while vitals.lag == 0:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert vitals.lag > 0.1
    vitals.lag = LAGGING
    assert not vitals.alive
    feeling.cancel()


@pytest.mark.fault("H05")
def test_each_hindrance_has_its_code(vitals: Vitals) -> None:
    codes = ["", ""]
    vitals.hindrances += [lambda: codes[0], lambda: codes[1]]
    assert vitals.unready() == ()
    codes[:] = ["not_leader", "halted"]
    assert vitals.unready() == ("not_leader", "halted")
    vitals.stopping = True
    assert vitals.unready() == ("stopping", "not_leader", "halted")


@pytest.mark.fault("S25", "G08")
def test_a_chain_whose_clock_is_not_ours_is_told_once_and_when_it_is_over() -> None:
    ref = turn().ref
    clock = VirtualClock(start=ref.timestamp + 31.0)
    vitals = Vitals(clock, AGE, earthly=True)
    with capture_logs() as lines:
        for ahead in (0, -1, 5, 5, 90, 90):  # of the first block
            vitals.turn(Turn(replace(ref, timestamp=ref.timestamp + ahead), 0.1, None))
    assert [line["chain_ahead_s"] for line in lines] == [-31, -26, 59]


# ─── systemd ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def told(listener: socket.socket) -> list[str]:
    lines = list[str]()
    while True:
        try:
            lines += listener.recv(4096).decode().split("\n")
        except BlockingIOError:
            return lines


def environ(listener: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listener.getsockname(), **more}


def test_ready_and_stopping_are_told_once(
    supervisor: socket.socket, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.getsockname())
    care = Care(clock, AGE)
    assert told(supervisor) == []
    care.vitals.turn(turn(1))
    care.vitals.turn(turn(2))
    care.stopping()
    assert told(supervisor) == ["READY=1", "STOPPING=1"]
    assert care.vitals.unready() == ("stopping",)


@pytest.mark.fault("C41")
async def test_the_watchdog_is_fed_while_everything_beats_and_not_after(
    supervisor: socket.socket, vitals: Vitals, clock: VirtualClock
) -> None:
    systemd = Systemd(environ(supervisor, WATCHDOG_USEC="10000000"))
    watching = asyncio.create_task(systemd.watch(vitals, clock))
    await beating(vitals, clock, 5)
    assert told(supervisor).count("WATCHDOG=1") == 2  # twice per period
    await clock.advance(STUCK)
    told(supervisor)
    await clock.advance(5)
    assert told(supervisor) == [f"STATUS={status(vitals)}"]
    watching.cancel()


def test_the_watchdog_of_another_process_is_not_ours(supervisor: socket.socket) -> None:
    assert Systemd(environ(supervisor, WATCHDOG_USEC="1000000", WATCHDOG_PID="1")).every == 0
    assert Systemd(environ(supervisor, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid()))).every == 0.5


def test_an_abstract_socket_is_reached() -> None:
    name = f"keeper-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1")
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("where", ["", "/nowhere/notify"])
def test_a_supervisor_that_is_not_there_is_no_trouble(where: str) -> None:
    Systemd({"NOTIFY_SOCKET": where}).tell("READY=1")


def test_one_that_does_not_listen_holds_nothing_up(supervisor: socket.socket) -> None:
    systemd = Systemd(environ(supervisor))
    for _ in range(2_000):
        systemd.tell("STATUS=" + "x" * 500)


# ─── HTTP ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def port(vitals: Vitals) -> AsyncIterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    serving = asyncio.create_task(http.serve(vitals, lambda: [("keeper_rpc_endpoints", "", 2.0)], "127.0.0.1", number))
    async with asyncio.timeout(10):
        while not await answers(number):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    yield number
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.fault("H02", "H05")
async def test_health_is_told_with_the_reasons(port: int, vitals: Vitals, clock: VirtualClock) -> None:
    assert await get(port, "/readyz") == (200, '{"ok": true, "reasons": []}')
    await beating(vitals, clock, AGE + 1)
    assert await get(port, "/readyz") == (503, '{"ok": false, "reasons": ["head_stale"]}')
    assert (await get(port, "/livez"))[0] == 200
    await clock.advance(STUCK + 1)
    assert (await get(port, "/livez"))[0] == 503


async def test_metrics_have_names_and_numbers(port: int, vitals: Vitals) -> None:
    status, text = await get(port, "/metrics")
    found = dict(line.rsplit(" ", 1) for line in text.splitlines())
    assert (status, found["keeper_processed_block"], found["keeper_rpc_endpoints"]) == (200, "1", "2")
    assert {"keeper_ready", "keeper_head_age_seconds", "keeper_event_loop_lag_seconds", "keeper_turns_total"} <= set(
        found
    )


@pytest.mark.fault("H02")
@pytest.mark.parametrize(
    ("path", "method", "headers", "code"),
    [
        ("/readyz", "POST", {}, 405),
        ("/readyz", "DELETE", {}, 405),
        ("/readyz", "GET", {"Host": "evil.example"}, 403),
        ("/readyz", "GET", {"Host": "127.0.0.1.evil.example:80"}, 403),
        ("/readyz", "GET", {"Host": "localhost:1"}, 200),
        ("/config", "GET", {}, 404),
    ],
)
async def test_nothing_but_looking_is_allowed_and_only_from_here(
    port: int, path: str, method: str, headers: dict[str, str], code: int
) -> None:
    assert (await get(port, path, method, **headers))[0] == code


@pytest.mark.fault("H04", "G07")
async def test_of_too_many_slow_readers_the_most_are_cut_and_others_are_served(port: int) -> None:
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * http.CONNECTIONS)]
    for _, writer in slow:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")  # and no more
    ends = [asyncio.ensure_future(reader.read()) for reader, _ in slow]
    done, waiting = await asyncio.wait(ends, timeout=http.SECONDS - 1)
    assert len(done) >= http.CONNECTIONS
    assert (await get(port, "/livez"))[0] == 200
    for _, writer in slow:
        writer.close()
    for end in waiting:
        end.cancel()


@pytest.mark.fault("H01")
@pytest.mark.parametrize(
    "listen", ["0.0.0.0:80", "192.168.0.1:80", "example.com:80", "127.0.0.1", "127.0.0.1:99999", ":80"]
)
def test_only_this_machine_is_listened_to(listen: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        listening(listen)


@pytest.mark.parametrize(
    ("listen", "found"), [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:2", ("::1", 2)), ("localhost:3", ("localhost", 3))]
)
def test_loopback_has_several_names(listen: str, found: tuple[str, int]) -> None:
    assert listening(listen) == found


async def test_a_port_that_is_taken_is_said(port: int, vitals: Vitals) -> None:
    with pytest.raises(Misconfigured, match="cannot listen"):
        await http.serve(vitals, tuple, "127.0.0.1", port)

"""Deadlines, broken connections, reconnecting, and subscriptions."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keeper.chain.rpc import AT_ONCE, Rpc, RpcError, connect
from keeper.chain.wires import WebSocket
from keeper.errors import NodeUnavailable
from tests.unit.rpc_server import ALL, STREAMS, Server, echo, error, notice, result


@pytest.fixture
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    served = await Server(request.param, tmp_path).start()
    yield served
    await served.stop()


@pytest.fixture
async def rpc(server: Server) -> AsyncIterator[Rpc]:
    client = connect(server.url)
    async with asyncio.timeout(20):
        yield client
    await client.close()


everywhere = pytest.mark.parametrize("server", ALL, indirect=True)
on_streams = pytest.mark.parametrize("server", STREAMS, indirect=True)
on_ws = pytest.mark.parametrize("server", ["ws"], indirect=True)


# ── time, and the end of connections ──


@pytest.mark.fault("R05", "R06")
@everywhere
async def test_silence_ends_at_the_deadline_of_the_call(server: Server, rpc: Rpc) -> None:
    server.reply = lambda _: ()
    with pytest.raises(NodeUnavailable, match=r"no answer to slow within 0\.05 s"):
        await rpc.call("slow", timeout=0.05)
    assert rpc._pending == {}


@pytest.mark.fault("R05")
@on_streams
async def test_an_answer_after_the_deadline_is_dropped(server: Server, rpc: Rpc) -> None:
    server.reply = lambda _: ()
    with pytest.raises(NodeUnavailable):
        await rpc.call("slow", timeout=0.05)
    server.reply = lambda request: [echo(server.requests[0]), echo(request)]
    assert await rpc.call("m", "mine") == "mine"
    assert (rpc.dropped, server.connections) == (1, 1)


@pytest.mark.fault("R06")
@everywhere
async def test_a_cancelled_call_leaves_nothing_behind(server: Server, rpc: Rpc) -> None:
    server.reply = lambda _: ()
    waiting = asyncio.create_task(rpc.call("m"))
    await until(lambda: bool(server.requests))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert rpc._pending == {}


@pytest.mark.fault("R03", "R04", "S01")
@on_streams
async def test_a_broken_connection_fails_what_waits_and_nothing_is_sent_again(server: Server, rpc: Rpc) -> None:
    server.reply = lambda _: ()
    waiting = [asyncio.create_task(rpc.call("eth_sendRawTransaction", n)) for n in range(3)]
    await until(lambda: len(server.requests) == 3)
    await server.cut()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [NodeUnavailable] * 3
    server.reply = echo
    assert await rpc.call("m", 1) == 1
    assert (len(server.requests), server.connections) == (4, 2)


@everywhere
async def test_nobody_at_home_is_a_node_that_is_not_there(server: Server, rpc: Rpc) -> None:
    await server.stop()
    with pytest.raises(NodeUnavailable):
        await rpc.call("m")


@everywhere
async def test_after_closing_no_call_is_made(server: Server, rpc: Rpc) -> None:
    await rpc.call("m", 1)
    await rpc.close()
    with pytest.raises(NodeUnavailable, match="closed"):
        await rpc.call("m", 2)
    assert len(server.requests) == 1


@everywhere
async def test_closing_leaves_no_task_behind(server: Server, rpc: Rpc) -> None:
    await rpc.call("m", 1)
    await rpc.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("read ")]


@on_streams
async def test_closing_while_dialling_ends_the_call(server: Server, rpc: Rpc) -> None:
    waiting = asyncio.create_task(rpc.call("m"))
    await asyncio.sleep(0)
    await rpc.close()
    with pytest.raises(NodeUnavailable, match="closed"):
        await waiting


@on_ws
async def test_closing_at_once_after_dialling_closes_everything(server: Server, rpc: Rpc) -> None:
    wire = await rpc._connected()
    assert isinstance(wire, WebSocket)
    await rpc.close()
    assert wire._session.closed


@on_streams
async def test_late_news_of_an_old_connection_does_not_hurt_the_new_one(server: Server, rpc: Rpc) -> None:
    old = await rpc._connected()
    await rpc.reset()
    await rpc.call("m", 1)
    rpc.lost(old, "late")
    assert (await rpc.call("m", 2), server.connections) == (2, 2)


@on_streams
async def test_a_session_ends_with_its_connection(server: Server, rpc: Rpc) -> None:
    await rpc.call("m", 1)
    first = rpc.session
    await server.cut()
    await until(lambda: rpc.session != first)
    second = rpc.session
    await rpc.call("m", 2)
    assert rpc.session == second


@pytest.mark.fault("S03")
@on_ws
async def test_a_connection_that_answers_no_ping_is_given_up(server: Server) -> None:
    server.pongs, ended = False, asyncio.Event()
    server.reply = lambda request: result(request, "0x1")
    rpc = connect(server.url, ping=0.05)
    await rpc.subscribe("newHeads", lambda payload: ended.set() if payload is None else None)
    async with asyncio.timeout(10):
        await ended.wait()
    await rpc.close()


# ── subscriptions ──


@on_streams
async def test_payloads_reach_their_handler(server: Server, rpc: Rpc) -> None:
    heads: list[Any] = []
    logs: list[Any] = []
    server.reply = lambda request: result(request, "0x" + request["params"][0])
    await rpc.subscribe("newHeads", heads.append)
    await rpc.subscribe("logs", logs.append, {"address": []})
    await server.push(notice("0xlogs", 1), notice("0xnewHeads", 2), notice("0xlogs", 3))
    await until(lambda: len(logs) == 2)
    assert (heads, logs) == ([2], [1, 3])


@on_streams
async def test_a_payload_right_behind_the_answer_is_not_lost(server: Server, rpc: Rpc) -> None:
    heads: list[Any] = []
    server.reply = lambda request: [result(request, "0x1"), notice("0x1", "first")]
    await rpc.subscribe("newHeads", heads.append)
    await until(lambda: heads == ["first"])


@pytest.mark.fault("S06")
@on_streams
async def test_a_subscription_ends_with_its_connection(server: Server, rpc: Rpc) -> None:
    heads: list[Any] = []
    server.reply = lambda request: result(request, "0x1")
    await rpc.subscribe("newHeads", heads.append)
    await server.cut()
    await until(lambda: heads == [None])
    await rpc.call("m")
    await server.push(notice("0x1", "of the old subscription"))
    await rpc.call("m")
    assert heads == [None]


@on_streams
async def test_a_refused_subscription_is_an_error(server: Server, rpc: Rpc) -> None:
    server.reply = lambda request: error(request, -32601, "no subscriptions here")
    with pytest.raises(RpcError):
        await rpc.subscribe("newHeads", lambda _: None)


async def until(condition: Any) -> None:
    """Wait for something that no event announces; the fixture sets the deadline."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


# ── bounds ──


@pytest.mark.fault("G06")
@everywhere
async def test_thousands_of_calls_at_once_take_turns_and_each_gets_its_answer(server: Server, rpc: Rpc) -> None:
    most = 0

    def reply(request: Any) -> bytes:
        nonlocal most
        most = max(most, len(rpc._pending))
        return echo(request)

    server.reply = reply
    assert await asyncio.gather(*(rpc.call("m", n) for n in range(2_000))) == list(range(2_000))
    assert 0 < most <= AT_ONCE


@pytest.mark.fault("G02", "R06")
@on_streams
async def test_a_hundred_connections_leave_nothing_behind(server: Server, rpc: Rpc) -> None:
    async def round_trip() -> tuple[int, int]:
        await rpc.call("m", 1)
        before = rpc.session
        await server.cut()
        await until(lambda: rpc.session != before)
        return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))  # noqa: ASYNC240

    for _ in range(5):
        warm = await round_trip()
    for _ in range(100):
        last = await round_trip()
    assert last[0] <= warm[0] + 2 and last[1] <= warm[1] + 2

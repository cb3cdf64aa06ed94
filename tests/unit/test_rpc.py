"""The JSON-RPC client against servers that misbehave in every way a wire allows."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keeper.chain import rpc as module
from keeper.chain.endpoint import Endpoint
from keeper.chain.rpc import Rpc, RpcError, connect
from keeper.chain.wires import UnixSocket, Wire
from keeper.errors import KeeperError, Misconfigured, NodeUnavailable, RateLimited, StaleRead
from tests.unit.rpc_server import ALL, STREAMS, Server, echo, error, notice, result

LIMIT = 200_000  # bytes per answer


@pytest.fixture
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    served = await Server(request.param, tmp_path).start()
    yield served
    await served.stop()


@pytest.fixture
async def rpc(server: Server) -> AsyncIterator[Rpc]:
    client = connect(server.url, answer_bytes=LIMIT)
    async with asyncio.timeout(20):
        yield client
    await client.close()


everywhere = pytest.mark.parametrize("server", ALL, indirect=True)
on_streams = pytest.mark.parametrize("server", STREAMS, indirect=True)
on_ipc = pytest.mark.parametrize("server", ["ipc"], indirect=True)
on_http = pytest.mark.parametrize("server", ["http"], indirect=True)


# ── asking ──


@everywhere
async def test_a_call_returns_its_result(server: Server, rpc: Rpc) -> None:
    assert await rpc.call("eth_chainId", "0x1") == "0x1"


@everywhere
async def test_a_batch_is_answered_in_its_own_order(server: Server, rpc: Rpc) -> None:
    assert await rpc.batch([("m", [n]) for n in range(50)]) == list(range(50))
    assert len(server.requests) == 1


@everywhere
async def test_an_empty_batch_asks_nothing(server: Server, rpc: Rpc) -> None:
    assert await rpc.batch([]) == []
    assert server.requests == []


@everywhere
async def test_a_refused_part_of_a_batch_does_not_spoil_the_rest(server: Server, rpc: Rpc) -> None:
    server.reply = lambda batch: b"[" + error(batch[0], -32000, "no") + b"," + result(batch[1], "yes") + b"]"
    refused, good = await rpc.batch([("a", ()), ("b", ())])
    assert isinstance(refused, RpcError)
    assert good == "yes"


@on_streams
async def test_calls_at_the_same_time_share_one_connection(server: Server, rpc: Rpc) -> None:
    answers = await asyncio.gather(*(rpc.call("m", n) for n in range(20)))
    assert (answers, server.connections) == (list(range(20)), 1)


@pytest.mark.fault("R11")
@on_streams
async def test_answers_find_their_call_whatever_their_order(server: Server, rpc: Rpc) -> None:
    held: list[bytes] = []

    def hold(request: Any) -> list[bytes]:
        held.append(echo(request))
        return held[::-1] if len(held) == 3 else []

    server.reply = hold
    assert await asyncio.gather(*(rpc.call("m", n) for n in range(3))) == [0, 1, 2]


@pytest.mark.fault("R11")
@on_streams
async def test_two_batches_whose_answers_are_swapped_keep_their_own(server: Server, rpc: Rpc) -> None:
    held: list[bytes] = []

    def hold(request: Any) -> list[bytes]:
        held.append(echo(request))
        return held[::-1] if len(held) == 2 else []

    server.reply = hold
    batches = [[("m", [1]), ("m", [2])], [("m", [3]), ("m", [4])]]
    assert await asyncio.gather(*map(rpc.batch, batches)) == [[1, 2], [3, 4]]


@everywhere
async def test_null_is_a_result(server: Server, rpc: Rpc) -> None:
    server.reply = lambda request: result(request, None)
    assert await rpc.call("eth_getTransactionReceipt") is None


@everywhere
async def test_without_orjson_the_same_is_said(server: Server, rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_loads", json.loads)
    monkeypatch.setattr(module, "_dumps", module._plain_dumps)
    assert await rpc.batch([("m", ["é", [None]])]) == ["é"]


@pytest.mark.fault("F06")
@on_http
async def test_the_environment_does_not_choose_a_proxy(
    server: Server, rpc: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert await rpc.call("m", 1) == 1


# ── answers that are not ──

BAD_IDS = [None, 10**6, "1", True, 1.0, [1], {"a": 1}]


@pytest.mark.fault("R10", "S05")
@on_streams
@pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
async def test_an_answer_with_another_id_is_dropped(server: Server, rpc: Rpc, bad: Any) -> None:
    server.reply = lambda request: [result({"id": bad}, "wrong"), result(request, "right")]
    assert await rpc.call("m") == "right"
    assert rpc.dropped == 1


@pytest.mark.fault("R10")
@on_http
@pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
async def test_over_http_an_answer_with_another_id_is_no_answer(server: Server, rpc: Rpc, bad: Any) -> None:
    server.reply = lambda request: result({"id": bad}, "wrong")
    with pytest.raises(NodeUnavailable, match="does not fit"):
        await rpc.call("m")


@on_streams
async def test_an_answer_given_twice_is_taken_once(server: Server, rpc: Rpc) -> None:
    server.reply = lambda request: [echo(request), echo(request)]
    assert [await rpc.call("m", 1), await rpc.call("m", 2)] == [1, 2]


GARBAGE = {
    "html": b"<html>502</html>",
    "cut": b'{"jsonrpc":"2.0","id":',
    "not utf-8": b"\xff\xfe\x00",
    "null": b"null",
    "text": b'"hello"',
    "list of numbers": b"[1,2]",
    "nested": b"[" * 50_000 + b"]" * 50_000,
    "notice of nothing": b'{"method":"eth_subscription"}',
    "notice of null": b'{"method":"eth_subscription","params":null}',
    "unknown subscription": notice("0xdead", {}),
    "strange subscription": b'{"method":"eth_subscription","params":{"subscription":[],"result":{}}}',
}


@pytest.mark.fault("S05", "R28")
@on_streams
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_counted_and_the_listener_lives(server: Server, rpc: Rpc, garbage: bytes) -> None:
    server.reply = lambda request: [garbage, echo(request)]
    assert [await rpc.call("m", 1), await rpc.call("m", 2)] == [1, 2]
    assert (server.connections, rpc.dropped > 0) == (1, True)


@pytest.mark.fault("R09", "R28")
@on_http
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_over_http_is_a_node_that_is_not_there(server: Server, rpc: Rpc, garbage: bytes) -> None:
    server.reply = lambda _: garbage
    with pytest.raises(NodeUnavailable):
        await rpc.call("m")


@everywhere
async def test_an_answer_with_neither_result_nor_error_is_none(server: Server, rpc: Rpc) -> None:
    server.reply = lambda request: json.dumps({"id": request["id"]}).encode()
    with pytest.raises(NodeUnavailable, match="neither"):
        await rpc.call("m")


@everywhere
@pytest.mark.parametrize("bad", ["oops", 7, [], True], ids=repr)
async def test_an_error_that_is_no_object_is_not_an_answer(server: Server, rpc: Rpc, bad: Any) -> None:
    server.reply = lambda request: json.dumps({"id": request["id"], "error": bad}).encode()
    with pytest.raises(NodeUnavailable, match="malformed"):
        await rpc.call("m")


@pytest.mark.fault("R27", "S04")
@everywhere
async def test_an_endless_answer_is_cut_off_and_the_next_call_is_served(server: Server, rpc: Rpc) -> None:
    server.reply = lambda request: result(request, "x" * 3 * LIMIT)
    with pytest.raises(NodeUnavailable):
        await rpc.call("m")
    server.reply = echo
    assert await rpc.call("m", 1) == 1


@pytest.mark.fault("R27")
@on_ipc
async def test_a_line_that_never_ends_is_cut_off(server: Server, rpc: Rpc) -> None:
    ended: list[Any] = []
    server.reply = lambda request: result(request, "0x1")
    await rpc.subscribe("newHeads", ended.append)
    for peer in server._peers:
        assert isinstance(peer, asyncio.StreamWriter)
        peer.write(b"x" * 3 * LIMIT)
    await until(lambda: ended == [None])


class Ear:
    """Hears what a wire reads."""

    endpoint, ping, answer_bytes = Endpoint("node.ipc"), 1.0, LIMIT

    def __init__(self) -> None:
        self.frames: list[bytes | str] = []

    def heard(self, frame: bytes | str) -> None:
        self.frames.append(frame)

    def lost(self, wire: Wire, why: str) -> None: ...


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_messages_on_a_socket_may_come_in_any_pieces(size: int) -> None:
    ear = Ear()
    wire, stream = UnixSocket(ear), b'{"a":1}\n\n[2]\n{"b":"' + b"x" * 50 + b'"}\n{"not yet'
    for at in range(0, len(stream), size):
        wire.data_received(stream[at : at + size])
    assert ear.frames == [b'{"a":1}', b"[2]", b'{"b":"' + b"x" * 50 + b'"}']


# ── errors ──


@everywhere
@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (429, "Your app has exceeded its compute units per second capacity", RateLimited),
        (-32005, "daily request count exceeded, request rate limited", RateLimited),
        (-32007, "50/second request limit reached", RateLimited),
        (-32000, "unknown block", StaleRead),
        (-32001, "Resource not found", StaleRead),
        (-32000, "header not found", StaleRead),
        (-32602, "BlockOutOfRangeError: block height is 2 but requested was 9", StaleRead),
        (-32005, "query returned more than 10000 results", RpcError),
        (-32003, "nonce too low", RpcError),
        (-32601, "Method not found", RpcError),
        ("odd", "no such code", RpcError),
    ],
)
async def test_the_words_of_nodes_become_our_errors(
    server: Server, rpc: Rpc, code: Any, message: str, kind: type[KeeperError]
) -> None:
    server.reply = lambda request: error(request, code, message)
    with pytest.raises(KeeperError) as caught:
        await rpc.call("m")
    assert type(caught.value) is kind


@everywhere
@pytest.mark.parametrize("code", [3, -32000])
@pytest.mark.parametrize("words", ["unknown block", "too many requests"])
async def test_a_contract_cannot_pass_its_words_off_as_the_node_s(
    server: Server, rpc: Rpc, code: int, words: str
) -> None:
    server.reply = lambda request: error(request, code, f"execution reverted: {words}", data="0x08c379a0")
    with pytest.raises(RpcError) as caught:
        await rpc.call("eth_call")
    assert caught.value.data == bytes.fromhex("08c379a0")


@everywhere
@pytest.mark.parametrize("data", [None, "0xzz", "text", {"a": 1}, 5], ids=repr)
async def test_error_data_that_is_no_hex_is_empty(server: Server, rpc: Rpc, data: Any) -> None:
    server.reply = lambda request: error(request, 3, "execution reverted", data=data)
    with pytest.raises(RpcError) as caught:
        await rpc.call("eth_call")
    assert caught.value.data == b""


@pytest.mark.fault("R07", "R08")
@on_http
@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, NodeUnavailable), (401, NodeUnavailable)])
async def test_http_statuses_become_our_errors(server: Server, rpc: Rpc, status: int, kind: type[KeeperError]) -> None:
    server.status = status
    with pytest.raises(kind, match=str(status)):
        await rpc.call("m")
    assert len(server.requests) == 1


@pytest.mark.fault("F04")
@pytest.mark.parametrize("server", ["http", "ws"], indirect=True)
async def test_redirects_are_not_followed(server: Server, rpc: Rpc) -> None:
    server.status, server.headers = 307, {"Location": "/elsewhere"}
    with pytest.raises(NodeUnavailable, match="redirects"):
        await rpc.call("m")
    assert server.paths == ["/"]


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "", "ws:///path", "http://h:0/", "http://h:x/", "http://[::1/"])
def test_a_url_that_cannot_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(Misconfigured):
        connect(url)


async def until(condition: Any) -> None:
    """Wait for something that no event announces; the fixture sets the deadline."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)

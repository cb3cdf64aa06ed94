"""Nodes that answer in good form and say what cannot be: none of it ends the keeper, or is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from keeper.testing import faults
from tests.faults.test_life_killed import DONE
from tests.faults.test_rpc_daemon import cap, ends, goes_on, memory, proxies, run, settle
from tests.faults.wishes import assert_once, wishes
from tests.worlds.market import Scene, crash

pytestmark = pytest.mark.chain
Lie = tuple[str, faults.Fault]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 1, accounts=4) as scene:
        yield scene


@pytest.fixture
def fallen(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 50) as scene:
        yield scene


def field(name: str, value: Any) -> faults.Fault:
    """The node's answer, or each of a list of them, with one field that is another."""

    def change(said: Any) -> Any:
        if isinstance(said, list):
            return [change(each) for each in said]
        return {**said, name: value} if isinstance(said, dict) else said

    return faults.changed(change)


def each(change: Callable[[list[Any]], list[Any]]) -> faults.Fault:
    return faults.changed(lambda said: change(said) if isinstance(said, list) else said)


HUGE, BEYOND = hex(2**255), hex(2**64)
ABSURD: dict[str, Lie] = {
    **{
        f"{name} {value[:3]}{len(value)}": ("eth_getBlockBy*", field(name, value))
        for name in ("timestamp", "number", "gasLimit", "gasUsed", "baseFeePerGas")
        for value in ("0x0", BEYOND, HUGE)
    },
    "a parent of its own": ("eth_getBlockBy*", field("parentHash", "0x" + "ab" * 32)),
    "logs of another block": ("eth_getLogs", field("blockHash", "0x" + "ab" * 32)),
    "logs without data": ("eth_getLogs", field("data", "0x")),
    "logs with little data": ("eth_getLogs", field("data", "0x01")),
    "logs with much data": ("eth_getLogs", field("data", "0x" + "ff" * 4096)),
    "logs without topics": ("eth_getLogs", field("topics", [])),
    "logs twice": ("eth_getLogs", each(lambda logs: logs * 2)),
    "logs at one place": ("eth_getLogs", field("logIndex", "0x0")),
    "logs far away": ("eth_getLogs", field("logIndex", HUGE)),
    "logs that were taken back": ("eth_getLogs", field("removed", True)),
    "calls that say nothing": ("eth_call", faults.result("0x")),
    "calls that say little": ("eth_call", faults.result("0x01")),
    "calls that say ones": ("eth_call", faults.result("0x" + "ff" * 2048)),
    "calls that fail without a word": ("eth_call", faults.error(3, "execution reverted")),
    "digits": ("*", faults.saying(b'{"jsonrpc":"2.0","id":1,"result":' + b"9" * 100_000 + b"}")),
    "not a number": ("*", faults.saying(b'{"jsonrpc":"2.0","id":NaN,"result":-Infinity}')),
    "half a pair": ("*", faults.saying(b'{"jsonrpc":"2.0","id":1,"result":"\\ud800"}')),
    "both": ("*", faults.saying(b'{"jsonrpc":"2.0","id":1,"result":"0x1","error":{"code":1.5,"message":7}}')),
    "an error of no shape": ("*", faults.saying(b'{"jsonrpc":"2.0","id":1,"error":[[]]}')),
}


SORTS = {
    "blocks": [name for name, (method, _) in ABSURD.items() if method.startswith("eth_getBlock")],
    "logs and calls": [name for name, (method, _) in ABSURD.items() if method in ("eth_getLogs", "eth_call")],
    "frames": [name for name, (method, _) in ABSURD.items() if method == "*"],
}


@pytest.mark.fault("R35", "R36", "S28", "A28", "A10")
@pytest.mark.parametrize("sort", SORTS)
async def test_what_cannot_be_costs_time_and_nothing_else(sort: str, scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.http) as keeper:
        await keeper.heard("turn.done")
        for name in SORTS[sort]:
            proxy.on(*ABSURD[name], times=2)
            await goes_on(scene, keeper)
            proxy.behave()
        await ends(keeper)
    assert not keeper.has("error.internal")


@pytest.mark.fault("R36", "R16")
async def test_a_block_that_makes_no_sense_is_asked_of_another_endpoint(scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path, 2) as [one, two], run(scene, one.http, two.http) as keeper:
        await keeper.heard("turn.done")
        one.on("eth_getLogs", field("data", "0x"))
        for _ in range(4):
            await goes_on(scene, keeper)
        await ends(keeper)
    assert keeper.has("block.unreadable")


@pytest.mark.fault("R36")
async def test_a_block_that_makes_no_sense_for_long_ends_it_and_is_named(scene: Scene, tmp_path: Path) -> None:
    sets = ("chains.local.retry_for=2s",)
    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.http, sets=sets) as keeper:
        await keeper.heard("turn.done")
        proxy.on("eth_getLogs", field("data", "0x"))
        block = scene.step().number
        await keeper.heard("block.unreadable")
        assert await keeper.ended() == 1
    assert f"options cannot read block {block}" in keeper.said


@pytest.mark.fault("R37")
@pytest.mark.parametrize("door", ["http", "ipc"])
async def test_an_answer_that_only_trickles_is_given_up(door: str, scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path, 2) as [one, two], run(scene, getattr(one, door), two.http) as keeper:
        await keeper.heard("turn.done")
        one.on("*", faults.dripping(0.5))
        for _ in range(2):
            await goes_on(scene, keeper)
        await ends(keeper)


@pytest.mark.fault("R38")
async def test_few_bytes_that_become_many_do_not_fill_the_memory(scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.http) as keeper:
        await keeper.heard("turn.done")
        before = memory(keeper)
        for method in ("gzip", "deflate", "br", "gzip, gzip"):
            proxy.on("*", faults.packed(b'{"result":"' + b"x" * 2**28, method), times=2)
            await goes_on(scene, keeper)
        assert memory(keeper) - before < 160 * 2**20
        await ends(keeper)


@pytest.mark.fault("S29")
async def test_a_head_that_goes_back_and_forth_is_followed_once(scene: Scene, tmp_path: Path) -> None:
    """As behind a balancer of two nodes, of which one is a block late."""
    behind = iter(range(10**6))

    async def flapping(exchange: faults.Exchange) -> faults.Reply:
        late, params = next(behind) % 2, exchange.request["params"]
        if params[0] == "latest":
            head = scene.node.head().number
            exchange.request["params"] = [hex(head - late), params[1]]
        return await faults.passed(exchange)

    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.http) as keeper:
        await keeper.heard("turn.done")
        proxy.on("eth_getBlockByNumber", flapping)
        for _ in range(5):
            await goes_on(scene, keeper)
        await ends(keeper)
    blocks = [line["block"] for line in keeper.events if line["event"] == "turn.done"]
    assert blocks == sorted(set(blocks)) and not keeper.has("block.rolled_back")


def moved(name: str, by: int) -> faults.Fault:
    """Only of the head: asked for by its hash, the block says the truth."""
    change = faults.changed(lambda said: {**said, name: hex(int(said[name], 16) + by)})

    async def fault(exchange: faults.Exchange) -> faults.Reply:
        return await (change if exchange.request["params"][0] == "latest" else faults.passed)(exchange)

    return fault


@pytest.mark.fault("S30")
async def test_a_head_with_another_number_or_time_is_not_followed(scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.http) as keeper:
        await keeper.heard("turn.done")
        for name, by in (("number", 3), ("number", 10_000), ("number", -1), ("timestamp", 10**9), ("gasUsed", 2**62)):
            proxy.on("eth_getBlockByNumber", moved(name, by), times=2)
            for _ in range(2):
                await goes_on(scene, keeper)
        await ends(keeper)
    assert not keeper.has("block.rolled_back")


PUSHED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "far": lambda head: {**head, "number": hex(int(head["number"], 16) + 10**6), "hash": "0x" + "ab" * 32},
    "its child": lambda head: {
        **head,
        "number": hex(int(head["number"], 16) + 1),
        "hash": "0x" + "ab" * 32,
        "parentHash": head["hash"],
    },
    "its own child": lambda head: {
        **head,
        "number": hex(int(head["number"], 16) + 1),
        "hash": "0x" + "ab" * 32,
        "parentHash": "0x" + "ab" * 32,
    },
    "another number": lambda head: {**head, "number": hex(int(head["number"], 16) + 3)},
    "no head": lambda head: {"number": "hello"},
    "another time": lambda head: {**head, "timestamp": hex(2**62)},
}


PUSHED_LOGS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "of another block": lambda log: {**log, "blockHash": "0x" + "ab" * 32},
    "taken back": lambda log: {**log, "removed": True},
    "no log": lambda log: {"blockHash": log["blockHash"]},
    "another price": lambda log: {**log, "data": "0x" + "00" * (len(log["data"]) // 2 - 1)},
    "another contract": lambda log: {**log, "address": "0x" + "ab" * 20},
}


@pytest.mark.fault("S30", "S05")
@pytest.mark.parametrize(("kind", "changes"), [("number", PUSHED), ("logIndex", PUSHED_LOGS)], ids=["heads", "logs"])
async def test_what_is_pushed_and_is_none_keeps_no_turn_away(
    kind: str, changes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]], scene: Scene, tmp_path: Path
) -> None:
    def before(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
        def pushes(notice: dict[str, Any]) -> list[dict[str, Any]]:
            said = notice.get("params", {})
            if kind not in (said.get("result") or ()):
                return [notice]
            return [{**notice, "params": {**said, "result": change(said["result"])}}, notice]

        return pushes

    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.ws) as keeper:
        await keeper.heard("turn.done")
        for change in changes.values():
            proxy.pushes = before(change)
            last = [scene.step().number for _ in range(3)][-1]
            await keeper.heard("turn.done", block=last)
        proxy.behave()
        await goes_on(scene, keeper)
        await ends(keeper)
    assert not keeper.has("error.internal") and not keeper.has("block.rolled_back")


# ─── below the messages ───────────────────────────────────────────────────────────────────────────

OK = b"HTTP/1.1 200 OK\r\n"
WIRE: dict[str, tuple[bytes, bytes]] = {  # what is said first, and then for ever
    "headers": (OK, b"X-A: " + b"a" * 4_000 + b"\r\n"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1_000),
    "what is no HTTP": (b"", b"\x00\xff\x16\x03\x01" * 1_000),
    "a pause beyond every number": (b"HTTP/1.1 429 no\r\nRetry-After: " + b"9" * 400 + b"\r\n\r\n", b""),
    "another protocol": (b"HTTP/1.1 101 go on\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"\x00" * 4_000),
}


@pytest.mark.fault("R40", "R27")
@pytest.mark.parametrize("kind", WIRE)
async def test_what_never_ends_takes_neither_time_nor_memory(kind: str, scene: Scene, tmp_path: Path) -> None:
    first, then = WIRE[kind]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(10)
            writer.write(first)
            while then:
                writer.write(then)
                await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        proxies(scene, tmp_path) as [proxy],
        run(scene, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", proxy.http) as keeper,
    ):
        await keeper.heard("turn.done")
        before = memory(keeper)
        for _ in range(3):
            await goes_on(scene, keeper)
        assert memory(keeper) - before < 100 * 2**20
        await ends(keeper)


# ─── with money ───────────────────────────────────────────────────────────────────────────────────


def without(name: str) -> faults.Fault:
    return faults.changed(lambda said: {k: v for k, v in said.items() if k != name} if isinstance(said, dict) else said)


def by_turns(*faulty: faults.Fault) -> faults.Fault:
    count = iter(range(10**6))

    async def fault(exchange: faults.Exchange) -> faults.Reply:
        return await faulty[next(count) % len(faulty)](exchange)

    return fault


LIES: dict[str, Lie] = {
    "fees without blocks": ("eth_feeHistory", field("reward", [])),
    "fees without percentiles": ("eth_feeHistory", field("reward", [[]] * 5)),
    "fees of some": ("eth_feeHistory", field("reward", [["0x1"], []])),
    "no fees": ("eth_feeHistory", field("reward", None)),
    "fees below nothing": ("eth_feeHistory", field("reward", [["-0x1"]] * 5)),
    "fees beyond everything": ("eth_feeHistory", field("reward", [[HUGE]] * 5)),
    "base fees of none": ("eth_feeHistory", field("baseFeePerGas", [])),
    "a receipt of all gas": ("eth_getTransactionReceipt", field("gasUsed", HUGE)),
    "a receipt at any price": ("eth_getTransactionReceipt", field("effectiveGasPrice", HUGE)),
    "a receipt of no end": ("eth_getTransactionReceipt", without("status")),
    "a receipt of no block": ("eth_getTransactionReceipt", field("blockHash", "0x" + "ab" * 32)),
    "a receipt of another": ("eth_getTransactionReceipt", field("transactionHash", "0x" + "ab" * 32)),
    "a count that goes down and up": ("eth_getTransactionCount", by_turns(faults.result("0x0"), faults.passed)),
    "nothing to pay with": ("eth_getBalance", faults.result("0x0")),
    "more than there is": ("eth_getBalance", faults.result(HUGE)),
    "a base fee beyond everything": ("eth_getBlockBy*", field("baseFeePerGas", hex(2**100))),
    "blocks without room": ("eth_getBlockBy*", field("gasLimit", "0x0")),
    "simulations that fail without a word": ("eth_call", faults.error(-32000, "")),
}


@pytest.mark.fault("R39", "T45", "T36", "R20", "R22")
async def test_what_cannot_be_of_transactions_doubles_nothing_and_loses_nothing(fallen: Scene, tmp_path: Path) -> None:
    sets = ("chains.local.confirmations=2",)
    async with proxies(fallen, tmp_path) as [proxy], run(fallen, proxy.http, sets=sets) as keeper:
        await keeper.heard("turn.done")
        for lie in LIES.values():
            proxy.on(*lie, times=3)
            for _ in range(2):
                await keeper.heard(*DONE, block=fallen.step().number)
            proxy.behave()
        await ends(keeper)
    own = fallen.sent()
    assert own and max(int(tx["maxFeePerGas"], 16) for tx in own) <= cap(fallen)
    await settle(fallen)
    assert_once(wishes(fallen, tmp_path / "state" / "local.live.db"))

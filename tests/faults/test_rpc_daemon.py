"""The daemon against nodes that misbehave: what it does with them, and that it finds its way back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM

import pytest

from keeper.testing import faults
from keeper.testing.pool import GethPool
from keeper.testing.proxy import Proxy, muted, twice
from tests.faults.wishes import assert_once, wishes
from tests.worlds.market import CONTENT, Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain
SOON = 2.5  # seconds that it sleeps at most, when it looks every second


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 1, accounts=4) as scene:
        yield scene


@asynccontextmanager
async def proxies(scene: Scene, folder: Path, count: int = 1) -> AsyncIterator[list[Proxy]]:
    made = [Proxy(scene.node.ipc, folder / str(n), GethPool()) for n in range(count)]
    for n, proxy in enumerate(made):
        (folder / str(n)).mkdir()
        await proxy.__aenter__()
    try:
        yield made
    finally:
        for proxy in made:
            await proxy.__aexit__()


def run(scene: Scene, *urls: object, sets: tuple[str, ...] = ()) -> Process:
    where = f"chains.local.rpc={json.dumps([str(url) for url in urls])}"
    plain = ("record.enabled=false", "chains.local.retry_for=20s", "chains.local.block_time=1s", where, *sets)
    return Process("run", "-c", scene.config, "--live", *(f"--set={one}" for one in plain))


async def goes_on(scene: Scene, keeper: Process) -> None:
    """It deals with a block made now."""
    await keeper.heard("turn.done", block=scene.step().number)


async def ends(keeper: Process) -> None:
    keeper.send(SIGTERM)
    assert await keeper.ended() == 0


DOORS = pytest.mark.parametrize("door", ["ipc", "ws", "http"])


@pytest.mark.fault("R02", "S01")
@DOORS
async def test_a_node_that_left_and_returned_is_taken_up_at_the_next_look(
    door: str, scene: Scene, tmp_path: Path
) -> None:
    async with proxies(scene, tmp_path) as [proxy], run(scene, getattr(proxy, door)) as keeper:
        await keeper.heard("turn.done")
        await proxy.leave()
        await keeper.heard("rpc.lost")
        block = scene.step(3).number
        await proxy.return_()
        before = keeper.clock()
        await keeper.heard("turn.done", block=block)
        now = keeper.clock()
        assert now is not None and (now - before).slept < SOON
        await ends(keeper)


@pytest.mark.fault("R02", "R16")
@DOORS
async def test_when_one_of_two_dies_the_other_takes_over(door: str, scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path, 2) as [one, two], run(scene, *(getattr(p, door) for p in (one, two))) as keeper:
        await keeper.heard("turn.done")
        await one.leave()
        block = scene.step().number
        await keeper.heard("rpc.endpoint", number=1, state="unreachable")
        await keeper.heard("turn.done", block=block)
        await one.return_()
        await keeper.heard("rpc.endpoint", number=1, state="alive")
        await two.leave()
        await goes_on(scene, keeper)
        await ends(keeper)
    assert not keeper.has("rpc.lost")


@pytest.mark.fault("R16", "S03")
async def test_an_endpoint_whose_head_stands_still_is_left(scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path, 2) as [one, two], run(scene, one.ws, two.ws) as keeper:
        await keeper.heard("turn.done")
        await one.freeze()
        scene.step(4)
        await keeper.heard("rpc.endpoint", number=1, state="lagging")
        await goes_on(scene, keeper)
        await ends(keeper)


@pytest.mark.fault("R14")
async def test_an_endpoint_on_another_chain_is_not_used(scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path, 2) as [one, two]:
        one.on("eth_chainId", faults.result("0x5"))
        async with run(scene, one.http, two.http) as keeper:
            await keeper.heard("rpc.endpoint", number=1, state="wrong_chain")
            await keeper.heard("turn.done")
            await goes_on(scene, keeper)
            await ends(keeper)
    assert set(one.calls) <= {"eth_chainId", "eth_getBlockByNumber"}


NONSENSE: dict[str, faults.Fault] = {
    "null": faults.result(None),
    "text": faults.result("hello"),
    "odd hex": faults.result("0xabc!"),
    "negative": faults.result("-0x1"),
    "list": faults.result([1, 2]),
    "huge number": faults.result("0x" + "f" * 80),
    "html": faults.saying(b"<html>502 Bad Gateway</html>"),
    "half": faults.truncated(),
    "nothing": faults.saying(b""),
    "no json": faults.saying(b"\xff\x00"),
    "another id": faults.renumbered(10**9),
    "no id": faults.renumbered(None),
    "503": faults.refused(503),
    "429": faults.refused(429, Retry_After="1"),
    "401": faults.refused(401),
    "internal error": faults.error(-32603, "database is closed"),
    "rate limit": faults.error(-32005, "daily request count exceeded, request rate limited"),
    "cut": faults.cut_after(),
    "deep": faults.saying(b"[" * 100_000),
}


@pytest.mark.fault("R09", "R10", "R12", "R13", "R28", "R07", "R08")
@pytest.mark.parametrize(("door", "kinds"), [("http", list(NONSENSE)), ("ws", ["null", "html", "cut", "503"])])
async def test_nonsense_of_every_kind_costs_time_and_nothing_else(
    door: str, kinds: list[str], scene: Scene, tmp_path: Path
) -> None:
    """Each kind is said to whatever is asked in between two blocks; after it, the keeper goes on."""
    async with proxies(scene, tmp_path) as [proxy], run(scene, getattr(proxy, door)) as keeper:
        await keeper.heard("turn.done")
        for kind in kinds:
            proxy.on(
                "*", NONSENSE[kind], times=3 if door == "http" else 1
            )  # on a stream, what is no answer takes a deadline
            await goes_on(scene, keeper)
        await ends(keeper)
    assert not keeper.has("error.internal")


@pytest.mark.fault("S02", "S06")
@pytest.mark.parametrize("code", [1000, 1001, 1009, None])
async def test_a_stream_that_ends_is_begun_anew(code: int | None, scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.ws) as keeper:
        await keeper.heard("turn.done")
        for _ in range(3):
            await proxy.hang_up(code)
            await goes_on(scene, keeper)
        await ends(keeper)


@pytest.mark.fault("S03", "S07", "S09")
async def test_heads_that_do_not_come_or_come_twice_change_nothing(scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.ws) as keeper:
        await keeper.heard("turn.done")
        for pushes in (muted, twice):
            proxy.pushes = pushes
            for _ in range(3):
                await goes_on(scene, keeper)
        await ends(keeper)
    blocks = [line["block"] for line in keeper.events if line["event"] == "turn.done"]
    assert blocks == sorted(set(blocks))


@pytest.mark.fault("R27")
async def test_an_endless_answer_does_not_fill_the_memory(scene: Scene, tmp_path: Path) -> None:
    async with proxies(scene, tmp_path) as [proxy], run(scene, proxy.http) as keeper:
        await keeper.heard("turn.done")
        before = memory(keeper)
        proxy.on("*", faults.saying(b'{"result":"' + b"x" * 2**28), times=2)
        await goes_on(scene, keeper)
        assert memory(keeper) - before < 160 * 2**20
        await ends(keeper)


def memory(keeper: Process) -> int:
    """The most that a process has had, in bytes."""
    status = Path(f"/proc/{keeper.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


# ─── with money ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fallen(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 50) as scene:
        yield scene


LIES: dict[str, tuple[str, faults.Fault]] = {
    "unheard": ("eth_sendRawTransaction", faults.cut_after()),
    "unsent": ("eth_sendRawTransaction", faults.cut_before()),
    "false success": ("eth_sendRawTransaction", faults.swallowed()),
    "false failure": ("eth_sendRawTransaction", faults.failing(-32000, "internal error")),
    "another hash": ("eth_sendRawTransaction", faults.changed(lambda _: "0x" + "ab" * 32)),
    "too busy": ("eth_sendRawTransaction", faults.refused(429)),
    "no receipts": ("eth_getTransactionReceipt", faults.result(None)),
    "count of zero": ("eth_getTransactionCount", faults.result("0x0")),
    "fees of nothing": ("eth_feeHistory", faults.changed(lambda said: {**said, "reward": [["0x0"]] * 5})),
    "fees without end": ("eth_feeHistory", faults.changed(lambda said: {**said, "reward": [[hex(10**18)]] * 5})),
}


@pytest.mark.fault("R03", "R04", "R19", "R20", "R22", "R23", "R24", "R25", "T35")
async def test_lies_about_transactions_double_nothing_and_lose_nothing(fallen: Scene, tmp_path: Path) -> None:
    sets = ("chains.local.confirmations=2",)
    async with proxies(fallen, tmp_path) as [proxy], run(fallen, proxy.http, sets=sets) as keeper:
        await keeper.heard("turn.done")
        for method, fault in LIES.values():
            proxy.on(method, fault, times=3)
            for _ in range(2):
                await goes_on(fallen, keeper)
        await ends(keeper)
    own = fallen.sent()
    caps = [int(tx["maxFeePerGas"], 16) for tx in own]
    assert own and max(caps) <= cap(fallen)
    await settle(fallen)
    assert_once(wishes(fallen, tmp_path / "state" / "local.live.db"))


def cap(scene: Scene) -> int:
    return scene.settings().risk.max_gas_price


async def settle(scene: Scene) -> None:
    """An honest node, and a keeper that wants nothing more: what is open comes to its end."""
    async with run(scene, scene.node.ipc, sets=(*CONTENT, "chains.local.confirmations=2")) as keeper:
        await keeper.heard("turn.done", "keeper.recovering")
        for _ in range(4):
            await keeper.heard("turn.done", "keeper.recovering", block=scene.step().number)
        await ends(keeper)

"""Several endpoints as one: who is asked, who is not, and what becomes of a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from keeper.chain.node import Node
from keeper.chain.pool import Pool, pool
from keeper.chain.rpc import RpcError
from keeper.chain.standing import BEHIND, MOST_PATIENT, REFUSED_PAUSE, Standings, State
from keeper.errors import NodeUnavailable, RateLimited, WrongChain
from keeper.testing.clock import VirtualClock
from tests.unit.node_script import RAW, Script, block, refusal, word
from tests.unit.rpc_server import Server

GENESIS = b"\x0a" * 32


class World:
    """As many servers as asked for, each with a script of its own, and a pool over them."""

    def __init__(self, servers: list[Server], clock: VirtualClock) -> None:
        self.servers, self.clock = servers, clock
        self.scripts = [Script(server) for server in servers]
        for script in self.scripts:
            script.answers |= {
                "eth_chainId": "0x1",
                "eth_getBlockByNumber": head(100),
                "eth_sendRawTransaction": word(hash_of(RAW)),
            }
        self.standings = Standings([f"node {n}" for n in range(len(servers))], 1, clock.monotonic)
        made = pool([server.url for server in servers], self.standings)
        assert isinstance(made, Pool)
        self.pool, self.node = made, Node(made)

    def states(self) -> list[State]:
        return [one.state for one in self.standings.of]

    def asked(self, method: str) -> list[int]:
        """How often, at each."""
        return [sum(name == method for name, _ in script.asked) for script in self.scripts]


def head(number: int) -> Callable[[str, bool], Any]:
    def answer(place: str, _full: bool) -> Any:
        return block(number="0x0", hash=word(GENESIS)) if place == "0x0" else block(number=hex(number))

    return answer


def hash_of(raw: bytes) -> bytes:
    from eth_hash.auto import keccak

    return bytes(keccak(raw))


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    schemes = getattr(request, "param", ("http", "http"))
    folders = [tmp_path / str(n) for n in range(len(schemes))]
    for folder in folders:
        folder.mkdir()
    servers = [await Server(scheme, folder).start() for scheme, folder in zip(schemes, folders, strict=True)]
    made = World(servers, VirtualClock(start=1000.0))
    async with asyncio.timeout(20):
        yield made
    await made.pool.close()
    for server in servers:
        await server.stop()


three = pytest.mark.parametrize("world", [("http",) * 3], indirect=True)
streams = pytest.mark.parametrize("world", [("ws", "ipc")], indirect=True)


# ─── who is asked ─────────────────────────────────────────────────────────────────────────────────


async def test_the_first_is_asked_as_long_as_it_answers(world: World) -> None:
    for _ in range(3):
        await world.pool.call("eth_chainId")
    assert [len(script.asked) for script in world.scripts] == [2 + 3, 0]


@pytest.mark.fault("R02", "R09")
async def test_when_the_first_fails_the_next_is_asked_at_once(world: World) -> None:
    world.servers[0].status = 500
    world.scripts[1].answers["eth_getBalance"] = "0x7"
    assert await world.node.balance(bytes(20)) == 7
    assert world.states() == [State.UNREACHABLE, State.ALIVE]


async def test_a_refusal_is_an_answer_and_not_asked_elsewhere(world: World) -> None:
    world.scripts[0].answers["eth_call"] = refusal(3, "execution reverted")
    with pytest.raises(RpcError):
        await world.pool.call("eth_call", {})
    assert world.asked("eth_call") == [1, 0]


@pytest.mark.fault("R02")
async def test_one_that_failed_is_tried_again_when_its_time_has_come(world: World) -> None:
    world.servers[0].status = 500
    await world.pool.call("eth_chainId")
    world.servers[0].status = 200
    await world.pool.look()
    before = world.asked("eth_chainId")
    await world.pool.call("eth_chainId")
    assert world.states() == [State.ALIVE, State.ALIVE]
    assert world.asked("eth_chainId")[0] > before[0]


@pytest.mark.fault("R05", "R06")
async def test_one_that_hangs_takes_half_of_the_time_and_no_more(world: World) -> None:
    await world.pool.call("eth_chainId")
    world.servers[0].reply = lambda _: ()
    began = asyncio.get_running_loop().time()
    assert await world.pool.call("eth_chainId", timeout=4.0) == "0x1"
    assert asyncio.get_running_loop().time() - began < 4.0
    assert world.states()[0] is State.UNREACHABLE


async def test_with_none_alive_the_one_that_may_be_tried_soonest_is_asked(world: World) -> None:
    for server in world.servers:
        server.status = 500
    with pytest.raises(NodeUnavailable, match="HTTP 500"):
        await world.pool.call("eth_chainId")
    world.servers[1].status = 200
    assert await world.pool.call("eth_chainId") == "0x1"


@pytest.mark.fault("R07")
async def test_a_rate_limit_is_kept_and_the_other_is_asked(world: World) -> None:
    world.servers[0].status, world.servers[0].headers = 429, {"Retry-After": "7"}
    await world.pool.call("eth_chainId")
    one = world.standings.of[0]
    assert (one.state, one.until) == (State.LIMITED, world.clock.monotonic() + 7)
    asked = len(world.scripts[0].asked)
    await world.pool.look()
    assert len(world.scripts[0].asked) == asked


@pytest.mark.fault("R07")
def test_no_node_makes_us_wait_for_ever() -> None:
    standings = Standings(["a", "b"], None, lambda: 0.0)
    standings.failed(0, RateLimited("a", 10**9))
    assert standings.of[0].until == MOST_PATIENT


@pytest.mark.fault("R08")
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_revoked_makes_an_endpoint_unusable(world: World, status: int) -> None:
    world.servers[0].status = status
    with capture_logs() as lines:
        await world.pool.call("eth_chainId")
    one = world.standings.of[0]
    assert (one.state, one.until) == (State.UNUSABLE, world.clock.monotonic() + REFUSED_PAUSE)
    assert [(line["event"], line["state"], line["log_level"]) for line in lines] == [
        ("rpc.endpoint", "unusable", "warning")
    ]


@pytest.mark.fault("R09", "R13")
async def test_an_endpoint_whose_answers_are_of_no_use_is_left(world: World) -> None:
    world.scripts[0].answers["eth_getBalance"] = {"not": "a number"}
    world.scripts[1].answers["eth_getBalance"] = "0x7"
    with pytest.raises(NodeUnavailable):
        await world.node.balance(bytes(20))
    await world.node.reset()  # as the follower does
    assert await world.node.balance(bytes(20)) == 7


def test_pauses_grow_and_have_an_end() -> None:
    standings = Standings(["a"], None, lambda: 0.0)
    pauses = list[float]()
    for _ in range(20):
        standings.failed(0, NodeUnavailable("gone"))
        pauses.append(standings.of[0].until)
    assert pauses[3] > pauses[0]
    assert max(pauses) < 40


@pytest.mark.fault("R05")
def test_a_slow_one_is_asked_after_the_others() -> None:
    standings = Standings(["a", "b"], None, lambda: 0.0)
    standings.answered(0, 5.0)
    standings.answered(1, 0.1)
    assert standings.order() == [1, 0]
    for _ in range(10):
        standings.answered(0, 0.1)
    assert standings.order() == [0, 1]


# ─── the right chain ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("R14")
async def test_an_endpoint_on_another_chain_is_never_asked_anything(world: World) -> None:
    world.scripts[0].answers["eth_chainId"] = "0x5"
    assert await world.pool.call("eth_chainId") == "0x1"
    await world.node.send(RAW)
    assert world.states()[0] is State.WRONG_CHAIN
    assert world.asked("eth_sendRawTransaction") == [0, 1]


@pytest.mark.fault("R15")
async def test_the_same_chain_id_with_another_genesis_is_another_chain(world: World) -> None:
    world.scripts[1].answers["eth_getBlockByNumber"] = block(number="0x0", hash=word(b"\x0b" * 32))
    await world.pool.look()
    assert world.states() == [State.ALIVE, State.WRONG_CHAIN]


@pytest.mark.fault("R14")
async def test_when_all_are_on_another_chain_that_is_said(world: World) -> None:
    for script in world.scripts:
        script.answers["eth_chainId"] = "0x5"
    with pytest.raises(WrongChain, match="than configured"):
        await world.pool.call("eth_chainId")
    with pytest.raises(WrongChain):
        await world.pool.call("eth_sendRawTransaction", "0x02")


@pytest.mark.fault("R14")
@streams
async def test_a_new_connection_has_to_show_its_chain_again(world: World) -> None:
    await world.pool.call("eth_chainId")
    world.scripts[0].answers["eth_chainId"] = "0x5"
    await world.servers[0].cut()
    while world.pool.rpcs[0].session == 1:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert await world.pool.call("eth_chainId") == "0x1"
    assert world.states() == [State.WRONG_CHAIN, State.ALIVE]


# ─── lag ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("R16")
async def test_an_endpoint_that_lags_is_not_asked_until_it_caught_up(world: World) -> None:
    world.scripts[0].answers["eth_getBlockByNumber"] = head(100 - BEHIND - 1)
    await world.pool.look()
    assert (world.states(), world.standings.order()) == ([State.LAGGING, State.ALIVE], [1, 0])
    world.scripts[0].answers["eth_getBlockByNumber"] = head(100 - BEHIND)
    await world.pool.look()
    assert world.states() == [State.ALIVE, State.ALIVE]


@pytest.mark.fault("R16", "R26")
@three
async def test_one_that_runs_ahead_alone_does_not_make_the_others_late(world: World) -> None:
    world.scripts[2].answers["eth_getBlockByNumber"] = head(10**6)
    await world.pool.look()
    assert world.states() == [State.ALIVE] * 3


async def test_watching_looks_every_so_often(world: World) -> None:
    watching = asyncio.create_task(world.pool.watch(world.clock, 5.0))
    for looks in (1, 2, 3):
        await world.clock.slept_on()
        assert world.asked("eth_chainId") == [looks, looks]
        await world.clock.advance(5.0)
    watching.cancel()


# ─── one connection after another ─────────────────────────────────────────────────────────────────


@streams
async def test_another_endpoint_is_another_session_and_ends_the_subscriptions_of_the_first(world: World) -> None:
    world.scripts[0].answers["eth_subscribe"] = "0x1"
    heads: list[Any] = []
    await world.pool.call("eth_chainId")
    await world.pool.subscribe("newHeads", heads.append)
    session = world.pool.session
    world.standings.failed(0, NodeUnavailable("slow"))
    await world.pool.call("eth_chainId")
    assert heads == [None]
    assert world.pool.session != session


# ─── transactions ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("R03", "R04", "R23")
async def test_a_transaction_goes_to_every_endpoint_once(world: World) -> None:
    assert (await world.node.send(RAW)).accepted
    await asyncio.gather(*world.pool._sending)
    assert world.asked("eth_sendRawTransaction") == [1, 1]


@pytest.mark.fault("R03", "R04")
@pytest.mark.parametrize("which", [0, 1])
async def test_one_that_takes_it_is_enough(world: World, which: int) -> None:
    world.servers[which].status = 500
    assert (await world.node.send(RAW)).accepted
    await asyncio.gather(*world.pool._sending)
    assert [len(server.requests) > 0 for server in world.servers] == [True, True]


WORDS = {
    "known": refusal(-32000, "already known"),
    "too low": refusal(-32000, "nonce too low"),
    "underpriced": refusal(-32000, "replacement transaction underpriced"),
    "odd": refusal(-32000, "the moon is full"),
    "never": refusal(-32000, "intrinsic gas too low"),
}


@pytest.mark.fault("R24", "R26")
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("known", "never", "already known"),
        ("too low", "odd", "nonce too low"),
        ("underpriced", "never", "replacement transaction underpriced"),
        ("odd", "never", "the moon is full"),
        ("never", "never", "intrinsic gas too low"),
    ],
)
async def test_of_two_refusals_the_more_telling_is_heard(
    world: World, one: str, other: str, told: str, swap: bool
) -> None:
    """ "Never valid" is believed only when every endpoint says so."""
    for script, words in zip(world.scripts, [other, one] if swap else [one, other], strict=True):
        script.answers["eth_sendRawTransaction"] = WORDS[words]
    assert (await world.node.send(RAW)).error == told


async def test_never_valid_by_one_and_silence_by_the_other_is_not_never(world: World) -> None:
    world.scripts[0].answers["eth_sendRawTransaction"] = WORDS["never"]
    world.servers[1].status = 500
    assert (await world.node.send(RAW)).error.startswith("transport: ")


async def test_a_transaction_goes_on_when_its_sender_was_cancelled(world: World) -> None:
    await world.pool.look()
    for server in world.servers:
        server.requests.clear()
    sending = asyncio.create_task(world.node.send(RAW))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.gather(*world.pool._sending)
    assert world.asked("eth_sendRawTransaction") == [1, 1]


@pytest.mark.fault("R18", "R19")
@pytest.mark.parametrize("counts", [("0x64", "0x3"), ("0x3", "0x64")])
async def test_of_two_counts_of_transactions_the_lower_is_believed(world: World, counts: tuple[str, str]) -> None:
    for script, count in zip(world.scripts, counts, strict=True):
        script.answers["eth_getTransactionCount"] = count
    assert await world.node.nonce(bytes(20)) == 3


async def test_one_witness_is_enough_when_the_other_is_silent(world: World) -> None:
    world.scripts[0].answers["eth_getTransactionCount"] = "0x3"
    world.scripts[1].answers["eth_getTransactionCount"] = refusal(-32601, "method not found")
    assert await world.node.nonce(bytes(20)) == 3

"""The harness itself: the proxy passes what it should, spoils what it is told to, and its pool has geth's rules."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keeper.chain.rpc import Rpc, connect
from keeper.errors import KeeperError, NodeUnavailable
from keeper.model import Call
from keeper.simulation.node import Anvil
from keeper.testing import faults
from keeper.testing.pool import DIALECTS, GethPool
from keeper.testing.proxy import Proxy, muted, twice
from keeper.testing.upstream import Upstream
from keeper.tx.keys import Key
from keeper.tx.signer import local_signer
from keeper.units import GWEI

pytestmark = pytest.mark.chain
DOORS = ("ipc", "ws", "http")


@pytest.fixture
async def anvil() -> AsyncIterator[Anvil]:
    async with Anvil(base_fee=GWEI) as node:
        yield node


@pytest.fixture
async def proxy(anvil: Anvil, tmp_path: Path) -> AsyncIterator[Proxy]:
    async with Proxy(anvil.ipc, tmp_path, GethPool()) as proxy, asyncio.timeout(30):
        yield proxy


@pytest.fixture(params=DOORS)
async def rpc(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[Rpc]:
    client = connect(str(getattr(proxy, request.param)))
    yield client
    await client.close()


async def test_what_is_asked_is_answered(rpc: Rpc, anvil: Anvil) -> None:
    anvil.mine()
    assert await rpc.call("eth_blockNumber") == "0x1"
    assert await rpc.batch([("eth_blockNumber", ()), ("eth_chainId", ())]) == ["0x1", "0x7a69"]


async def test_a_fault_holds_as_often_as_it_is_told_to(rpc: Rpc, proxy: Proxy) -> None:
    proxy.on("eth_chainId", faults.result("0x1"), skip=1, times=2)
    assert [await rpc.call("eth_chainId") for _ in range(4)] == ["0x7a69", "0x1", "0x1", "0x7a69"]
    assert proxy.calls["eth_chainId"] == 4


BROKEN = {
    "cut before": faults.cut_before(),
    "cut after": faults.cut_after(),
    "status": faults.refused(503),
    "silent": faults.silent(),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_is_a_node_that_is_not_there(rpc: Rpc, proxy: Proxy, fault: faults.Fault) -> None:
    proxy.on("eth_chainId", fault, times=1)
    with pytest.raises(NodeUnavailable):
        await rpc.call("eth_chainId", timeout=1.0 if fault is BROKEN["silent"] else 10.0)
    assert await rpc.call("eth_chainId") == "0x7a69"


@pytest.mark.parametrize("rpc", ["ipc", "ws"], indirect=True)
async def test_notifications_pass_double_or_vanish(rpc: Rpc, proxy: Proxy, anvil: Anvil) -> None:
    heads: list[Any] = []
    await rpc.subscribe("newHeads", heads.append)
    for pushes, count in ((proxy.pushes, 1), (twice, 3), (muted, 3)):
        proxy.pushes = pushes
        anvil.mine()
        while len(heads) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await rpc.call("eth_blockNumber")
        assert len(heads) == count


async def test_a_frozen_node_knows_nothing_newer(rpc: Rpc, proxy: Proxy, anvil: Anvil) -> None:
    anvil.mine()
    await proxy.freeze()
    anvil.mine()
    assert await rpc.call("eth_blockNumber") == "0x1"
    assert (await rpc.call("eth_getBlockByNumber", "latest", False))["number"] == "0x1"
    assert await rpc.call("eth_getBlockByNumber", "0x2", False) is None
    proxy.behave()
    assert await rpc.call("eth_blockNumber") == "0x2"


async def test_who_left_is_gone_and_who_returns_is_there(rpc: Rpc, proxy: Proxy) -> None:
    await rpc.call("eth_chainId")
    await proxy.leave()
    with pytest.raises(NodeUnavailable):
        await rpc.call("eth_chainId")
    await proxy.return_()
    assert await rpc.call("eth_chainId") == "0x7a69"


# ─── the pool ─────────────────────────────────────────────────────────────────────────────────────


class Sender:
    """Signs and sends, and says what the node said; empty when it took it."""

    def __init__(self, proxy: Proxy, anvil: Anvil) -> None:
        self.signer = local_signer(Key(secrets.token_bytes(32)), 31337)
        anvil.set_balance(self.signer.address, 10**18)
        self.rpc = connect(proxy.http)
        self.address = "0x" + self.signer.address.hex()

    async def __call__(self, nonce: int, cap: int, tip: int, gas: int = 21_000, data: bytes = b"") -> str:
        raw, _ = self.signer.sign(nonce, Call(b"\x07" * 20, data, 1), gas, cap, tip, 31337)
        try:
            await self.rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        except KeeperError as refusal:
            return str(refusal)
        return ""

    async def mined(self) -> int:
        return int(await self.rpc.call("eth_getTransactionCount", self.address, "latest"), 16)


@pytest.fixture
async def send(proxy: Proxy, anvil: Anvil) -> AsyncIterator[Sender]:
    sender = Sender(proxy, anvil)
    yield sender
    await sender.rpc.close()


@pytest.mark.parametrize(
    ("cap", "tip", "taken"),
    [(1100, 110, True), (1099, 110, False), (1100, 109, False), (2000, 100, False), (1000, 200, False)],
)
async def test_a_replacement_pays_a_tenth_more_of_both(send: Sender, cap: int, tip: int, taken: bool) -> None:
    assert await send(0, 1000 * GWEI, 100 * GWEI) == ""
    said = await send(0, cap * GWEI, tip * GWEI)
    assert ("underpriced" not in said) is taken


async def test_the_same_again_is_known_and_what_is_mined_is_too_low(send: Sender, anvil: Anvil) -> None:
    await send(0, 2 * GWEI, GWEI)
    assert "already known" in await send(0, 2 * GWEI, GWEI)
    anvil.mine()
    assert "nonce too low: next nonce 1, tx nonce 0" in await send(0, 2 * GWEI, GWEI)


async def test_a_cap_below_the_base_fee_waits_and_is_mined_later(send: Sender, proxy: Proxy, anvil: Anvil) -> None:
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", 10 * GWEI)
    assert await send(0, 2 * GWEI, GWEI) == ""
    anvil.mine()
    assert await send.mined() == 0
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", GWEI)
    await offered(proxy)
    anvil.mine()
    assert await send.mined() == 1


async def test_a_reorg_returns_it_to_the_pool(send: Sender, proxy: Proxy, anvil: Anvil) -> None:
    await send(0, 3 * GWEI, GWEI)
    anvil.mine()
    anvil.rpc("anvil_reorg", 1, [])
    assert await send.mined() == 0
    await offered(proxy)
    anvil.mine()
    assert await send.mined() == 1


async def test_what_no_pool_takes_is_refused(send: Sender, anvil: Anvil) -> None:
    assert "intrinsic gas too low" in await send(0, 2 * GWEI, GWEI, data=b"\1")
    assert "gas limit too high" in await send(0, 2 * GWEI, GWEI, gas=2**24 + 1)
    assert "higher than max fee" in await send(0, GWEI, 2 * GWEI)
    assert "insufficient funds" in await send(0, 40_000 * GWEI, GWEI, gas=25_000)
    assert "exceeds the configured cap" in await send(0, 100_000 * GWEI, GWEI)


async def test_what_is_queued_counts_against_the_balance(send: Sender) -> None:
    assert await send(0, 30_000 * GWEI, GWEI) == ""
    assert "queued cost" in await send(1, 30_000 * GWEI, GWEI)


async def test_a_delegated_sender_has_one_in_flight(send: Sender, anvil: Anvil) -> None:
    anvil.rpc("anvil_setCode", send.address, "0xef0100" + "11" * 20)
    assert await send(0, 2 * GWEI, GWEI) == ""
    assert "in-flight transaction limit" in await send(1, 2 * GWEI, GWEI)


async def test_other_clients_have_other_words(send: Sender, proxy: Proxy) -> None:
    proxy.pool = GethPool(DIALECTS["nethermind"])
    await send(0, 2 * GWEI, GWEI)
    assert "AlreadyKnown" in await send(0, 2 * GWEI, GWEI)


async def offered(proxy: Proxy) -> None:
    node = await Upstream(proxy.upstream).open()
    assert isinstance(proxy.pool, GethPool)
    await proxy.pool.offer(node)
    node.close()

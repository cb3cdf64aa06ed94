"""The follower against a real Anvil, over each transport: heads, logs, reorgs, silent regress, death."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from keeper.chain.follower import Follower, Limits
from keeper.chain.node import Node
from keeper.clock import SystemClock
from keeper.errors import ChainLost, WrongChain
from keeper.model import Address, BlockBatch, BlockRef, ChainEvent, Interests, LogFilter, Read, Rollback
from tests.chain.node_anvil import LOGGER, MOMENT, TRANSPORTS, Anvil

pytestmark = pytest.mark.chain

QUICK = Limits(poll=0.05, regress=0.2, patience=0.5, backoff=0.1)


@pytest.fixture
async def anvil() -> AsyncIterator[Anvil]:
    async with asyncio.timeout(60), Anvil() as running:
        yield running


@dataclass
class Followed:
    """A follower and what it is interested in."""

    node: Node
    limits: Limits = QUICK
    interests: list[Interests] = field(default_factory=list)

    def start(self, at: int) -> None:
        self.events = Follower(self.node, lambda: self.interests, SystemClock(), self.limits).events(at)

    async def take(self, count: int) -> list[ChainEvent]:
        return [await anext(self.events) for _ in range(count)]

    async def batches(self, count: int) -> list[BlockBatch]:
        events = await self.take(count)
        assert all(isinstance(event, BlockBatch) for event in events), events
        return [event for event in events if isinstance(event, BlockBatch)]


@pytest.fixture(params=TRANSPORTS)
async def followed(anvil: Anvil, request: pytest.FixtureRequest) -> AsyncIterator[Followed]:
    rpc = anvil.connect(request.param)
    yield Followed(Node(rpc))
    await rpc.close()


async def begin(anvil: Anvil, followed: Followed) -> tuple[Address, BlockRef]:
    """A logger that emits, a contract that is read, a few blocks, and a follower that has seen them all."""
    logger, moment = await anvil.deploy(LOGGER), await anvil.deploy(MOMENT)
    for _ in range(4):
        head = await anvil.mine(logger)
    followed.interests = [Interests((LogFilter(logger),), (Read("moment", moment, b""),))]
    followed.start(head.number)
    (batch,) = await followed.batches(1)
    assert batch.ref == head
    return logger, head


def numbers(events: Sequence[ChainEvent]) -> list[int]:
    return [event.ref.number for event in events if isinstance(event, BlockBatch)]


async def test_each_head_brings_its_logs_and_reads(anvil: Anvil, followed: Followed) -> None:
    logger, _ = await begin(anvil, followed)
    for calls in (0, 2, 1):
        head = await anvil.mine(*[logger] * calls)
        (batch,) = await followed.batches(1)
        assert (batch.ref, len(batch.logs)) == (head, calls)
        assert int.from_bytes(batch.reads["moment"][32:64], "big") == head.number


@pytest.mark.fault("S13")
async def test_a_reorg_of_three_blocks(anvil: Anvil, followed: Followed) -> None:
    _, head = await begin(anvil, followed)
    await anvil.do("anvil_mine", "0x3")
    await followed.batches(3)
    await anvil.do("anvil_reorg", 3, [])
    rollback, *new = await followed.take(4)
    assert rollback == Rollback(head)
    assert [event.ref.hash for event in new if isinstance(event, BlockBatch)] == [
        await anvil.hash(head.number + above) for above in (1, 2, 3)
    ]


@pytest.mark.fault("S18")
async def test_a_silent_rollback(anvil: Anvil, followed: Followed) -> None:
    _, head = await begin(anvil, followed)
    await anvil.do("anvil_mine", "0x2")
    await followed.batches(2)
    await anvil.do("anvil_rollback", 2)
    assert await followed.take(1) == [Rollback(head)]


async def test_a_snapshot_that_is_reverted_to_and_built_upon(anvil: Anvil, followed: Followed) -> None:
    _, head = await begin(anvil, followed)
    snapshot = await anvil.do("evm_snapshot")
    await anvil.do("anvil_mine", "0x3")
    await followed.batches(3)
    await anvil.do("evm_revert", snapshot)
    await anvil.do("anvil_mine", "0x5", "0x3c")
    rollback, *new = await followed.take(6)
    assert (rollback, numbers(new)) == (Rollback(head), [head.number + above for above in range(1, 6)])


@pytest.mark.fault("S09")
async def test_a_burst_of_blocks_skips_none(anvil: Anvil, followed: Followed) -> None:
    followed.limits = Limits(poll=0.05, depth=1_000)
    _, head = await begin(anvil, followed)
    await anvil.do("anvil_mine", hex(150))
    assert numbers(await followed.batches(150)) == list(range(head.number + 1, head.number + 151))


async def test_catching_up_folds_blocks_without_logs(anvil: Anvil, followed: Followed) -> None:
    logger = await anvil.deploy(LOGGER)
    await anvil.do("anvil_mine", "0x5")
    first = await anvil.mine(logger)
    await anvil.do("anvil_mine", "0x14")
    followed.interests = [Interests((LogFilter(logger),))]
    followed.limits = Limits(poll=0.05, depth=4)
    followed.start(0)
    near = [None] * 4
    batches = await followed.batches(6)
    assert [batch.first for batch in batches] == [0, first.number + 1, *near]
    assert [len(batch.logs) for batch in batches] == [1, 0, 0, 0, 0, 0]
    assert batches[-1].ref == await anvil.head()


async def test_a_killed_node_is_lost_in_the_end(anvil: Anvil, followed: Followed) -> None:
    await begin(anvil, followed)
    await anvil.kill()
    with capture_logs() as lines, pytest.raises(ChainLost) as caught:
        await followed.take(1)
    assert not isinstance(caught.value, WrongChain)
    assert [line["event"] for line in lines] == ["rpc.lost"]


@pytest.mark.fault("R14")
async def test_a_node_whose_chain_id_changes_is_left_when_it_is_dialled_again(anvil: Anvil, followed: Followed) -> None:
    await begin(anvil, followed)
    await anvil.do("anvil_setChainId", 5)
    await followed.node.reset()
    with pytest.raises(WrongChain):
        await followed.take(1)


@pytest.mark.fault("R15")
@pytest.mark.parametrize("followed", ["ws", "http"], indirect=True)
async def test_another_chain_at_the_same_address_is_not_followed(anvil: Anvil, followed: Followed) -> None:
    followed.limits = replace(QUICK, patience=30.0)
    await begin(anvil, followed)
    await anvil.kill()
    async with Anvil("--timestamp", "1000", port=anvil.port):
        with pytest.raises(WrongChain):
            await followed.take(1)


@pytest.mark.fault("S01")
async def test_a_lost_connection_costs_no_block(anvil: Anvil, followed: Followed) -> None:
    _, head = await begin(anvil, followed)
    await followed.node.reset()
    await anvil.do("anvil_mine", "0x3")
    assert numbers(await followed.batches(3)) == [head.number + above for above in (1, 2, 3)]
    await anvil.mine()
    assert numbers(await followed.batches(1)) == [head.number + 4]

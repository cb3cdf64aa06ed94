"""The node client against a real Anvil, over each transport."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from eth_account import Account

from keeper.chain.codec import Header
from keeper.chain.node import Node
from keeper.errors import NodeUnavailable, StaleRead
from keeper.model import Call, LogFilter, Moment, Read
from tests.chain.node_anvil import LOGGER, MOMENT, REVERTER, TOPIC, TRANSPORTS, Anvil

pytestmark = pytest.mark.chain

NOBODY = bytes(20)
TEST_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # Anvil's first account, known to all


@pytest.fixture
async def anvil() -> AsyncIterator[Anvil]:
    async with asyncio.timeout(60), Anvil() as running:
        yield running


@pytest.fixture(params=TRANSPORTS)
async def node(anvil: Anvil, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    rpc = anvil.connect(request.param)
    yield Node(rpc)
    await rpc.close()


async def test_chain_id_and_genesis(anvil: Anvil, node: Node) -> None:
    assert await node.identity() == (31337, await anvil.hash(0))


async def test_logs_of_a_block_and_of_a_range(anvil: Anvil, node: Node) -> None:
    logger = await anvil.deploy(LOGGER)
    await anvil.mine()
    head = await anvil.mine(logger, logger)
    logs = await node.logs((LogFilter(logger, (TOPIC,)),), head.hash)
    assert [(log.address, log.topics, log.data, log.index) for log in logs] == [
        (logger, (TOPIC,), bytes(32), index) for index in (0, 1)
    ]
    ranged = await node.logs_range((LogFilter(logger),), 0, head.number)
    assert [(each.number, each.block, each.logs) for each in ranged] == [(head.number, head.hash, logs)]


async def test_logs_and_reads_of_a_block_of_the_past(anvil: Anvil, node: Node) -> None:
    logger, moment = await anvil.deploy(LOGGER), await anvil.deploy(MOMENT)
    reads = (Read("moment", moment, b""), Read("reverts", await anvil.deploy(REVERTER), b""))
    past = await anvil.mine(logger)
    await anvil.mine()
    contents = await node.contents(await node.header(past.hash), (LogFilter(logger),), reads)
    assert [log.address for log in contents.logs] == [logger]
    assert words(contents.reads["moment"]) == [past.timestamp, past.number, past.base_fee]
    assert contents.reads["reverts"] == b""


async def test_the_logs_of_a_real_block_fit_its_bloom(anvil: Anvil, node: Node) -> None:
    logger = await anvil.deploy(LOGGER)
    head = await anvil.mine(logger)
    absent = tuple(LogFilter(bytes([number]) * 20) for number in range(200))
    assert len((await node.contents(await node.header(head.hash), (LogFilter(logger), *absent), ())).logs) == 1


async def test_a_missing_log_is_seen_in_the_bloom_of_a_real_block(anvil: Anvil, node: Node) -> None:
    logger = await anvil.deploy(LOGGER)
    full, empty = await anvil.mine(logger), await anvil.mine()
    forged = Header((await node.header(empty.hash)).ref, (await node.header(full.hash)).bloom)
    with pytest.raises(StaleRead):
        await node.contents(forged, (LogFilter(logger),), ())


async def test_a_call_at_a_moment_runs_at_that_moment(anvil: Anvil, node: Node) -> None:
    moment = await anvil.deploy(MOMENT)
    head = await anvil.head()
    then = Moment(head.number + 5, head.timestamp + 60, 123)
    for block in (head.hash, None):
        answer = await node.call(Call(moment, b""), NOBODY, block, at=then)
        assert words(answer.data) == [then.timestamp, then.number, then.base_fee]


async def test_a_call_without_a_block_runs_in_the_next_one(anvil: Anvil, node: Node) -> None:
    moment = await anvil.deploy(MOMENT)
    answer = await node.call(Call(moment, b""), NOBODY, None)
    assert words(answer.data)[1] == (await anvil.head()).number + 1


async def test_a_revert_is_a_result_with_its_data(anvil: Anvil, node: Node) -> None:
    reverter = await anvil.deploy(REVERTER)
    answer = await node.call(Call(reverter, b""), NOBODY, (await anvil.head()).hash)
    assert (answer.ok, answer.data) == (False, (0xAA).to_bytes(32, "big"))


async def test_what_hangs_on_a_dead_block_is_a_stale_read(anvil: Anvil, node: Node) -> None:
    logger = await anvil.deploy(LOGGER)
    dead = await node.header((await anvil.mine(logger)).hash)
    await anvil.do("anvil_reorg", 1, [])
    with pytest.raises(StaleRead):
        await node.header(dead.ref.hash)
    with pytest.raises(StaleRead):
        await node.contents(dead, (LogFilter(logger),), ())
    with pytest.raises(StaleRead):
        await node.contents(dead, (), (Read("r", logger, b""),))
    with pytest.raises(StaleRead):
        await node.call(Call(logger, b""), NOBODY, dead.ref.hash)


async def test_a_transaction_from_sending_to_receipt(anvil: Anvil, node: Node) -> None:
    raw = sign(0)
    assert (await node.send(raw.raw)).accepted
    assert (await node.send(raw.raw)).error == "transaction already imported"
    assert await node.receipt(raw.hash) is None
    head = await anvil.mine()
    receipt = await node.receipt(raw.hash)
    assert receipt is not None
    assert (receipt.block, receipt.ok, receipt.gas_used) == (head, True, 21_000)
    assert (await node.send(raw.raw)).error == "nonce too low"


async def test_nonsense_is_refused_and_not_raised(anvil: Anvil, node: Node) -> None:
    answer = await node.send(b"\x02nonsense")
    assert (answer.accepted, "decode" in answer.error) == (False, True)


async def test_accounts_and_fees(anvil: Anvil, node: Node) -> None:
    sender = bytes.fromhex(anvil.sender[2:])
    logger = await anvil.deploy(LOGGER)
    assert (await node.nonce(sender), await node.code(logger)) == (1, bytes.fromhex(LOGGER))
    assert 0 < await node.balance(sender) < 10_000 * 10**18
    fees = await node.fee_history(2, [50])
    assert (len(fees.base_fees), len(fees.rewards)) == (3, 2)
    assert fees.base_fees[1] == (await anvil.head()).base_fee


async def test_a_killed_node_is_not_there(anvil: Anvil, node: Node) -> None:
    await node.chain_id()
    await anvil.kill()
    with pytest.raises(NodeUnavailable):
        await node.chain_id()


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 32], "big") for at in range(0, len(data), 32)]


class Signed:
    def __init__(self, raw: bytes, tx_hash: bytes) -> None:
        self.raw, self.hash = raw, tx_hash


def sign(nonce: int) -> Signed:
    fields = {
        "to": "0x" + "11" * 20,
        "value": 1,
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 10**9,
        "nonce": nonce,
        "chainId": 31337,
    }
    signed = Account.sign_transaction(fields, TEST_KEY)
    return Signed(bytes(signed.raw_transaction), bytes(signed.hash))

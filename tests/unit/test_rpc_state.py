"""Calls, receipts, accounts and sends: what the node says, and what we make of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from keeper.chain.node import FeeHistory, Node, Simulated
from keeper.chain.rpc import RpcError, connect
from keeper.errors import NodeUnavailable
from keeper.model import Call, Moment
from tests.unit.node_script import (
    BLOCK,
    PARENT,
    POOL,
    RAW,
    REF,
    SENDER,
    TX,
    Script,
    block,
    refusal,
    word,
)
from tests.unit.rpc_server import Server


@pytest.fixture
async def script(tmp_path: Path) -> AsyncIterator[Script]:
    server = await Server("ipc", tmp_path).start()
    yield Script(server)
    await server.stop()


@pytest.fixture
async def node(script: Script) -> AsyncIterator[Node]:
    rpc = connect(script.server.url)
    yield Node(rpc)
    await rpc.close()


# ── ports.StateReader ──

CALL = Call(POOL, b"\x50")


async def test_a_call_without_a_block_is_of_the_pending_one(script: Script, node: Node) -> None:
    script.answers["eth_call"] = "0x2a"
    assert await node.call(CALL, SENDER, None) == Simulated(True, b"\x2a")
    assert script.asked[0][1] == [{"to": word(POOL), "data": "0x50", "from": word(SENDER)}, "pending"]


async def test_a_call_at_a_moment_overrides_the_block(script: Script, node: Node) -> None:
    script.answers["eth_call"] = "0x"
    await node.call(CALL, SENDER, BLOCK, at=Moment(8, 113, 10))
    assert script.asked[0][1][1:] == [
        {"blockHash": word(BLOCK)},
        {},
        {"number": "0x8", "time": "0x71", "baseFeePerGas": "0xa"},
    ]


async def test_value_is_sent_along(script: Script, node: Node) -> None:
    script.answers["eth_call"] = "0x"
    await node.call(Call(POOL, b"", value=5), SENDER, None)
    assert script.asked[0][1][0]["value"] == "0x5"


@pytest.mark.parametrize(
    "answer",
    [
        refusal(3, "execution reverted", b"\xde\xad"),
        refusal(-32000, "execution reverted: boom", b"\xde\xad"),
        refusal(-32603, "EVM error InvalidFEOpcode", b"\xde\xad"),
        refusal(-32003, "Out of gas: gas required exceeds allowance: 30000000", b"\xde\xad"),
        refusal(-32015, "VM execution error.", b"\xde\xad"),
    ],
    ids=lambda answer: answer.message,
)
async def test_a_call_that_fails_is_a_result(script: Script, node: Node, answer: RpcError) -> None:
    script.answers["eth_call"] = answer
    assert await node.call(CALL, SENDER, BLOCK) == Simulated(False, b"\xde\xad")


def receipt(**changes: Any) -> dict[str, Any]:
    fields = {
        "transactionHash": word(TX),
        "blockHash": word(BLOCK),
        "status": "0x1",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x3",
    }
    return fields | changes


async def test_a_receipt_names_its_block_in_full(script: Script, node: Node) -> None:
    script.answers |= {"eth_getTransactionReceipt": receipt(), "eth_getBlockByHash": block()}
    found = await node.receipt(TX)
    assert found is not None
    assert (found.block, found.ok, found.fee) == (REF, True, 63_000)


@pytest.mark.parametrize("answer", [None, receipt(blockHash=None)], ids=["unknown", "pending"])
async def test_no_block_no_receipt(script: Script, node: Node, answer: Any) -> None:
    script.answers["eth_getTransactionReceipt"] = answer
    assert await node.receipt(TX) is None


@pytest.mark.fault("R13", "T36")
@pytest.mark.parametrize("field", ["transactionHash", "status", "gasUsed", "effectiveGasPrice"])
@pytest.mark.parametrize("bad", [None, "0xzz", 1], ids=repr)
async def test_a_malformed_receipt_is_no_answer(script: Script, node: Node, field: str, bad: Any) -> None:
    script.answers |= {"eth_getTransactionReceipt": receipt(**{field: bad}), "eth_getBlockByHash": block()}
    with pytest.raises(NodeUnavailable, match=rf"receipt\.{field}"):
        await node.receipt(TX)


@pytest.mark.fault("S28", "R39")
async def test_a_receipt_that_the_journal_could_not_hold_is_no_answer(script: Script, node: Node) -> None:
    for field, bits in (("gasUsed", 63), ("effectiveGasPrice", 127)):
        for most, good in ((2**bits - 1, True), (2**bits, False)):
            answer = receipt(**{field: hex(most)})
            script.answers |= {"eth_getTransactionReceipt": answer, "eth_getBlockByHash": block()}
            if good:
                assert await node.receipt(TX) is not None
            else:
                with pytest.raises(NodeUnavailable, match=rf"receipt\.{field}"):
                    await node.receipt(TX)


@pytest.mark.fault("R22")
async def test_the_receipt_of_another_transaction_is_no_answer(script: Script, node: Node) -> None:
    script.answers["eth_getTransactionReceipt"] = receipt(transactionHash=word(PARENT))
    with pytest.raises(NodeUnavailable):
        await node.receipt(TX)


async def test_nonce_balance_and_code_are_of_the_latest_block(script: Script, node: Node) -> None:
    script.answers |= {"eth_getTransactionCount": "0x5", "eth_getBalance": "0x6", "eth_getCode": "0x60"}
    assert [await node.nonce(POOL), await node.balance(POOL), await node.code(POOL)] == [5, 6, b"\x60"]
    assert {params[1] for _, params in script.asked} == {"latest"}


@pytest.mark.fault("R12")
@pytest.mark.parametrize("bad", [None, 5, "5", "0x" + "f" * 65], ids=repr)
async def test_a_nonce_that_is_no_number_is_no_answer(script: Script, node: Node, bad: Any) -> None:
    script.answers["eth_getTransactionCount"] = bad
    with pytest.raises(NodeUnavailable, match="eth_getTransactionCount"):
        await node.nonce(POOL)


async def test_fees_come_with_the_next_base_fee(script: Script, node: Node) -> None:
    script.answers["eth_feeHistory"] = {
        "baseFeePerGas": ["0x1", "0x2"],
        "reward": [["0x3", "0x4"]],
        "oldestBlock": "0x1",
    }
    assert await node.fee_history(1, (10, 50)) == FeeHistory((1, 2), ((3, 4),))


# ── ports.Executor ──


async def test_an_accepted_transaction(script: Script, node: Node) -> None:
    script.answers["eth_sendRawTransaction"] = word(keccak(RAW))
    assert (await node.send(RAW)).accepted


async def test_a_refused_transaction_is_in_lower_case_and_not_raised(script: Script, node: Node) -> None:
    script.answers["eth_sendRawTransaction"] = refusal(-32003, "Insufficient funds for gas * price + value")
    answer = await node.send(RAW)
    assert (answer.accepted, answer.error) == (False, "insufficient funds for gas * price + value")


@pytest.mark.fault("R25")
@pytest.mark.parametrize("bad", [None, "0x", word(TX), {}, 5], ids=repr)
async def test_an_answer_that_is_not_the_hash_says_nothing(script: Script, node: Node, bad: Any) -> None:
    script.answers["eth_sendRawTransaction"] = bad
    answer = await node.send(RAW)
    assert (answer.accepted, answer.error[:11]) == (False, "transport: ")


async def test_a_rate_limit_says_nothing_about_the_transaction(script: Script, node: Node) -> None:
    script.answers["eth_sendRawTransaction"] = refusal(429, "too many requests")
    assert (await node.send(RAW)).error.startswith("transport: ")


@pytest.mark.fault("R03", "R07")
async def test_a_connection_lost_after_sending_says_nothing_and_nothing_is_repeated(script: Script, node: Node) -> None:
    def hang_up(_raw: str) -> None:
        raise ConnectionError

    script.answers["eth_sendRawTransaction"] = hang_up
    answer = await node.send(RAW)
    assert (answer.accepted, answer.error[:11]) == (False, "transport: ")
    assert len(script.asked) == 1

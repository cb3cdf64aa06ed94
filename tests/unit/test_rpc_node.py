"""How far a node is believed: what it says is checked field by field, and against the header."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from keeper.chain import bloom, codec
from keeper.chain.node import FeeHistory, Node, Simulated
from keeper.chain.rpc import RpcError, connect
from keeper.errors import NodeUnavailable, StaleRead
from keeper.model import BlockRef, Call, Log, LogFilter, Moment, Read
from tests.unit.rpc_server import Server, error, result

POOL, OTHER, SENDER = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20
TOPIC, WHO = b"\x0a" * 32, b"\x0b" * 32
BLOCK, PARENT, TX = b"\x10" * 32, b"\x0f" * 32, b"\x20" * 32
LOG = Log(POOL, (TOPIC, WHO), b"\x05", TX, 1)
FOREIGN = Log(OTHER, (TOPIC,), b"", TX, 0)
RAW = b"\x02signed"


def word(data: bytes) -> str:
    return "0x" + data.hex()


def block(logs: tuple[Log, ...] = (), **changes: Any) -> dict[str, Any]:
    fields = {
        "number": "0x7",
        "hash": word(BLOCK),
        "parentHash": word(PARENT),
        "timestamp": "0x65",
        "baseFeePerGas": "0x9",
        "gasUsed": "0x5208",
        "gasLimit": "0x1c9c380",
        "logsBloom": word(bloom.of(logs).to_bytes(256, "big")),
    }
    return fields | changes


def on_wire(log: Log, number: int = 7, **changes: Any) -> dict[str, Any]:
    fields = {
        "address": word(log.address),
        "topics": [word(topic) for topic in log.topics],
        "data": word(log.data),
        "transactionHash": word(log.tx_hash),
        "logIndex": hex(log.index),
        "blockNumber": hex(number),
        "blockHash": word(BLOCK),
        "removed": False,
    }
    return fields | changes


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


class Script:
    """A server that answers by method: with a result, with an error to raise, or with a function of the parameters."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: dict[str, Any] = {}
        server.reply = self.reply

    @property
    def asked(self) -> list[tuple[str, Any]]:
        flat = [
            each for request in self.server.requests for each in (request if isinstance(request, list) else [request])
        ]
        return [(each["method"], each["params"]) for each in flat]

    def reply(self, request: Any) -> bytes:
        if isinstance(request, list):
            return b"[" + b",".join(map(self.reply, request)) + b"]"
        answer = self.answers[request["method"]]
        answer = answer(*request["params"]) if callable(answer) else answer
        if isinstance(answer, RpcError):
            return error(request, answer.number, answer.message, data=word(answer.data))
        return result(request, answer)


def refusal(number: int, message: str, data: bytes = b"") -> RpcError:
    return RpcError("", number, message, data)


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


# ── blocks ──

REF = BlockRef(7, BLOCK, PARENT, 101, 9, 21_000, 30_000_000)


async def test_a_block_is_read_field_by_field(script: Script, node: Node) -> None:
    script.answers["eth_getBlockByNumber"] = block()
    assert await node.block("latest") == REF


@pytest.mark.parametrize(
    ("at", "method", "place"),
    [
        (7, "eth_getBlockByNumber", "0x7"),
        ("safe", "eth_getBlockByNumber", "safe"),
        (BLOCK, "eth_getBlockByHash", word(BLOCK)),
    ],
    ids=["number", "tag", "hash"],
)
async def test_a_block_is_asked_for_by_number_tag_or_hash(
    script: Script, node: Node, at: Any, method: str, place: str
) -> None:
    script.answers[method] = block()
    await node.block(at)
    assert script.asked == [(method, [place, False])]


async def test_before_eip_1559_the_base_fee_is_nothing(script: Script, node: Node) -> None:
    script.answers["eth_getBlockByNumber"] = without(block(), "baseFeePerGas")
    assert (await node.block(7)).base_fee == 0


@pytest.mark.parametrize("field", sorted(block()))
@pytest.mark.parametrize("bad", [None, 7, "7", "0x", "-0x7", "0xzz", [], {}, "0x" + "f" * 65], ids=repr)
def test_a_malformed_field_of_a_block_is_named(field: str, bad: Any) -> None:
    with pytest.raises(NodeUnavailable, match=rf"block\.{field}"):
        codec.header(block() | {field: bad})


@pytest.mark.parametrize("field", sorted(set(block()) - {"baseFeePerGas"}))
def test_a_missing_field_of_a_block_is_named(field: str) -> None:
    with pytest.raises(NodeUnavailable, match=rf"block\.{field}"):
        codec.header(without(block(), field))


@pytest.mark.parametrize("field", sorted(set(on_wire(LOG)) - {"removed"}))
@pytest.mark.parametrize("bad", [None, 7, "7", "0xz", {}, [7]], ids=repr)
def test_a_malformed_field_of_a_log_is_named(field: str, bad: Any) -> None:
    with pytest.raises(NodeUnavailable, match=rf"log\.{field}"):
        codec.placed_log(on_wire(LOG) | {field: bad})


def test_a_log_that_was_removed_is_none() -> None:
    with pytest.raises(NodeUnavailable, match=r"log\.removed"):
        codec.placed_log(on_wire(LOG, removed=True))


@given(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers()), st.dictionaries(st.text(), st.text())))
def test_no_answer_whatever_raises_anything_but_our_errors(answer: Any) -> None:
    for parse in (codec.header, codec.placed_log, lambda value: codec.quantity(value, "n")):
        try:
            parse(answer)
        except NodeUnavailable:
            continue
        assert isinstance(answer, str)


async def test_a_block_that_the_node_does_not_have_is_a_stale_read(script: Script, node: Node) -> None:
    script.answers["eth_getBlockByHash"] = None
    with pytest.raises(StaleRead):
        await node.block(BLOCK)


@pytest.mark.parametrize("at", [8, PARENT], ids=["number", "hash"])
async def test_another_block_than_asked_for_is_no_answer(script: Script, node: Node, at: Any) -> None:
    script.answers |= {"eth_getBlockByNumber": block(), "eth_getBlockByHash": block()}
    with pytest.raises(NodeUnavailable, match="another block"):
        await node.block(at)


async def test_the_chain_is_named_by_id_and_genesis(script: Script, node: Node) -> None:
    script.answers |= {"eth_chainId": "0x7a69", "eth_getBlockByNumber": block(number="0x0")}
    assert (await node.chain_id(), await node.genesis_hash()) == (31337, BLOCK)


@pytest.mark.parametrize("bad", [None, 1, "1", "0x-1", {}], ids=repr)
async def test_a_chain_id_that_is_no_number_is_no_answer(script: Script, node: Node, bad: Any) -> None:
    script.answers |= {"eth_chainId": bad, "eth_getBlockByNumber": block(number="0x0")}
    with pytest.raises(NodeUnavailable, match="eth_chainId"):
        await node.identity()


# ── logs and reads of a block ──

WANTED = (LogFilter(POOL),)


def header(*logs: Log) -> codec.Header:
    return codec.header(block(logs))


async def test_logs_and_reads_of_a_block_are_one_request(script: Script, node: Node) -> None:
    script.answers |= {"eth_getLogs": [on_wire(LOG)], "eth_call": "0x2a"}
    contents = await node.contents(header(LOG), WANTED, (Read("price", POOL, b"\x50"),))
    assert contents == ((LOG,), {"price": b"\x2a"})
    assert len(script.server.requests) == 1
    assert [params[-1].get("blockHash") for _, params in script.asked] == [word(BLOCK)] * 2


async def test_a_block_of_no_interest_is_not_asked_about(script: Script, node: Node) -> None:
    assert await node.contents(header(LOG), (), ()) == ((), {})
    assert script.asked == []


async def test_filters_with_the_same_topics_share_a_query(script: Script, node: Node) -> None:
    script.answers["eth_getLogs"] = []
    await node.contents(header(), (LogFilter(POOL), LogFilter(OTHER), LogFilter(POOL, (None, WHO))), ())
    queries = [(params[0]["address"], params[0]["topics"]) for _, params in script.asked]
    assert queries == [([word(POOL), word(OTHER)], []), ([word(POOL)], [None, word(WHO)])]


async def test_a_log_found_by_two_queries_comes_once_and_in_block_order(script: Script, node: Node) -> None:
    script.answers["eth_getLogs"] = [on_wire(LOG), on_wire(FOREIGN)]
    wanted = (LogFilter(POOL), LogFilter(OTHER), LogFilter(POOL, (TOPIC,)))
    assert (await node.contents(header(LOG, FOREIGN), wanted, ())).logs == (FOREIGN, LOG)


async def test_logs_that_the_bloom_promises_and_that_do_not_come_are_a_stale_read(script: Script, node: Node) -> None:
    script.answers["eth_getLogs"] = []
    with pytest.raises(StaleRead, match="without some of its logs"):
        await node.contents(header(LOG), WANTED, ())


async def test_logs_that_come_only_when_all_are_asked_for_are_a_stale_read(script: Script, node: Node) -> None:
    script.answers["eth_getLogs"] = lambda query: [] if "address" in query else [on_wire(LOG)]
    with pytest.raises(StaleRead, match="without some of its logs"):
        await node.contents(header(LOG), WANTED, ())


async def test_a_promise_that_another_log_explains_is_none(script: Script, node: Node) -> None:
    """The bloom admits the pool by accident: its bits are those of other addresses."""
    twins = [Log(address, (), b"", TX, index) for index, address in enumerate(cover(bloom.bits(POOL)))]
    script.answers["eth_getLogs"] = lambda query: [] if "address" in query else [on_wire(twin) for twin in twins]
    assert bloom.admits(header(*twins).bloom, WANTED[0])
    assert await node.contents(header(*twins), WANTED, ()) == ((), {})


def cover(mask: int) -> list[bytes]:
    """Addresses whose bits together hold ``mask``."""
    found: list[bytes] = []
    for number in range(2**16):
        address = number.to_bytes(20, "big")
        if bloom.bits(address) & mask:
            found.append(address)
            mask &= ~bloom.bits(address)
    return found


async def test_logs_that_the_bloom_denies_are_a_stale_read(script: Script, node: Node) -> None:
    script.answers["eth_getLogs"] = [on_wire(LOG)]
    with pytest.raises(StaleRead, match="denies"):
        await node.contents(header(), WANTED, ())


async def test_logs_of_another_block_are_no_answer(script: Script, node: Node) -> None:
    script.answers["eth_getLogs"] = [on_wire(LOG, blockHash=word(PARENT))]
    with pytest.raises(NodeUnavailable, match=r"log\.blockHash"):
        await node.contents(header(LOG), WANTED, ())


async def test_a_read_that_reverts_is_empty(script: Script, node: Node) -> None:
    script.answers["eth_call"] = refusal(3, "execution reverted: no price", b"\xde\xad")
    assert (await node.contents(header(), (), (Read("price", POOL, b""),))).reads == {"price": b""}


async def test_a_read_of_a_dead_block_is_a_stale_read(script: Script, node: Node) -> None:
    script.answers["eth_call"] = refusal(-32001, "Resource not found")
    with pytest.raises(StaleRead):
        await node.contents(header(), (), (Read("price", POOL, b""),))


async def test_a_read_that_the_node_cannot_do_is_an_error(script: Script, node: Node) -> None:
    script.answers["eth_call"] = refusal(-32603, "database is closed")
    with pytest.raises(RpcError):
        await node.contents(header(), (), (Read("price", POOL, b""),))


@given(
    st.lists(
        st.builds(
            Log,
            st.binary(min_size=20, max_size=20),
            st.tuples(st.binary(min_size=32, max_size=32)),
            st.just(b""),
            st.just(TX),
            st.just(0),
        ),
        max_size=8,
    )
)
def test_the_bloom_of_a_block_admits_all_its_logs(logs: list[Log]) -> None:
    assert all(bloom.admits(bloom.of(logs), LogFilter(log.address, log.topics)) for log in logs)


def test_the_bloom_of_one_address_is_the_yellow_paper_s() -> None:
    digest = keccak(POOL)
    bits = {int.from_bytes(digest[at : at + 2], "big") % 2048 for at in (0, 2, 4)}
    assert bloom.bits(POOL) == sum(1 << bit for bit in bits)


@pytest.mark.parametrize(
    ("topics", "matched"),
    [((), True), ((TOPIC,), True), ((None, WHO), True), ((WHO,), False), ((None, None, None), False)],
)
def test_filters_match_as_the_node_matches(topics: tuple[bytes | None, ...], matched: bool) -> None:
    assert codec.matches(LogFilter(POOL, topics), LOG) is matched


# ── ranges of logs ──


def ranged(limit: int) -> Callable[[Any], Any]:
    """A node that has a log of interest in every block and answers for at most ``limit`` blocks."""

    def answer(query: Any) -> Any:
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first >= limit:
            return refusal(-32005, "query returned more than 10000 results")
        return [on_wire(LOG, number, blockHash=word(number.to_bytes(32, "big"))) for number in range(first, last + 1)]

    return answer


def numbered(place: str, _full: bool) -> Any:
    return block(number=place)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_range_is_halved_until_the_node_takes_it(script: Script, node: Node, limit: int) -> None:
    script.answers |= {"eth_getLogs": ranged(limit), "eth_getBlockByNumber": numbered}
    assert [each.number for each in await node.logs_range(WANTED, 5, 17)] == list(range(5, 18))


async def test_a_single_block_that_is_refused_is_an_error(script: Script, node: Node) -> None:
    script.answers |= {"eth_getLogs": ranged(0), "eth_getBlockByNumber": numbered}
    with pytest.raises(RpcError):
        await node.logs_range(WANTED, 5, 6)


async def test_a_range_above_the_head_of_the_node_is_a_stale_read(script: Script, node: Node) -> None:
    script.answers |= {"eth_getLogs": [], "eth_getBlockByNumber": None}
    with pytest.raises(StaleRead):
        await node.logs_range(WANTED, 5, 6)


async def test_a_log_outside_the_range_is_no_answer(script: Script, node: Node) -> None:
    script.answers |= {"eth_getLogs": [on_wire(LOG, 4)], "eth_getBlockByNumber": numbered}
    with pytest.raises(NodeUnavailable, match=r"log\.blockNumber"):
        await node.logs_range(WANTED, 5, 6)


async def test_two_blocks_of_one_height_in_a_range_are_a_stale_read(script: Script, node: Node) -> None:
    twice = [on_wire(LOG, 5), on_wire(LOG, 5, blockHash=word(PARENT))]
    script.answers |= {"eth_getLogs": twice, "eth_getBlockByNumber": numbered}
    with pytest.raises(StaleRead):
        await node.logs_range(WANTED, 5, 6)


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


@pytest.mark.parametrize("field", ["transactionHash", "status", "gasUsed", "effectiveGasPrice"])
@pytest.mark.parametrize("bad", [None, "0xzz", 1], ids=repr)
async def test_a_malformed_receipt_is_no_answer(script: Script, node: Node, field: str, bad: Any) -> None:
    script.answers |= {"eth_getTransactionReceipt": receipt(**{field: bad}), "eth_getBlockByHash": block()}
    with pytest.raises(NodeUnavailable, match=rf"receipt\.{field}"):
        await node.receipt(TX)


async def test_the_receipt_of_another_transaction_is_no_answer(script: Script, node: Node) -> None:
    script.answers["eth_getTransactionReceipt"] = receipt(transactionHash=word(PARENT))
    with pytest.raises(NodeUnavailable):
        await node.receipt(TX)


async def test_nonce_balance_and_code_are_of_the_latest_block(script: Script, node: Node) -> None:
    script.answers |= {"eth_getTransactionCount": "0x5", "eth_getBalance": "0x6", "eth_getCode": "0x60"}
    assert [await node.nonce(POOL), await node.balance(POOL), await node.code(POOL)] == [5, 6, b"\x60"]
    assert {params[1] for _, params in script.asked} == {"latest"}


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


@pytest.mark.parametrize("bad", [None, "0x", word(TX), {}, 5], ids=repr)
async def test_an_answer_that_is_not_the_hash_says_nothing(script: Script, node: Node, bad: Any) -> None:
    script.answers["eth_sendRawTransaction"] = bad
    answer = await node.send(RAW)
    assert (answer.accepted, answer.error[:11]) == (False, "transport: ")


async def test_a_rate_limit_says_nothing_about_the_transaction(script: Script, node: Node) -> None:
    script.answers["eth_sendRawTransaction"] = refusal(429, "too many requests")
    assert (await node.send(RAW)).error.startswith("transport: ")


async def test_a_connection_lost_after_sending_says_nothing_and_nothing_is_repeated(script: Script, node: Node) -> None:
    def hang_up(_raw: str) -> None:
        raise ConnectionError

    script.answers["eth_sendRawTransaction"] = hang_up
    answer = await node.send(RAW)
    assert (answer.accepted, answer.error[:11]) == (False, "transport: ")
    assert len(script.asked) == 1

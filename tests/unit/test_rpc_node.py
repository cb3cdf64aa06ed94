"""How far a node is believed: what it says is checked field by field, and against the header."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from keeper.chain import bloom, codec
from keeper.chain.node import BATCH, Node
from keeper.chain.rpc import RpcError, connect
from keeper.errors import NodeUnavailable, StaleRead
from keeper.model import Log, LogFilter, Read
from tests.unit.node_script import (
    BLOCK,
    FOREIGN,
    LOG,
    OTHER,
    PARENT,
    POOL,
    REF,
    TOPIC,
    TX,
    WHO,
    Script,
    block,
    on_wire,
    refusal,
    without,
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


# ── blocks ──


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


@pytest.mark.fault("R12", "R13")
@pytest.mark.parametrize("field", sorted(block()))
@pytest.mark.parametrize("bad", [None, 7, "7", "0x", "-0x7", "0xzz", [], {}, "0x" + "f" * 65], ids=repr)
def test_a_malformed_field_of_a_block_is_named(field: str, bad: Any) -> None:
    with pytest.raises(NodeUnavailable, match=rf"block\.{field}"):
        codec.header(block() | {field: bad})


@pytest.mark.fault("S28", "R39")
@pytest.mark.parametrize(
    ("field", "bits"),
    [("number", 63), ("timestamp", 63), ("gasUsed", 63), ("gasLimit", 63), ("baseFeePerGas", 127)],
)
def test_a_number_that_fits_into_no_column_is_malformed(field: str, bits: int) -> None:
    codec.header(block() | {field: hex(2**bits - 1)})
    with pytest.raises(NodeUnavailable, match=rf"block\.{field}"):
        codec.header(block() | {field: hex(2**bits)})


@pytest.mark.fault("R13")
@pytest.mark.parametrize("field", sorted(set(block()) - {"baseFeePerGas"}))
def test_a_missing_field_of_a_block_is_named(field: str) -> None:
    with pytest.raises(NodeUnavailable, match=rf"block\.{field}"):
        codec.header(without(block(), field))


@pytest.mark.fault("R13", "A28")
@pytest.mark.parametrize("field", sorted(set(on_wire(LOG)) - {"removed"}))
@pytest.mark.parametrize("bad", [None, 7, "7", "0xz", {}, [7]], ids=repr)
def test_a_malformed_field_of_a_log_is_named(field: str, bad: Any) -> None:
    with pytest.raises(NodeUnavailable, match=rf"log\.{field}"):
        codec.placed_log(on_wire(LOG) | {field: bad})


@pytest.mark.fault("S20")
def test_a_log_that_was_removed_is_none() -> None:
    with pytest.raises(NodeUnavailable, match=r"log\.removed"):
        codec.placed_log(on_wire(LOG, removed=True))


@pytest.mark.fault("R13")
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


async def test_many_headers_come_in_order_and_in_batches_that_a_provider_takes(script: Script, node: Node) -> None:
    script.answers["eth_getBlockByHash"] = lambda place, _full: block(hash=place)
    hashes = [number.to_bytes(32, "big") for number in range(2 * BATCH + 1)]
    assert [each.ref.hash for each in await node.headers(hashes)] == hashes
    assert [len(request) for request in script.server.requests] == [BATCH, BATCH, 1]


async def test_the_chain_is_named_by_id_and_genesis(script: Script, node: Node) -> None:
    script.answers |= {"eth_chainId": "0x7a69", "eth_getBlockByNumber": block(number="0x0")}
    assert (await node.chain_id(), await node.genesis_hash()) == (31337, BLOCK)


@pytest.mark.fault("R12", "R13")
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


@pytest.mark.fault("R31")
async def test_logs_that_the_bloom_promises_and_that_do_not_come_are_a_stale_read(script: Script, node: Node) -> None:
    script.answers["eth_getLogs"] = []
    with pytest.raises(StaleRead, match="without some of its logs"):
        await node.contents(header(LOG), WANTED, ())


@pytest.mark.fault("R31")
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


@pytest.mark.fault("S22")
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


@pytest.mark.fault("R30")
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_range_is_halved_until_the_node_takes_it(script: Script, node: Node, limit: int) -> None:
    script.answers |= {"eth_getLogs": ranged(limit), "eth_getBlockByNumber": numbered}
    assert [each.number for each in await node.logs_range(WANTED, 5, 17)] == list(range(5, 18))


async def test_a_single_block_that_is_refused_is_an_error(script: Script, node: Node) -> None:
    script.answers |= {"eth_getLogs": ranged(0), "eth_getBlockByNumber": numbered}
    with pytest.raises(RpcError):
        await node.logs_range(WANTED, 5, 6)


@pytest.mark.fault("R31")
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

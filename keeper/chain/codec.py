"""The node's JSON into the nouns of ``model``, and back. By hand: this runs for every block and every log.

A field that is missing or malformed raises NodeUnavailable with its name: such a node is of no use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from keeper.errors import NodeUnavailable
from keeper.model import Address, BlockRef, Call, Hash, Log, LogFilter, Moment, Pending

WORD_LIMIT = 2**256
COUNT_LIMIT = 2**63  # of what is counted or timed; no more fits into a column of the book or the journal
PRICE_LIMIT = 2**127  # of wei per gas: times the gas of a block it is still a word


class Header(NamedTuple):
    ref: BlockRef
    bloom: int  # logsBloom, most significant byte first


class PlacedLog(NamedTuple):
    number: int
    block: Hash
    log: Log


# ─── in ───────────────────────────────────────────────────────────────────────────────────────────


def malformed(name: str) -> NodeUnavailable:
    return NodeUnavailable(f"the node's answer is unusable: {name} is missing or malformed")


def quantity(value: Any, name: str, limit: int = WORD_LIMIT) -> int:
    """An integer below ``limit``."""
    try:
        if isinstance(value, str) and value.startswith("0x") and (number := int(value, 16)) < limit:
            return number
    except ValueError:
        pass
    raise malformed(name)


def octets(value: Any, name: str, size: int | None = None) -> bytes:
    """Bytes; exactly ``size`` of them if given."""
    try:
        if isinstance(value, str) and value.startswith("0x"):
            data = bytes.fromhex(value[2:])
            if size is None or len(data) == size:
                return data
    except ValueError:
        pass
    raise malformed(name)


def record(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise malformed(name)


def array(value: Any, name: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise malformed(name)


def header(value: Any) -> Header:
    get = record(value, "block").get
    ref = BlockRef(
        number=quantity(get("number"), "block.number", COUNT_LIMIT),
        hash=octets(get("hash"), "block.hash", 32),
        parent=octets(get("parentHash"), "block.parentHash", 32),
        timestamp=quantity(get("timestamp"), "block.timestamp", COUNT_LIMIT),
        base_fee=quantity(get("baseFeePerGas", "0x0"), "block.baseFeePerGas", PRICE_LIMIT),  # absent before EIP-1559
        gas_used=quantity(get("gasUsed"), "block.gasUsed", COUNT_LIMIT),
        gas_limit=quantity(get("gasLimit"), "block.gasLimit", COUNT_LIMIT),
    )
    return Header(ref, int.from_bytes(octets(get("logsBloom"), "block.logsBloom", 256), "big"))


def placed_log(value: Any) -> PlacedLog:
    get = record(value, "log").get
    if get("removed"):
        raise malformed("log.removed")
    log = Log(
        address=octets(get("address"), "log.address", 20),
        topics=tuple([octets(topic, "log.topics", 32) for topic in array(get("topics"), "log.topics")]),
        data=octets(get("data"), "log.data"),
        tx_hash=octets(get("transactionHash"), "log.transactionHash", 32),
        index=quantity(get("logIndex"), "log.logIndex", COUNT_LIMIT),
    )
    return PlacedLog(
        quantity(get("blockNumber"), "log.blockNumber", COUNT_LIMIT), octets(get("blockHash"), "log.blockHash", 32), log
    )


def pending(tx: dict[str, Any]) -> Pending | None:
    """A transaction that is not mined yet, as a call; None when it makes a contract."""
    if not (to := tx.get("to")):
        return None
    data = octets(tx.get("input", tx.get("data", "0x")), "transaction.input")
    return Pending(octets(to, "transaction.to", 20), data, octets(tx.get("from"), "transaction.from", 20))


# ─── out ──────────────────────────────────────────────────────────────────────────────────────────


def to_hex(data: bytes) -> str:
    return "0x" + data.hex()


def at_hash(block: Hash) -> dict[str, str]:
    """EIP-1898."""
    return {"blockHash": to_hex(block)}


def transaction(call: Call, sender: Address | None = None, gas: int | None = None) -> dict[str, str]:
    fields = {"to": to_hex(call.target), "data": to_hex(call.data)}
    if sender is not None:
        fields["from"] = to_hex(sender)
    if call.value:
        fields["value"] = hex(call.value)
    if gas is not None:
        fields["gas"] = hex(gas)
    return fields


def overrides(at: Moment) -> dict[str, str]:
    """Block overrides, the fourth parameter of ``eth_call``."""
    return {"number": hex(at.number), "time": hex(at.timestamp), "baseFeePerGas": hex(at.base_fee)}


def queries(filters: Iterable[LogFilter]) -> list[dict[str, Any]]:
    """What to ask ``eth_getLogs``: addresses with the same pattern of topics share a query."""
    by_topics: dict[tuple[Hash | None, ...], dict[str, None]] = {}
    for each in filters:
        by_topics.setdefault(each.topics, {})[to_hex(each.address)] = None
    return [
        {"address": list(addresses), "topics": [None if topic is None else to_hex(topic) for topic in topics]}
        for topics, addresses in by_topics.items()
    ]


def matches(wanted: LogFilter, log: Log) -> bool:
    """As the node decides it."""
    if wanted.address != log.address or len(wanted.topics) > len(log.topics):
        return False
    return all(topic is None or topic == log.topics[place] for place, topic in enumerate(wanted.topics))

"""Account events of a market, as it emitted them: web3.py's decoder against the columns of the book."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from web3 import Web3

from keeper.core.book import Book
from keeper.model import BlockBatch, BlockRef, Log
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.raw import of_events
from keeper.simulation.node import Anvil
from keeper.simulation.world import GENESIS, Size, World, build
from tests.bench.harness import Row, least

TOPIC = CONTRACTS["Clearing"].events["Changed"].topic


def decoding() -> list[Row]:
    """All events of accounts of a market, block by block as they were mined: most of them in blocks that have many.

    First row: every event into columns, of which the peer makes Python values. Second: the whole way into the book,
    where the last word on an account in a block counts, what was there before it is kept, and back. Third: the same for
    an event that is alone in its block, which gains nothing from its neighbours.
    """
    with Anvil(timestamp=GENESIS) as node:
        w = build(node, Size(accounts=200, rivals=0))
        found = w.node.rpc(
            "eth_getLogs", {"fromBlock": "0x0", "address": w.dep.clearing, "topics": ["0x" + TOPIC.hex()]}
        )
        blocks = defaultdict[str, list[Log]](list)
        for each in found:
            blocks[each["blockNumber"]].append(_log(each))
        theirs = _web3(w)
        loss, after = _columns(w.book).store.loss, _after(w.book.ref)
        batches = [BlockBatch(after, tuple(logs)) for logs in blocks.values()]
        trader = w.traders[0].account.to_bytes(32)
        alone = BlockBatch(after, (next(log for batch in batches for log in batch.logs if log.topics[1] == trader),))
        times = least(
            theirs,
            lambda: [_decoded(loss, batch.logs) for batch in batches],
            lambda: _applied(w.book, *batches),
            lambda: _applied(w.book, alone),
        )
    each, ours, there, lone = (t / n for t, n in zip(times, (len(found), len(found), len(found), 1), strict=True))
    return [
        Row("decode an account's event into columns", ours, "web3.py", each, 50),
        Row("the same, written into the book and taken back", there, "web3.py", each, 20),
        Row("the same, one event in its block", lone, "web3.py", each, 2),
    ]


def _columns(book: Book) -> Columns:
    assert isinstance(book.columns, Columns)
    return book.columns


def _after(ref: BlockRef) -> BlockRef:
    return BlockRef(ref.number + 1, bytes(32), ref.hash, ref.timestamp + 1, 0, 0, 1)


def _decoded(loss: int, logs: Sequence[Log]) -> object:
    return of_events([log.data for log in logs], [loss] * len(logs)).plain()


def _applied(book: Book, *batches: BlockBatch) -> None:
    before = book.ref
    for batch in batches:
        book.apply(batch)
        book.rollback(before)


def _log(found: Mapping[str, Any]) -> Log:
    address, data, tx = (bytes.fromhex(found[name][2:]) for name in ("address", "data", "transactionHash"))
    return Log(address, tuple(bytes.fromhex(t[2:]) for t in found["topics"]), data, tx, int(found["logIndex"], 16))


def _web3(w: World) -> Callable[[], object]:
    """``process_log`` of each; what web3.py fetches is not counted."""
    built = json.loads(files("keeper.protocols.options").joinpath("artifacts.json").read_text())
    w3, at = Web3(Web3.HTTPProvider(w.node.url)), Web3.to_checksum_address(w.dep.clearing)
    event = w3.eth.contract(address=at, abi=built["contracts"]["Clearing"]["abi"]).events.Changed()
    entries = w3.eth.get_logs({"fromBlock": 0, "address": at, "topics": ["0x" + TOPIC.hex()]})
    return lambda: [event.process_log(entry) for entry in entries]

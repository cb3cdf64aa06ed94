"""The book from the chain, and a usual bot's look at it: web3.py against the packed reader and the scan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from eth_hash.auto import keccak
from web3 import AsyncHTTPProvider, AsyncWeb3, Web3

from keeper.chain.filling import TO_A_CALL, read
from keeper.chain.node import Node
from keeper.chain.rpc import connect
from keeper.model import Key
from keeper.protocols import build as compiler
from keeper.protocols.options import packed
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.risk import Price
from keeper.simulation.node import Anvil
from keeper.simulation.world import GENESIS, Size, World, build
from tests.bench.harness import Row, least
from tests.bench.scanning import crowd

ACCOUNTS, COPIES = 500, 8  # five calls of the multicall, and with their copies four of the packed reader
HEADS, LEGS, HELD = 2, 3, 4  # the places of ``Accounts.sol`` in its storage
MULTICALL = """
// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;
contract Multicall {
    struct Call { address target; bytes data; }
    function aggregate(Call[] calldata calls) external view returns (bytes[] memory out) {
        out = new bytes[](calls.length);
        for (uint256 i; i < calls.length; ++i) (, out[i]) = calls[i].target.staticcall(calls[i].data);
    }
}
"""


def book_load() -> list[Row]:
    """All accounts of a market at one block: from the question to the columns, collateral counted.

    Ours is what a start does (``chain/filling.py``): the node reads the next thousand while the last are put into
    columns. For 1,000 accounts Python takes some 3 ms, two thirds of them for columns, the rest for a wire of
    hexadecimal JSON; the node takes as much beside it, two thirds of them for hashing and reading slots. Where the
    other core is busy they take turns, and the ratio falls to that of the sum. The peer is told portfolios, of which
    each is a call in the node. Both know the names of the accounts.
    """
    with Anvil(timestamp=GENESIS) as node, asyncio.Runner() as runner:
        w = build(node, Size(accounts=ACCOUNTS, rivals=0))
        few = [trader.account for trader in w.traders]
        ids = few + _copied(w, few)
        ours, theirs = least(_packed(w, ids, runner), _multicall(w, few), rounds=25, clock=time.perf_counter)
        scan, bot = crowd(1_000), asyncio.run(_gathered(w, few[:100])) / 100
        [named] = least(lambda: scan.columns.suspects(scan, scan.at), rounds=25, clock=time.perf_counter)
    return [
        Row("load an account into the book", ours / len(ids), "web3.py, multicall of 100", theirs / len(few), 50),
        Row("look at an account, of 1,000", named / 1_000, "web3.py, one eth_call each, gathered", bot, 1_000),
    ]


def _copied(w: World, ids: list[int]) -> list[int]:
    """More accounts, each in all but its name like one of these, written into the node's storage."""
    blob = w.node.rpc("eth_call", {"to": w.dep.clearing, "data": packed.question(ids)}, "latest", _lent(w))
    raw = packed.of_storage(bytes.fromhex(blob[2:]), len(ids))
    word = [each.astype(">u8").tobytes() for each in raw.words]
    copies, writes = list[int](), list[tuple[bytes, bytes]]()
    for i, account in enumerate(ids):
        legs = range(raw.first[i], raw.first[i] + raw.legs[i])
        held = [(asset, at) for asset, at in enumerate(raw.amounts[i]) if at >= 0]
        for copy in (account ^ k for k in range(1, COPIES)):
            copies.append(copy)
            first = int.from_bytes(_slot(copy, LEGS))
            writes.append((_slot(copy, HEADS), word[raw.cash[i]]))
            writes += (((first + k).to_bytes(32), word[at]) for k, at in enumerate(legs))
            writes += ((_slot(asset, int.from_bytes(_slot(copy, HELD))), word[at]) for asset, at in held)
    w.node.batch([("anvil_setStorageAt", w.dep.clearing, slot, value) for slot, value in writes])
    return copies


def _slot(key: int, mapping: int) -> bytes:
    return bytes(keccak(key.to_bytes(32) + mapping.to_bytes(32)))


def _lent(w: World) -> dict[str, Any]:
    """The packed reader's code in the clearing house's place."""
    return {"0x" + w.dep.clearing.hex(): {"code": packed.READER.runtime}}


def _packed(w: World, ids: list[int], runner: asyncio.Runner) -> Callable[[], object]:
    adapter, node, keys = Options(w.settings), Node(connect(str(w.node.ipc))), [Key("account", id) for id in ids]
    head = w.node.head().hash

    async def wanted() -> AsyncIterator[list[Key]]:
        for at in range(0, len(keys), TO_A_CALL):
            yield keys[at : at + TO_A_CALL]

    def load() -> Columns:
        columns = adapter.columns()
        runner.run(read(node, adapter, w.book, columns, wanted(), head))
        return columns

    columns, count = load(), len(w.traders)
    right = [w.book.get(key) for key in keys[:count]]
    copies = (one for one in right for _ in range(1, COPIES))
    assert [columns.get(key) for key in keys] == [*right, *copies]
    return load


def _multicall(w: World, ids: list[int]) -> Callable[[], object]:
    """A hundred portfolios to a call, each decoded by its ABI."""
    made = compiler.compile_({"Multicall.sol": MULTICALL})["Multicall.sol"]["Multicall"]
    w3, where = Web3(Web3.HTTPProvider(w.node.url)), Web3.to_checksum_address("0x" + "ca" * 20)
    caller = w3.eth.contract(address=where, abi=made["abi"])
    w.node.rpc("anvil_setCode", where, "0x" + made["evm"]["deployedBytecode"]["object"])
    clearing = Web3.to_checksum_address(w.dep.clearing)
    calls = [(clearing, CONTRACTS["Clearing"].call("portfolio", id)) for id in ids]

    def load() -> list[Any]:
        parts = [calls[at : at + 100] for at in range(0, len(calls), 100)]
        answers = [answer for part in parts for answer in caller.functions.aggregate(part).call()]
        return [CONTRACTS["Clearing"].result("portfolio", answer) for answer in answers]

    return load


async def _gathered(w: World, ids: list[int]) -> float:
    """Seconds that a usual bot takes to ask for the health of so many."""
    w3 = AsyncWeb3(AsyncHTTPProvider(w.node.url))
    abi = [{"type": "function", "name": "health", "stateMutability": "view", **_health()}]
    clearing = w3.eth.contract(address=Web3.to_checksum_address(w.dep.clearing), abi=abi)
    best = float("inf")
    for _ in range(3):
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(clearing.functions.health(id, int(Price.TRIGGER)).call() for id in ids))
        best = min(best, asyncio.get_running_loop().time() - began)
    await w3.provider.disconnect()
    return best


def _health() -> dict[str, Any]:
    function = CONTRACTS["Clearing"].functions["health"]
    inputs = [{"name": f"a{i}", "type": kind} for i, kind in enumerate(function.inputs)]
    parts = function.outputs[0].strip("()").split(",")
    components = [{"name": f"c{i}", "type": kind} for i, kind in enumerate(parts)]
    return {"inputs": inputs, "outputs": [{"name": "h", "type": "tuple", "components": components}]}


ALL = (book_load,)

"""The book from the chain, and a usual bot's look at it: web3.py against the packed reader and the scan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from web3 import AsyncHTTPProvider, AsyncWeb3, Web3

from keeper.model import Key
from keeper.protocols import build as compiler
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.risk import Price
from keeper.simulation.node import Anvil
from keeper.simulation.world import GENESIS, Size, World, build
from tests.bench.harness import Row, least
from tests.bench.scanning import crowd

ACCOUNTS = 1_000  # one call of the packed reader, ten of the multicall
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

    Of ours about half is the node's: it finds a slot and a word for each leg, and writes and reads the question and the
    answer as hexadecimal JSON. The peer is told portfolios, of which each is a call in the node.
    """
    with Anvil(timestamp=GENESIS) as node:
        w = build(node, Size(accounts=ACCOUNTS, rivals=0))
        ids = [trader.account for trader in w.traders]
        ours, theirs = least(_packed(w, ids), _multicall(w, ids), rounds=7, clock=time.perf_counter)
        scan, bot = crowd(1_000), asyncio.run(_gathered(w, ids[:100])) / 100
        [named] = least(lambda: scan.columns.suspects(scan, scan.at), rounds=25, clock=time.perf_counter)
    return [
        Row("load an account into the book", ours / len(ids), "web3.py, multicall of 100", theirs / len(ids), 50),
        Row("look at an account, of 1,000", named / 1_000, "web3.py, one eth_call each, gathered", bot, 1_000),
    ]


def _packed(w: World, ids: list[int]) -> Callable[[], object]:
    reader = CONTRACTS["Reader"]
    data = "0x" + reader.call("read", ids).hex()
    code = {"0x" + w.dep.clearing.hex(): {"code": "0x" + reader.runtime.hex()}}

    def load() -> Columns:
        columns = Columns()
        answer = w.node.rpc("eth_call", {"to": w.dep.clearing, "data": data}, "latest", code)
        columns.load(w.book, ids, bytes.fromhex(answer[2:]))
        return columns

    columns = load()
    assert all(columns.get(Key("account", id)) == w.book.get(Key("account", id)) for id in ids)
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

"""A node without a chain that tells of a herd: in each block a thousand accounts were opened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any

from keeper.chain.filling import Filling
from keeper.chain.node import BlockLogs
from keeper.errors import NodeUnavailable
from keeper.model import BlockBatch, BlockRef, Hash, Log, LogFilter, Reading
from keeper.ports import ChainSource, Columns
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.settings import Contracts, Settings
from tests.worlds.crowd import HERD, Crowd, herd

NONE = bytes(32)
PLACE = bytes(20)
OPTIONS = Options(Settings(Contracts(PLACE, PLACE, PLACE, PLACE, (), ()), 0, PLACE))


class Answer(bytes):
    """Counted for as long as somebody holds it."""

    teller: Teller

    def __del__(self) -> None:
        self.teller.held -= 1


class Teller:
    """Implements ``filling.Asked``. Accounts are told in the order in which they are named."""

    def __init__(self, seed: int, count: int, turns: int = 1, most: int = 10**9) -> None:
        """``turns`` of the loop until an answer comes; no more than ``most`` names to an answer."""
        self.seed, self.count, self._turns, self._most = seed, count, turns, most
        self.spoilt = dict[int, bytes | Exception]()  # number of a call -> what comes in place of its answer
        self.calls = 0
        self.spans = list[tuple[int, int]]()
        self.asked = self.most_asked = 0  # calls in flight
        self.held = self.most_held = 0  # answers

    @property
    def blocks(self) -> int:
        return -(-self.count // HERD)

    async def block(self, at: str) -> BlockRef:
        return BlockRef(self.blocks, NONE, NONE, 0, 0, 0, 1)

    async def logs_range(self, filters: Sequence[LogFilter], first: int, last: int) -> list[BlockLogs]:
        if (last + 1 - first) * HERD > self._most:
            raise NodeUnavailable("an answer of more than so many bytes")
        self.spans.append((first, last))
        if first == 1:
            self._names, self._answers = herd(self.seed, self.count), herd(self.seed, self.count)
        (roster,), found = filters, list[BlockLogs]()
        [opened] = [topic for topic in roster.topics if topic]
        for number, (ids, _) in zip(range(first, last + 1), islice(self._names, last + 1 - first), strict=False):
            topics = [(opened, id.to_bytes(32)) for id in ids]
            logs = (Log(roster.address, each, b"", NONE, i) for i, each in enumerate(topics))
            found.append(BlockLogs(number, NONE, tuple(logs)))
        return found

    async def reread(self, reading: Reading, block: Hash) -> bytes:
        ids, said = next(self._answers)
        assert [key.id for key in reading.keys] == ids
        self.calls += 1
        spoilt = self.spoilt.pop(self.calls, said)
        self.asked += 1
        self.most_asked = max(self.asked, self.most_asked)
        try:
            for _ in range(self._turns):
                await asyncio.sleep(0)
        finally:
            self.asked -= 1
        if isinstance(spoilt, Exception):
            raise spoilt
        answer = Answer(spoilt)
        answer.teller = self
        self.held += 1
        self.most_held = max(self.held, self.most_held)
        return answer


class Market:
    """One protocol in a crowd's market. Implements ``filling.Desk``."""

    def __init__(self) -> None:
        self.book, self.adapter, self.missing = Crowd(), OPTIONS, True

    def take(self, columns: Any) -> None:
        self.book.columns, self.missing = columns, False


class Blocks:
    """So many blocks in which nothing happens, from the head of the teller on. Implements ``ports.ChainSource``."""

    def __init__(self, market: Market, teller: Teller, count: int = 1) -> None:
        self._market, self._numbers = market, range(teller.blocks, teller.blocks + count)

    async def events(self, start: int) -> Any:
        for number in self._numbers:
            self._market.book.ref = ref = BlockRef(number, NONE, NONE, 0, 0, 0, 1)
            yield BlockBatch(ref)


def filling(teller: Teller, market: Market, blocks: int = 1) -> ChainSource:
    def fill(market: Market, columns: Columns) -> None:
        market.take(columns)

    return Filling(Blocks(market, teller, blocks), teller, [(market, OPTIONS)], fill, 1, 0)


async def started(seed: int, count: int) -> Crowd:
    """A book of so many accounts, read as a start reads them."""
    market = Market()
    async for _ in filling(Teller(seed, count), market).events(1):
        pass
    return market.book

"""Accounts read from the chain's storage at one block, in place of every change of theirs since the deployment.

    source ─► batches without accounts ─► the first old enough to be safe ─► accounts at that block ─► whole batches

The books are the same as if all had been followed. When a reorg goes below that block, accounts are read again. Where
the chain is young, or the node does not run code in the place of a contract's (the state override of ``eth_call``),
everything is followed; the log says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Generic, Protocol, TypeVar

import structlog

from keeper.chain.node import BlockLogs
from keeper.chain.rpc import RpcError
from keeper.errors import AdapterFault, Retry
from keeper.model import BlockBatch, BlockRef, ChainEvent, Early, Hash, Log, LogFilter, Reading
from keeper.ports import ChainSource, Stored, View

DEPTH: Final = 64  # blocks below the head; reorgs this deep are unlikely enough to read accounts twice
AT_ONCE: Final = 8  # calls in flight
TROUBLE: Final = (Retry, RpcError, AdapterFault)

log = structlog.get_logger("chain")


class Asked(Protocol):
    """What is asked of a node; see ``node.Node``."""

    async def block(self, at: str) -> BlockRef: ...
    async def logs_range(self, filters: Sequence[LogFilter], first: int, last: int) -> list[BlockLogs]: ...
    async def reread(self, reading: Reading, block: Hash) -> bytes: ...


class Desk(Protocol):
    """One protocol; see ``core.desk.Desk``."""

    missing: bool

    @property
    def adapter(self) -> object: ...
    @property
    def book(self) -> View: ...
    def readings(self, roster: Iterable[Log]) -> Iterator[Reading]: ...


Told = Sequence[tuple[Reading, bytes]]
D = TypeVar("D", bound=Desk)


async def filled(
    source: ChainSource, node: Asked, desks: Sequence[D], fill: Callable[[D, Told], None], since: int
) -> ChainSource:
    """``source``, or one that fills books where that can be done: the node is asked to read no accounts at all.

    ``fill`` takes what was read; ``since`` is the first block that can matter.
    """
    able = [(desk, desk.adapter) for desk in desks if isinstance(desk.adapter, Stored)]
    try:
        head = await node.block("latest")
        if head.number - DEPTH <= since:
            return source
        for desk, adapter in able:
            empty = adapter.reading(())
            list(adapter.reread(desk.book, empty, await node.reread(empty, head.hash)))
    except TROUBLE as error:
        log.warning("book.from_logs", why=str(error), help="accounts are read where the node allows state overrides")
        return source
    for desk, _ in able:
        desk.missing = True
    return Filling(source, node, able, fill, since, head.number - DEPTH)


class Filling(Generic[D]):
    """Implements ``ports.ChainSource``."""

    def __init__(
        self,
        source: ChainSource,
        node: Asked,
        desks: Sequence[tuple[D, Stored]],
        fill: Callable[[D, Told], None],
        since: int,
        target: int,
    ) -> None:
        """Accounts are read at the first block from ``target`` on that comes, and named from ``since`` on."""
        self._source, self._node, self._desks, self._fill = source, node, desks, fill
        self._since, self._target = since, target

    async def events(self, start: int) -> AsyncIterator[ChainEvent]:
        """No head is one, while accounts are missing."""
        async for event in self._source.events(start):
            blind = isinstance(event, BlockBatch) and event.head and any(desk.missing for desk, _ in self._desks)
            if isinstance(event, Early) and any(desk.missing for desk, _ in self._desks):
                continue
            yield replace(event, head=False) if isinstance(event, BlockBatch) and blind else event
            if isinstance(event, BlockBatch) and event.ref.number >= self._target:
                for desk, adapter in self._desks:
                    if desk.missing and desk.book.ref == event.ref:  # it was taken, and not asked for again
                        await self._filled(desk, adapter, event.ref)

    async def _filled(self, desk: D, adapter: Stored, ref: BlockRef) -> None:
        """All accounts or none; what fails is tried again at the next block."""
        try:
            blocks = await self._node.logs_range([adapter.roster()], self._since, ref.number)
            readings = list(desk.readings(each for block in blocks for each in block.logs))
            told = list[tuple[Reading, bytes]]()
            for at in range(0, len(readings), AT_ONCE):
                parts = (self._read(adapter, reading, ref.hash) for reading in readings[at : at + AT_ONCE])
                told += [each for part in await asyncio.gather(*parts) for each in part]
            self._fill(desk, told)
        except TROUBLE as error:
            log.warning("book.unread", block=ref.number, error=str(error))
        else:
            log.info("book.read", block=ref.number, accounts=sum(len(reading.keys) for reading, _ in told))

    async def _read(self, adapter: Stored, reading: Reading, block: Hash) -> list[tuple[Reading, bytes]]:
        """In halves where the node refuses: gas, or its answer, may be limited."""
        try:
            return [(reading, await self._node.reread(reading, block))]
        except RpcError:
            if len(reading.keys) < 2:
                raise
        half = len(reading.keys) // 2
        parts = (adapter.reading(keys) for keys in (reading.keys[:half], reading.keys[half:]))
        return [each for part in parts for each in await self._read(adapter, part, block)]

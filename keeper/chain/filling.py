"""Accounts read from the chain's storage at one block, in place of every change of theirs since the deployment.

    source ─► batches without accounts ─► the first old enough to be safe ─► accounts at that block ─► whole batches

    names, some blocks at a time ─► a few calls in flight ─► columns of their own ─► the book, when all are in

Node and Python work side by side, and of a million accounts a few thousand are between the two. The books are the same
as if all had been followed. When a reorg goes below that block, accounts are read again. Where the chain is young, or
the node does not run code in the place of a contract's (the state override of ``eth_call``), everything is followed;
the log says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import inf
from typing import Final, Generic, Protocol, TypeVar

import structlog

from keeper.chain.node import BlockLogs
from keeper.chain.rpc import RpcError
from keeper.errors import AdapterFault, Retry
from keeper.model import BlockBatch, BlockRef, ChainEvent, Early, Hash, Key, LogFilter, Reading
from keeper.ports import ChainSource, Columns, Stored, View

DEPTH: Final = 64  # blocks below the head; reorgs this deep are unlikely enough to read accounts twice
FEW: Final = 2  # calls in flight: one is read while another is taken
AT_ONCE: Final = 8  # as many where answers take longer to come than to take
TO_A_CALL: Final = 1_000  # accounts; a node that refuses so many is asked for half
SPANS: Final = 16, 2_000  # blocks that are asked for names at once, first and at most
NAMES: Final = 10_000  # where a span has more, the next is shorter
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


Told = list[tuple[Reading, bytes]]
D = TypeVar("D", bound=Desk)


async def filled(
    source: ChainSource, node: Asked, desks: Sequence[D], fill: Callable[[D, Columns], None], since: int
) -> ChainSource:
    """``source``, or one that fills books where that can be done: the node is asked to read no accounts at all.

    ``fill`` takes the columns of all accounts; ``since`` is the first block that can matter.
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
        fill: Callable[[D, Columns], None],
        since: int,
        target: int,
    ) -> None:
        """Accounts are read at the first block from ``target`` on that comes, and named from ``since`` on."""
        self._source, self._node, self._desks, self._fill = source, node, desks, fill
        self._since, self._target = since, target

    async def events(self, start: int) -> AsyncIterator[ChainEvent]:
        """No head is one, while accounts are missing."""
        async for event in self._source.events(start):
            blind = any(desk.missing for desk, _ in self._desks)
            if isinstance(event, Early) and blind:
                continue
            yield replace(event, head=event.head and not blind) if isinstance(event, BlockBatch) else event
            if isinstance(event, BlockBatch) and event.ref.number >= self._target:
                for desk, adapter in self._desks:
                    if desk.missing and desk.book.ref == event.ref:  # it was taken, and not asked for again
                        await self._filled(desk, adapter, event.ref)

    async def _filled(self, desk: D, adapter: Stored, ref: BlockRef) -> None:
        """All accounts or none; what fails is tried again at the next block."""
        columns = adapter.columns()
        try:
            async with aclosing(self._named(adapter, ref.number)) as wanted:
                count = await read(self._node, adapter, desk.book, columns, wanted, ref.hash)
        except TROUBLE as error:
            log.warning("book.unread", block=ref.number, error=str(error))
        else:
            self._fill(desk, columns)
            log.info("book.read", block=ref.number, accounts=count)

    async def _named(self, adapter: Stored, last: int) -> AsyncGenerator[Sequence[Key], None]:
        """All accounts up to block ``last``, as many as go into a call."""
        at, span, keys = self._since, SPANS[0], list[Key]()
        while at <= last:
            end = min(at + span - 1, last)
            try:
                blocks = await self._node.logs_range([adapter.roster()], at, end)
            except (Retry, RpcError):  # an answer may be too large, or too slow
                if end == at:
                    raise
                span = (end - at + 1) // 2
                continue
            names = [adapter.named(each) for block in blocks for each in block.logs]
            span = min(2 * span, SPANS[1]) if len(names) < NAMES else max(span // 2, 1)
            keys, at = list(dict.fromkeys((*keys, *names))), end + 1
            whole = len(keys) // TO_A_CALL * TO_A_CALL if end < last else len(keys)
            for first in range(0, whole, TO_A_CALL):
                yield keys[first : first + TO_A_CALL]
            del keys[:whole]


async def read(
    node: Asked, adapter: Stored, view: View, columns: Columns, wanted: AsyncIterator[Sequence[Key]], block: Hash
) -> int:
    """Accounts into columns that have none of them, as they are after ``block``; so many. ``wanted``: calls of keys.

    Raises one of ``TROUBLE``; the columns hold then some of them, and are of no use.
    """
    flying, room, count, now = deque[asyncio.Task[Told]](), FEW, 0, asyncio.get_running_loop().time
    quickest = inf  # seconds until an answer came

    async def asked(keys: Sequence[Key]) -> Told:
        nonlocal quickest
        began = now()
        told = await _asked(node, adapter, keys, block)
        quickest = min(quickest, now() - began)
        return told

    async def landed() -> None:
        nonlocal room, count
        told = await flying.popleft()
        began = now()
        for reading, answer in told:
            adapter.fill(view, columns, reading, answer)
            count += len(reading.keys)
        room = max(FEW, min(AT_ONCE, 1 + int(quickest / max(now() - began, 1e-6))))

    try:
        async for keys in wanted:
            while len(flying) >= room:
                await landed()
            flying.append(asyncio.create_task(asked(keys)))
            await asyncio.sleep(0)  # it is asked before others are taken
        while flying:
            await landed()
    finally:
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
    return count


async def _asked(node: Asked, adapter: Stored, keys: Sequence[Key], block: Hash) -> Told:
    """In halves where the node refuses: gas, or its answer, may be limited."""
    reading = adapter.reading(keys)
    try:
        return [(reading, await node.reread(reading, block))]
    except RpcError:
        if len(keys) < 2:
            raise
    half = len(keys) // 2
    return [each for part in (keys[:half], keys[half:]) for each in await _asked(node, adapter, part, block)]

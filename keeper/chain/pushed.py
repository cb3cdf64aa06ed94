"""Logs of a block: as they were asked for, and as the node pushes them, which may be before anybody has asked.

What is pushed is only a glance at a block. That a log is missing shows where the header's bloom promises one and none
has come; a second one of the same contract may be on its way. So the block is asked for all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog

from keeper.chain import bloom, codec
from keeper.chain.codec import Header, malformed
from keeper.chain.rpc import RpcError
from keeper.errors import NodeUnavailable
from keeper.model import Log, LogFilter

BLOCKS: Final = 4  # whose logs are kept until their header comes
Logs = tuple[Log, ...]
MOST: Final = 1_000  # logs of a block; with more, it is not glanced at

log = structlog.get_logger("chain")


class Pushing(Protocol):
    """See ``node.Node``."""

    @property
    def session(self) -> int: ...
    async def logs_pushed(self, filters: Sequence[LogFilter], handler: Callable[[Any], None]) -> list[str]: ...
    async def unsubscribe(self, names: Sequence[str]) -> None: ...


class Pushed:
    """What one node pushes."""

    def __init__(self, node: Pushing) -> None:
        self._node = node
        self._wanted: tuple[int, Sequence[LogFilter]] = 0, ()  # on which connection, and what
        self._subscriptions: list[str] = []  # none where the node refuses
        self._raw: dict[str, list[Any]] = {}  # by the hash of their block, as the node writes it
        self._more = asyncio.Event()

    async def keep(self, filters: Sequence[LogFilter]) -> None:
        """Have the logs pushed that these let through, on the connection there is."""
        wanted = self._node.session, filters
        if wanted == self._wanted:
            return
        before = self._subscriptions if wanted[0] == self._wanted[0] else []
        self._wanted, self._subscriptions, self._raw = (0, ()), [], {}  # what a node fails at is tried again
        try:
            await self._node.unsubscribe(before)
            self._subscriptions = await self._node.logs_pushed(filters, self._hear)
        except RpcError as error:
            log.warning("rpc.no_logs_pushed", why=str(error), help="every block is asked for before it is acted on")
        self._wanted = wanted

    async def of(self, header: Header, filters: Sequence[LogFilter], asked: asyncio.Future[Any]) -> Logs | None:
        """All that is pushed of a block, as soon as that is what its header promises to these filters.

        None once ``asked`` is done, or when it will never be.
        """
        block, logs = codec.to_hex(header.ref.hash), None
        while (self._node.session, filters) == self._wanted and self._subscriptions and not asked.done():
            if len(raw := self._raw.get(block, [])) > MOST or (logs := _whole(header, filters, raw)) is not None:
                break
            self._more.clear()
            more = asyncio.ensure_future(self._more.wait())
            await asyncio.wait({asked, more}, return_when=asyncio.FIRST_COMPLETED)
            more.cancel()
        self._raw.pop(block, None)
        return logs

    def _hear(self, payload: Any) -> None:
        """Not decoded: most blocks are never glanced at."""
        block = payload.get("blockHash") if isinstance(payload, dict) else None
        if not isinstance(block, str):
            return
        logs = self._raw.setdefault(block, [])
        if len(logs) <= MOST:
            logs.append(payload)
        self._more.set()
        if len(self._raw) > BLOCKS:
            del self._raw[next(iter(self._raw))]


def _whole(header: Header, filters: Sequence[LogFilter], raw: Sequence[Any]) -> Logs | None:
    """What was pushed, unless more is promised, or it is malformed, or its header denies it."""
    try:
        logs = gathered(header, [raw])
    except NodeUnavailable:
        return None
    whole = all(served(header, wanted, logs) for wanted in filters)
    return logs if whole and not bloom.of(logs) & ~header.bloom else None


def gathered(header: Header, answers: Iterable[Any]) -> Logs:
    """In block order, each once, though several queries may have found it."""
    found: dict[int, Log] = {}
    for answer in answers:
        for placed in map(codec.placed_log, codec.array(answer, "logs")):
            if placed.block != header.ref.hash:
                raise malformed("log.blockHash")
            found[placed.log.index] = placed.log
    return tuple(found[index] for index in sorted(found))


def served(header: Header, wanted: LogFilter, logs: Logs) -> bool:
    """Whether a filter has let something through, or the header denies that there is anything."""
    return any(codec.matches(wanted, log) for log in logs) or not bloom.admits(header.bloom, wanted)

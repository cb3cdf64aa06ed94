"""The async shell: brings events to the kernel and carries out what comes back.

    source ─► kernel.absorb ─► transactions.on_block ─► kernel.absorb ─► kernel.decide ─► transactions.submit

One block is one turn; nothing of the kernel ever waits. Live, dry run, fork and backtest differ only in the parts
handed in here by ``bootstrap.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from keeper.core.kernel import Kernel
from keeper.errors import Retry
from keeper.model import (
    Address,
    BlockBatch,
    BlockRef,
    Effect,
    Outcome,
    Reason,
    Record,
    Rollback,
    Send,
    Turn,
    TxEvent,
    TxState,
)
from keeper.ports import ChainSource, Clock, StateReader, Transactions, Watcher

log = structlog.get_logger("keeper")


async def nothing(ref: BlockRef) -> bool:
    return True


class Daemon:
    def __init__(
        self,
        kernel: Kernel,
        source: ChainSource,
        transactions: Transactions,
        reader: StateReader,
        signer: Address,
        clock: Clock,
        watchers: Sequence[Watcher] = (),
        after: Callable[[BlockRef], Awaitable[bool]] = nothing,
    ) -> None:
        """``after`` runs when a head has been dealt with; a stepped chain makes its next block there, or says False."""
        self.kernel = kernel
        self._source, self._transactions, self._reader = source, transactions, reader
        self._signer, self._clock, self._watchers, self._after = signer, clock, watchers, after
        self._ready = False
        self._pump: asyncio.Task[None] | None = None
        self._busy = self._stopping = False

    async def run(self, blocks: int | None = None) -> None:
        """Until ``stop``, the end of the source, or that many heads. Raises what must end the keeper."""
        async with asyncio.TaskGroup() as group:
            self._pump = group.create_task(self._follow(blocks))

    def stop(self) -> None:
        """Graceful: the turn in progress ends, no other begins."""
        self._stopping = True
        if self._pump is not None and not self._busy:
            self._pump.cancel()

    async def _follow(self, blocks: int | None) -> None:
        heads = 0
        async for event in self._source.events(self.kernel.ref.number + 1):
            self._busy = True
            began = self._clock.monotonic()
            self._show(self.kernel.absorb(event))
            if isinstance(event, Rollback):
                log.warning("block.rolled_back", block=event.to.number)
            if isinstance(event, BlockBatch) and event.head:
                heads += 1
                await self._turn(event.ref, began)
                going = await self._after(event.ref)
                if not going or (blocks is not None and heads >= blocks):
                    return
            self._busy = False
            if self._stopping:
                return

    async def _turn(self, ref: BlockRef, began: float) -> None:
        try:
            if not self._ready:
                await self._begin()
            self._hear(await self._transactions.on_block(ref))
        except Retry as error:
            log.warning("turn.skipped", block=ref.number, error=str(error))
            return
        effects = self.kernel.decide()
        decided, sent = self._clock.monotonic() - began, None
        for effect in effects:
            self._show([effect])
            if isinstance(effect, Send):
                self._hear(await self._submit(effect, ref))
                sent = sent or self._clock.monotonic() - began
        for watcher in self._watchers:
            watcher.turn(Turn(ref, decided, sent))

    async def _begin(self) -> None:
        """Start is recovery: what an earlier process left open comes first."""
        events = await self._transactions.recover()
        self.kernel.open(await self._reader.balance(self._signer))
        self._hear(events)
        self._ready = True
        log.info("keeper.ready", block=self.kernel.ref.number, open=len(events))

    async def _submit(self, effect: Send, ref: BlockRef) -> Sequence[TxEvent]:
        try:
            return await self._transactions.submit(effect.intent, ref)
        except Retry as error:
            log.warning("submit.failed", purpose=effect.intent.purpose, error=str(error))
            return [TxEvent(effect.intent.id, TxState.ABANDONED, why=Reason.RPC_DEGRADED)]

    def _hear(self, events: Iterable[TxEvent]) -> None:
        for event in events:
            self._show(self.kernel.absorb(event))

    def _show(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Record | Outcome | Send):
                for watcher in self._watchers:
                    watcher.effect(effect)

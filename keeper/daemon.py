"""The async shell: brings events to the kernel and carries out what comes back.

    source ──► kernel.absorb ─► kernel.first ─► transactions.on_block ─► kernel.absorb ─► kernel.decide ─► submit
                                kernel.expect ─► prepare                  for the next head
    mempool ─► kernel.absorb ─► kernel.glimpse ─► submit                  between two heads

One block is one turn; nothing of the kernel ever waits. Live, dry run, fork and backtest differ only in the parts
handed in here by ``bootstrap.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from keeper.chain.rpc import RpcError  # arrow: the one error that is neither ours nor the transport's
from keeper.core.kernel import Kernel
from keeper.errors import AdapterFault, Broken, Fenced, Retry, Unreadable
from keeper.model import (
    Address,
    BlockBatch,
    BlockRef,
    ChainEvent,
    Early,
    Effect,
    Hash,
    Outcome,
    Pending,
    Prepare,
    Reading,
    Reason,
    Record,
    Rollback,
    Seen,
    Send,
    Turn,
    TxEvent,
    TxState,
)
from keeper.ports import ChainSource, Clock, Mempool, StateReader, Transactions, Watcher

log = structlog.get_logger("keeper")
TROUBLE = (Retry, RpcError, Fenced)  # the node failed or refused, or the key is another host's: at the next block again
GRACE: Final = 1.0  # seconds that a turn in progress has to end when we are asked to stop
SENT: Final = (TxState.SIGNED, TxState.BROADCAST)


GLIMPSES: Final = 32  # between two heads; what comes after them is seen with the next head


Again = Callable[[Unreadable], Awaitable[None]]


async def given_up(why: Unreadable) -> None:
    """Where nobody can be asked again."""
    raise why


async def nothing(ref: BlockRef) -> bool:
    return True


async def _lasting(work: Callable[[], Awaitable[None]]) -> None:
    await work()
    raise Broken("a task that must last has ended")


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
        beside: Sequence[Callable[[], Awaitable[None]]] = (),
        reread: Callable[[Reading, Hash], Awaitable[bytes]] | None = None,
        mempool: Mempool | None = None,
        again: Again = given_up,
    ) -> None:
        """``after`` runs when a head has been dealt with; a stepped chain makes its next block there, or says False.

        ``beside`` are tasks that last as long as the daemon: when one fails, all of it ends. ``reread`` reads accounts
        again, at a block: with it the book is audited. ``mempool`` tells of calls that are not mined yet; None:
        nobody looks. ``again`` has a block that made no sense told anew, or raises what is wrong with it.
        """
        self.kernel = kernel
        self._source, self._transactions, self._reader = source, transactions, reader
        self._signer, self._clock, self._watchers, self._after = signer, clock, watchers, after
        self._beside, self._reread, self._mempool, self._again = beside, reread, mempool, again
        self._opening: tuple[int, int] | None = None  # block and coin (wei) at which we began to act
        self._unresolved = set[Hash]()  # intents of an earlier process that may still be mined
        self._ready = False
        self._pump: asyncio.Task[None] | None = None
        self._warmer: asyncio.Task[None] | None = None
        self._busy = self._stopping = False
        self._thinking = asyncio.Lock()  # of a turn, or of a glimpse
        self._dealt: BlockRef | None = None  # the head that has been dealt with; None while there is another
        self._aside: list[Pending] = []  # heard while there was no head to act on
        self._hurried: tuple[BlockRef | None, float] = None, 0.0  # at which head something was, and how long it took
        self._glimpses = 0  # since the last head
        self._untold: list[Effect | Turn] = []  # what the watchers have still to see

    async def run(self, blocks: int | None = None) -> None:
        """Until ``stop``, the end of the source, or that many turns. Raises what must end the keeper."""
        if self._stopping:
            return
        async with asyncio.TaskGroup() as group:
            beside = [*self._beside, self._listen] if self._mempool else self._beside
            others = [group.create_task(_lasting(work)) for work in beside]
            self._pump = group.create_task(self._follow(blocks))
            self._pump.add_done_callback(lambda _: [other.cancel() for other in others])

    def stop(self) -> None:
        """Graceful: the turn in progress ends, or is cut off after ``GRACE``, and no other begins.

        Cutting it off is safe: what was signed is in the journal, and the next start takes it up.
        """
        self._stopping = True
        if self._pump is not None and self._busy:
            asyncio.get_running_loop().call_later(GRACE, self._pump.cancel)
        elif self._pump is not None:
            self._pump.cancel()

    async def _follow(self, blocks: int | None) -> None:
        turns = 0
        async for event in self._source.events(self.kernel.ref.number + 1):
            self._busy = True
            if isinstance(event, Early):
                await self._hurry(event.batch)
                continue
            async with self._thinking:
                try:
                    turns += await self._heed(event)
                except Unreadable as error:
                    await self._again(error)
                    continue
                finally:
                    self._tell()
            if isinstance(event, BlockBatch) and event.head:
                await self._audit(event.ref)
                self._keep_warm()
                going = await self._after(event.ref)
                if not going or (blocks is not None and turns >= blocks):
                    return
            self._busy = False
            if self._stopping:
                return

    async def _hurry(self, batch: BlockBatch) -> None:
        """What was prepared for this block leaves before the block is read, if it looks as was expected."""
        self._dealt = None
        if not self._ready or self._unresolved:
            return
        began = self._clock.monotonic()
        async with self._thinking:
            try:
                with self.kernel.early(batch) as intents:
                    left = await self._transactions.hurry(intents, batch.ref)
                if left:
                    self._hurried = batch.ref, self._clock.monotonic() - began
                    self.kernel.left(left)
            except TROUBLE as error:
                log.warning("hurry.failed", block=batch.ref.number, error=str(error))

    async def _heed(self, event: ChainEvent) -> bool:
        """Whether it was the head of a turn."""
        began = self._clock.monotonic()
        self._dealt = None
        self._show(self.kernel.absorb(event))
        if isinstance(event, Rollback):
            self._rolled_back(event.to)
        return isinstance(event, BlockBatch) and event.head and await self._turn(event.ref, began)

    def _rolled_back(self, to: BlockRef) -> None:
        log.warning("block.rolled_back", block=to.number)
        if self._opening is not None and to.number < self._opening[0]:
            self._open(self._opening[1])  # the ledger has just forgotten it; no fee of the lost blocks is in it

    async def _turn(self, ref: BlockRef, began: float) -> bool:
        """Whether it was taken: a node in trouble costs a turn and nothing else."""
        try:
            if self._opening is None:
                await self._begin()
            first = await self._first(ref, began)
            self._hear(await self._transactions.on_block(ref))
            await self._look_ahead(ref)
        except TROUBLE as error:
            log.warning("turn.skipped", block=ref.number, error=str(error))
            return False
        if not self._resolved(ref):
            return False
        effects = self.kernel.decide()
        decided = self._clock.monotonic() - began
        sent = await self._perform(effects, ref, began)
        hurried, took = self._hurried
        self._untold.append(Turn(ref, decided, took if hurried == ref else sent if first is None else first))
        await self._prepare(ref)
        self._dealt, self._glimpses = ref, 0
        return True

    async def _prepare(self, ref: BlockRef) -> None:
        """For what the next block may bring."""
        for effect in self.kernel.expect():
            self._show([effect])
            if isinstance(effect, Prepare):
                try:
                    await self._transactions.prepare(effect.intents, ref)
                except TROUBLE as error:
                    log.warning("prepare.failed", block=ref.number, error=str(error))

    async def _first(self, ref: BlockRef, began: float) -> float | None:
        """What was expected of this block goes before all else; the time of the first answer, as ``_perform``."""
        if not self._ready or self._unresolved:
            return None
        return await self._perform(self.kernel.first(), ref, began)

    async def _perform(self, effects: Iterable[Effect], ref: BlockRef, began: float) -> float | None:
        """Seconds until the node had answered the first send; None when nothing was sent."""
        sent = None
        for effect in effects:
            self._show([effect])
            if isinstance(effect, Send):
                self._hear(await self._submit(effect, ref))
                sent = sent or self._clock.monotonic() - began
        return sent

    # ── what is not mined yet ──

    async def _look_ahead(self, ref: BlockRef) -> None:
        if self._mempool is None:
            return
        calls, self._aside = (*self._aside, *await self._mempool.seen(ref)), []
        self._foresee(calls, between=False)

    async def _listen(self) -> None:
        """For ever: what is heard between two heads is acted on at once."""
        assert self._mempool
        while True:
            calls = await self._mempool.heard()
            async with self._thinking:
                await self.glimpse(calls)

    async def glimpse(self, calls: Sequence[Pending]) -> None:
        """Calls heard after the head was dealt with: whatever they make possible is sent, to come behind them."""
        ref = self._dealt
        if ref is None or self._glimpses >= GLIMPSES:
            self._aside += calls
            return
        self._glimpses += 1
        self._foresee(calls, between=True)
        await self._perform(self.kernel.glimpse(), ref, self._clock.monotonic())
        self._tell()

    def _foresee(self, calls: Sequence[Pending], *, between: bool) -> None:
        if calls:
            self._show([Seen(tuple(calls), between)])
        for call in calls:
            self._show(self.kernel.absorb(call))

    async def _begin(self) -> None:
        """Start is recovery: what an earlier process left open comes first."""
        await self._warm()
        events, coin = await self._recovered()
        self._open(coin)
        self._hear(events)

    async def _warm(self) -> None:
        """Compile what scans are quicker with, in a thread: no block waits for it."""
        for work in self.kernel.warming():
            log.info("scan.warm", kernel=await asyncio.to_thread(work))

    def _keep_warm(self) -> None:
        """Beside the blocks, when the book has grown into it since the start."""
        if (self._warmer is None or self._warmer.done()) and self.kernel.warming():
            self._warmer = asyncio.create_task(self._warm())

    async def _recovered(self) -> tuple[Sequence[TxEvent], int]:
        """What is open, and our coin (wei) without its fees: the kernel counts those when it hears of its end."""
        while True:
            mined = await self._reader.nonce(self._signer)
            events = await self._transactions.recover()
            balance = await self._reader.balance(self._signer)
            if mined == await self._reader.nonce(self._signer):  # else one was mined in between
                receipts = {event.intent: event.receipt for event in events}
                return events, balance + sum(receipt.fee for receipt in receipts.values() if receipt)

    def _resolved(self, ref: BlockRef) -> bool:
        """Whether every open nonce is one of which the kernel knows: until then it might do the same thing again.

        Nothing is lost by waiting, because nonces are mined in order.
        """
        if self._unresolved:
            log.info("keeper.recovering", block=ref.number, open=len(self._unresolved))
        elif not self._ready:
            self._ready = True
            log.info("keeper.ready", block=ref.number)
        return not self._unresolved

    def _open(self, coin: int) -> None:
        self._opening = self.kernel.ref.number, coin
        self.kernel.open(coin)

    async def _audit(self, ref: BlockRef) -> None:
        """Read some accounts again; where one is wrong, all. A node that cannot do this is not asked again."""
        try:
            for reading in self.kernel.audit() if self._reread else ():
                if await self._corrected(reading, ref):
                    log.error("book.diverged", block=ref.number, protocol=reading.protocol)
                    for each in self.kernel.rereads(reading.protocol):
                        await self._corrected(each, ref)
        except Retry as error:
            log.warning("audit.skipped", block=ref.number, error=str(error))
        except (RpcError, AdapterFault) as error:
            log.warning("audit.off", block=ref.number, error=str(error), help="the node must allow state overrides")
            self._reread = None
        finally:
            self._tell()

    async def _corrected(self, reading: Reading, ref: BlockRef) -> bool:
        assert self._reread
        effects = self.kernel.amend(reading, await self._reread(reading, ref.hash))
        self._show(effects)
        return bool(effects)

    async def _submit(self, effect: Send, ref: BlockRef) -> Sequence[TxEvent]:
        try:
            return await self._transactions.submit(effect.intent, ref)
        except TROUBLE as error:
            log.warning("submit.failed", purpose=effect.intent.purpose, error=str(error))
            return [TxEvent(effect.intent.id, TxState.ABANDONED, why=Reason.RPC_DEGRADED)]

    def _hear(self, events: Iterable[TxEvent]) -> None:
        for event in events:
            self._show(self.kernel.absorb(event))
            strange = event.intent not in self.kernel.inflight and event.receipt is None
            (self._unresolved.add if strange and event.state in SENT else self._unresolved.discard)(event.intent)

    def _show(self, effects: Iterable[Effect]) -> None:
        """To the watchers, in this order, once there is time: no send waits for what is written about it."""
        self._untold += (effect for effect in effects if isinstance(effect, Record | Outcome | Send | Seen))

    def _tell(self) -> None:
        untold, self._untold = self._untold, []
        for one in untold:
            for watcher in self._watchers:
                watcher.turn(one) if isinstance(one, Turn) else watcher.effect(one)

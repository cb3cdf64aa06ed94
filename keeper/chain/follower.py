"""The canonical chain as a stream: every block in order, and every change of mind.

    push ─► wake ─► head ─► far behind? ── yes ─► log ranges, blocks without logs folded into the next batch
    poll ─►                     └── no ─► walk parents to a block we delivered ─► Rollback? ─► new blocks

A push only wakes the loop and saves reading the header: what is delivered follows from parent hashes alone.
A head below ours is believed when it stays (``Limits.regress``): behind a load balancer it comes and goes.
The node is best given to the follower alone, because trouble makes it hang up and dial again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from keeper.chain.codec import Header
from keeper.chain.finality import Finality
from keeper.chain.node import BlockLogs, Contents
from keeper.chain.pushed import Pushed
from keeper.chain.ring import RING, Ring
from keeper.chain.rpc import RpcError
from keeper.errors import Broken, ChainLost, NodeUnavailable, RateLimited, Retry, StaleRead, Unreadable, WrongChain
from keeper.model import BlockBatch, BlockRef, ChainEvent, Early, Hash, Interests, LogFilter, Read, Rollback
from keeper.ports import Clock

UNPUSHED: Final = 3  # heads in a row that we had to look for ourselves
FIRST_PAUSE: Final = 0.05  # seconds, doubled at each try
GLANCE: Final = 0.0005  # seconds that what a glance is good for may take until the block is asked for all the same
LONGEST_PAUSE: Final = 10.0  # seconds, however long a node asks us to wait


@dataclass(frozen=True, slots=True)
class Limits:
    poll: float = 1.0  # seconds between looks at the head, pushed or not
    depth: int = 64  # blocks; beyond it, reorgs are unlikely enough for ranges of logs
    span: int = 2_000  # blocks per range
    regress: float = 3.0  # seconds until a head below ours is believed
    max_head_age: float = 60.0  # seconds without a new head until it is called stale
    patience: float = 60.0  # seconds of trouble until ChainLost
    backoff: float = 1.0  # seconds, the longest pause between two tries


class ChainNode(Protocol):
    """What the follower asks of a node; see ``node.Node``."""

    @property
    def endpoint(self) -> str: ...
    @property
    def pushes(self) -> bool: ...
    @property
    def session(self) -> int: ...
    async def reset(self) -> None: ...
    async def heads(self, handler: Callable[[Header | None], None]) -> None: ...
    async def identity(self) -> tuple[int, Hash]: ...
    async def header(self, at: int | str | Hash) -> Header: ...
    async def headers(self, hashes: Sequence[Hash]) -> list[Header]: ...
    async def contents(self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read]) -> Contents: ...
    async def logs_range(self, filters: Sequence[LogFilter], first: int, last: int) -> list[BlockLogs]: ...
    async def logs_pushed(self, filters: Sequence[LogFilter], handler: Callable[[Any], None]) -> list[str]: ...
    async def unsubscribe(self, names: Sequence[str]) -> None: ...


class Follower:
    """Implements ``ports.ChainSource``. ``interests`` is asked before every block, since reads grow with the book."""

    def __init__(
        self,
        node: ChainNode,
        interests: Callable[[], Sequence[Interests]],
        clock: Clock,
        limits: Limits | None = None,
        notice: Callable[[BlockRef], None] = lambda head: None,
        early: Callable[[], bool] | None = None,
    ) -> None:
        """``notice`` is told of a head before its logs are asked for. ``early``: whether a head is worth a glance."""
        self._node, self._notice, self._early = node, notice, early
        self._logs = Pushed(node)
        self._interests = interests
        self._clock = clock
        self._limits = limits or Limits()
        self._ring = Ring()
        self._log = structlog.get_logger("chain")
        self._trouble = _Trouble(node.endpoint, clock, self._limits)
        self._wake = asyncio.Event()
        self._pushed: list[Header] = []
        self._wary = False  # whether a pushed head is looked for before what is below it is followed
        self._session = 0  # the connection on which we checked the chain and asked for heads
        self._identity: tuple[int, Hash] | None = None
        self._span = self._limits.span
        self._unpushed = 0
        self._pushes = False
        self._final = Finality(node)
        self._below: float | None = None  # since when the node's head is below ours
        self._moved = clock.monotonic()  # when the head last changed
        self._stale = False
        self._doubt: Unreadable | None = None  # about the block that was delivered last
        self._doubted = BlockRef(-1, b"", b"", 0, 0, 0, 0), 0.0  # the last such block, and since when

    async def events(self, start: int) -> AsyncIterator[ChainEvent]:
        """Every block from ``start`` on; once per follower. Raises ChainLost, WrongChain or Broken; never just ends."""
        while True:
            try:
                async for event in self._advance(start):
                    self._trouble.over()
                    yield event
                    self._told_again()
            except (Retry, RpcError) as error:
                self._wary |= bool(self._pushed)  # a dead block among them, or one of no chain, may be the cause
                self._pushed.clear()
                if isinstance(error, NodeUnavailable):
                    await self._node.reset()
                await self._trouble.met(error)
            else:
                self._trouble.over()
                await self._rest()

    async def again(self, why: Unreadable) -> None:
        """The block delivered last makes no sense: it will be asked for again, elsewhere where that can be.

        Raises ``why`` when it has made none for ``Limits.patience``.
        """
        now, (block, since) = self._clock.monotonic(), self._doubted
        if block != self._ring.tip:
            self._doubted = self._ring.tip, now
        elif now - since >= self._limits.patience:
            raise why
        self._log.warning("block.unreadable", endpoint=self._node.endpoint, error=str(why))
        self._doubt = why
        await self._clock.sleep(self._limits.backoff if block == self._ring.tip else FIRST_PAUSE)

    def _told_again(self) -> None:
        if self._doubt is not None:
            doubt, self._doubt = self._doubt, None
            self._ring.pop()
            raise NodeUnavailable(f"{self._node.endpoint}: {doubt}")

    # ── one look at the chain ──

    async def _advance(self, start: int) -> AsyncIterator[ChainEvent]:
        """All that is new, up to the head as it is now."""
        await self._greet()
        if not self._ring:
            self._ring.push(await self._before(start))
        head = await self._head()
        if head is None:
            return
        async for event in self._catch_up(head.ref.number - self._limits.depth):
            yield event
        async for event in self._follow(head):
            yield event
        if self._early is not None and self._early() and self._pushes and self._session == self._node.session:
            await self._logs.keep(self._filters())

    async def _greet(self) -> None:
        """On a new connection: make sure of the chain, then ask for its heads."""
        while self._session != (session := self._node.session):
            await self._verify()
            self._pushes = self._node.pushes and await self._subscribed()
            self._session = session

    async def _subscribed(self) -> bool:
        """Whether heads will be pushed. A node that cannot do that is looked at instead."""
        try:
            await self._node.heads(self._on_head)
        except RpcError as error:
            self._log.warning("rpc.no_push", endpoint=self._node.endpoint, error=str(error))
            return False
        return True

    async def _verify(self) -> None:
        """Is this still the chain we began with? HTTP has no connection that would end if it were not."""
        identity = await self._node.identity()
        if self._identity not in (None, identity):
            raise WrongChain(f"{self._node.endpoint}: chain id or genesis changed while we were following it")
        self._identity = identity

    async def _before(self, start: int) -> BlockRef:
        """The parent of the first block. Genesis has none, but names one."""
        if start > 0:
            return (await self._node.header(start - 1)).ref
        return BlockRef(number=-1, hash=bytes(32), parent=bytes(32), timestamp=0, base_fee=0, gas_used=0, gas_limit=0)

    async def _head(self) -> Header | None:
        """The head to go to, or None if that is where we are."""
        pushed, tip = max(reversed(self._pushed), key=lambda head: head.ref.number, default=None), self._ring.tip
        if pushed is not None and pushed.ref.number > tip.number:
            self._wary = self._wary and await self._node.header(pushed.ref.hash) != pushed
            if not self._wary:
                return pushed
            self._pushed.clear()
        head = await self._node.header("latest")
        if head.ref.number > tip.number and not self._trouble:
            self._missed()
        if head.ref.number >= tip.number:
            self._below = None
            return head if head.ref.hash != tip.hash else None
        now = self._clock.monotonic()
        self._below = now if self._below is None else self._below
        return head if now - self._below >= self._limits.regress else None

    def _missed(self) -> None:
        """A head that we had to look for. A subscription that yields none any more is as good as a closed one."""
        self._unpushed += self._pushes
        if self._unpushed > UNPUSHED:
            self._unpushed = 0
            raise NodeUnavailable(f"{self._node.endpoint}: heads are not pushed any more")

    # ── far from the head ──

    async def _catch_up(self, last: int) -> AsyncIterator[ChainEvent]:
        """Blocks up to ``last``, by ranges of logs. Only blocks with logs, and the end of each range, get a batch."""
        if self._ring.tip.number >= last:
            return
        if self._ring.tip.number >= 0:
            async for event in self._follow(await self._node.header(self._ring.tip.number)):
                yield event
        while self._ring.tip.number < last:
            span = self._span
            self._span = max(1, span // 2)  # if it fails: an answer may be too large, or too slow
            async for batch in self._range(min(self._ring.tip.number + span, last)):
                yield batch
            self._span = min(span + self._limits.span // 32 + 1, self._limits.span)

    async def _range(self, end: int) -> AsyncIterator[BlockBatch]:
        """Up to block ``end``, or up to the first block that changes what we have to ask for."""
        filters = self._filters()
        found = await self._node.logs_range(filters, self._ring.tip.number + 1, end)
        headers = await self._node.headers([each.block for each in found])
        for each, header in zip(found, headers, strict=True):
            if header.ref.number != each.number:
                raise StaleRead(f"{self._node.endpoint}: logs of block {each.number} name block {header.ref.number}")
            yield self._folded(header.ref, each)
            if self._filters() != filters:
                return
        if self._ring.tip.number < end:
            yield self._folded((await self._node.header(end)).ref, None)

    def _folded(self, ref: BlockRef, logs: BlockLogs | None) -> BlockBatch:
        first = self._ring.tip.number + 1
        self._delivered(ref)
        return BlockBatch(ref, logs.logs if logs else (), first=first, head=False)

    # ── near the head ──

    async def _follow(self, head: Header) -> AsyncIterator[ChainEvent]:
        """From the last block that we share with ``head`` to ``head``, one batch per block."""
        if head.ref.hash in self._ring:
            branch, shared = [], head.ref.hash
        else:
            branch = await self._branch(head)
            shared = branch[0].ref.parent
        if shared != self._ring.tip.hash:
            await self._verify()
            self._final.allow(self._ring.get(shared))
            yield Rollback(self._ring.back_to(shared))
        await self._final.advance(head.ref.number)
        for header in branch:
            wanted = self._filters(), self._reads()  # by the blocks before it, whatever a glance at it lets expect
            if last := self._is_head(header.ref, branch[-1].ref):
                self._notice(header.ref)
            if not (last and self._early is not None and self._early()):
                logs, reads = await self._node.contents(header, *wanted)
            else:
                due = asyncio.Event()
                asked = asyncio.ensure_future(self._read(header, *wanted, due))
                try:
                    if (pushed := await self._logs.of(header, wanted[0], asked)) is not None:
                        yield Early(BlockBatch(header.ref, pushed))
                    due.set()
                    logs, reads = await asked
                finally:
                    asked.cancel()
            self._delivered(header.ref)
            yield BlockBatch(header.ref, logs, reads, head=self._is_head(header.ref, branch[-1].ref))

    async def _read(
        self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read], due: asyncio.Event
    ) -> Contents:
        """What is in a block: asked for when that is due, or a glance has been good for long enough."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GLANCE):
                await due.wait()
        return await self._node.contents(header, filters, reads)

    def _is_head(self, ref: BlockRef, goal: BlockRef) -> bool:
        """Whether no newer block is known by now."""
        return ref is goal and not any(pushed.ref.number > ref.number for pushed in self._pushed)

    async def _branch(self, head: Header) -> list[Header]:
        """Ascending, from the child of a delivered block to ``head``."""
        pushed = {header.ref.hash: header for header in self._pushed}
        branch = [head]
        while (parent := branch[-1].ref.parent) not in self._ring:
            if branch[-1].ref.number <= self._ring.oldest.number or len(branch) > RING + self._limits.depth:
                await self._verify()
                raise ChainLost(
                    f"{self._node.endpoint}: block {head.ref.number} shares no block with the last {RING} we followed",
                    help="a reorg this deep needs a fresh start: restart the keeper",
                )
            branch.append(pushed.get(parent) or await self._node.header(parent))
            self._check_child(branch[-2].ref, branch[-1].ref)
        self._check_child(branch[-1].ref, self._ring.get(parent))
        branch.reverse()
        return branch

    def _check_child(self, child: BlockRef, parent: BlockRef) -> None:
        if child.number != parent.number + 1:
            raise NodeUnavailable(f"{self._node.endpoint}: block {child.number} follows block {parent.number}")

    def _delivered(self, ref: BlockRef) -> None:
        self._ring.push(ref)
        self._moved = self._clock.monotonic()
        self._below, self._stale = None, False

    # ── what to ask for ──

    def _filters(self) -> list[LogFilter]:
        return [each for interests in self._interests() for each in interests.logs]

    def _reads(self) -> list[Read]:
        reads: dict[str, Read] = {}
        for read in (each for interests in self._interests() for each in interests.reads):
            if reads.setdefault(read.name, read) != read:
                raise Broken(f"two different reads are called {read.name!r}")
        return list(reads.values())

    # ── between looks ──

    def _on_head(self, head: Header | None) -> None:
        if head is not None:
            self._pushed.append(head)
            del self._pushed[:-RING]
        self._unpushed = 0
        self._wake.set()

    async def _rest(self) -> None:
        """Until something is pushed, or for one poll interval."""
        self._pushed = [head for head in self._pushed if head.ref.number > self._ring.tip.number]
        age = self._clock.monotonic() - self._moved
        if age > self._limits.max_head_age and not self._stale:
            self._stale = True
            self._log.warning(
                "head.stale", endpoint=self._node.endpoint, number=self._ring.tip.number, age_s=round(age)
            )
        await self._wait(self._limits.poll)

    async def _wait(self, seconds: float) -> None:
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        sleeper.add_done_callback(self._rung)
        try:
            await self._wake.wait()
        finally:
            sleeper.cancel()
            self._wake.clear()

    def _rung(self, sleeper: asyncio.Future[None]) -> None:
        if not sleeper.cancelled():
            self._wake.set()


class _Trouble:
    """From the first failure to the next success: says so, waits longer each time, gives up in the end."""

    def __init__(self, endpoint: str, clock: Clock, limits: Limits) -> None:
        self._log = structlog.get_logger("chain").bind(endpoint=endpoint)
        self._endpoint = endpoint
        self._clock = clock
        self._limits = limits
        self._since: float | None = None
        self._tries = 0
        self._told = False

    def __bool__(self) -> bool:
        return self._since is not None

    async def met(self, error: Retry | RpcError) -> None:
        """Returns when to try again. Raises ChainLost after ``Limits.patience``."""
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._limits.patience:
            raise ChainLost(f"{self._endpoint}: no progress for {now - self._since:.0f} s: {error}") from error
        if not self._told and not isinstance(error, StaleRead):  # one stale read is an ordinary reorg
            self._told = True
            self._log.warning("rpc.lost", code=error.code, error=str(error))
        asked = min(error.after, LONGEST_PAUSE) if isinstance(error, RateLimited) else 0.0
        await self._clock.sleep(max(asked, min(self._limits.backoff, FIRST_PAUSE * 2 ** min(self._tries, 16))))
        self._tries += 1

    def over(self) -> None:
        if self._since is None:
            return
        if self._told:
            self._log.info("rpc.back", away_s=round(self._clock.monotonic() - self._since, 3))
        self._since, self._tries, self._told = None, 0, False

"""Calls that are not mined yet, as the node hears of them.

    whole     newPendingTransactions with whole transactions: nothing more to ask
    hashes    the same with hashes only: each is asked for, many at a time
    block     no such subscription: the block that the node would make now, looked at with each head

Which of them it is, and why, is logged. All of it is bounded: a flood costs memory for so many hashes and calls, and
what is lost in it is looked for in the pending block at the next head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Any, Final

import structlog

from keeper.chain import codec
from keeper.chain.node import Node
from keeper.chain.pool import Pool
from keeper.chain.rpc import Rpc, RpcError
from keeper.errors import KeeperError, Retry
from keeper.model import Address, BlockRef, Pending
from keeper.ports import Clock

KIND: Final = "newPendingTransactions"
REMEMBERED: Final = 8_192  # hashes that are not looked at twice
QUEUED: Final = 512  # hashes still to be asked for, and calls still to be taken
AT_ONCE: Final = 50  # asked for in one batch
PAUSE: Final = 1.0  # seconds until a lost connection is tried again

log = structlog.get_logger("chain")


class Way(StrEnum):
    WHOLE = "whole"
    HASHES = "hashes"
    BLOCK = "block"


class Mempool:
    """Implements ``ports.Mempool``. ``listen`` runs beside the daemon, on a connection of its own."""

    def __init__(self, rpc: Rpc | Pool, awaited: Callable[[], Collection[Address]], clock: Clock) -> None:
        self.way = Way.WHOLE if rpc.pushes else Way.BLOCK
        self._rpc, self._node, self._awaited, self._clock = rpc, Node(rpc), awaited, clock
        self._known = dict[str, None]()  # hashes, the oldest first
        self._asked = deque[str]()  # hashes to be looked up
        self._calls = deque[Pending]()  # to be taken
        self._blind = True  # something may have been missed: look at the pending block
        self._rung = asyncio.Event()  # there are calls to be taken
        self._work = asyncio.Event()  # there are hashes to be looked up, or the connection is gone
        self._lost = False

    # ── ports.Mempool ──

    async def seen(self, head: BlockRef) -> Sequence[Pending]:
        calls = self._taken()
        if self._blind:
            calls += await self._node.pending(self._awaited())
            self._blind = self.way is Way.BLOCK or self._lost
        return calls

    async def heard(self) -> Sequence[Pending]:
        while not self._calls:
            self._rung.clear()
            await self._rung.wait()
        return self._taken()

    def _taken(self) -> list[Pending]:
        calls = list(self._calls)
        self._calls.clear()
        return calls

    # ── listening ──

    async def listen(self) -> None:
        """For ever."""
        while self.way is not Way.BLOCK:
            try:
                await self._subscribe()
                while not self._lost:
                    self._work.clear()
                    await self._look_up()
                    await self._work.wait()
            except Retry as error:
                log.warning("mempool.lost", endpoint=self._node.endpoint, error=str(error))
            except RpcError as error:
                self._refused(error)
            self._lost = self._blind = True
            await self._clock.sleep(PAUSE)
        log.info("mempool.way", way=self.way, endpoint=self._node.endpoint)
        await asyncio.Event().wait()

    async def _subscribe(self) -> None:
        """With whole transactions where the node gives them, else with hashes. RpcError where it gives neither."""
        self._lost = False
        try:
            await self._rpc.subscribe(KIND, self._told, True)
        except RpcError:
            await self._rpc.subscribe(KIND, self._told)
            self.way = Way.HASHES
        log.info("mempool.way", way=self.way, endpoint=self._node.endpoint)

    def _refused(self, error: RpcError) -> None:
        log.warning("mempool.refused", endpoint=self._node.endpoint, error=str(error), instead="the pending block")
        self.way = Way.BLOCK

    def _told(self, payload: Any) -> None:
        """What the subscription brings: a transaction, a hash, or the end (None). Anything else is passed over."""
        if payload is None:
            self._lost = self._blind = True
            self._work.set()
        elif isinstance(payload, str):
            self.way = Way.HASHES
            if self._new(payload):
                self._asked.append(payload)
                self._drop(self._asked)
                self._work.set()
        elif isinstance(payload, dict) and self._new(str(payload.get("hash"))):
            self._take(payload)

    def _new(self, name: str) -> bool:
        if name in self._known:
            return False
        self._known[name] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return True

    async def _look_up(self) -> None:
        while self._asked and not self._lost:
            part = [self._asked.popleft() for _ in range(min(AT_ONCE, len(self._asked)))]
            for tx in await self._rpc.batch([("eth_getTransactionByHash", (one,)) for one in part]):
                if isinstance(tx, dict) and tx.get("blockHash") is None:  # else gone, or mined already
                    self._take(tx)

    def _take(self, tx: dict[str, Any]) -> None:
        try:
            call = codec.pending(tx)
        except KeeperError:  # one that makes no sense says nothing about the others
            return
        if call is not None and call.target in self._awaited():
            self._calls.append(call)
            self._drop(self._calls)
            self._rung.set()

    def _drop(self, queue: deque[Any]) -> None:
        """The oldest of too many."""
        if len(queue) > QUEUED:
            queue.popleft()
            self._blind = True


class Replayed:
    """The calls that a recorded keeper saw; ``looked`` says what it saw with the newest block."""

    def __init__(self, looked: Callable[[BlockRef], Sequence[Pending]]) -> None:
        self._looked = looked

    async def seen(self, head: BlockRef) -> Sequence[Pending]:
        return self._looked(head)

    async def heard(self) -> Sequence[Pending]:
        await asyncio.Event().wait()
        return ()

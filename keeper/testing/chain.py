"""A chain in memory, written by a test as a table of what happens to it.

    chain = ScriptedChain()
    chain.play(
        ("mine", 3),                             # three blocks
        ("mine", 1, [log(pool, topic)]),         # a block with a log
        ("reorg", 2),                            # two blocks replaced, the number of the head unchanged
        ("rollback", 1),                         # the head gone, and nobody is told
        ("fail", 2, StaleRead("unknown block")), # the next two questions get no answer
        ("freeze",),                             # the node stops at this head, the chain does not
        ("thaw",),
        ("hang_up",),                            # the connection ends
    )

It answers what the follower asks of ``chain.node.Node``. Time on it is 12 seconds per block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from keeper.chain import bloom  # arrow: plays the part of a node
from keeper.chain.codec import Header, matches, to_hex  # arrow: the same
from keeper.chain.node import BlockLogs, Contents  # arrow: the same
from keeper.errors import KeeperError, StaleRead
from keeper.model import Address, BlockRef, Hash, Log, LogFilter, Read

BLOCK_SECONDS: Final = 12
GENESIS: Final = 1_700_000_000  # timestamp

Answers = Callable[[Read, BlockRef], bytes]  # b"": the call reverts


def log(address: Address, *topics: Hash, data: bytes = b"") -> Log:
    """A log whose place in the block and transaction are not known yet."""
    return Log(address, topics, data, tx_hash=bytes(32), index=0)


class ScriptedChain:
    endpoint = "scripted"

    def __init__(self, *, pushes: bool = True, remembers: bool = False, answers: Answers | None = None) -> None:
        """``remembers``: blocks that were reorganised away can still be asked for, as on geth."""
        self.pushes = pushes
        self.session = 1
        self.chain_id = 31337
        self.asked = 0  # questions so far, failed ones included
        self.finality = 10**6  # blocks until one is final
        self.blocks: list[Header] = []  # canonical
        self.contents_of: dict[Hash, tuple[Log, ...]] = {}
        self._answers = answers or (lambda read, ref: ref.hash)
        self._remembers = remembers
        self._dead: dict[Hash, Header] = {}
        self._frozen: Header | None = None
        self.faults: list[KeeperError] = []
        self.late: int | None = None  # how many logs of a block are pushed with its head; None: all
        self._handlers: list[Callable[[Header | None], None]] = []
        self._listeners: list[tuple[Sequence[LogFilter], Callable[[Any], None]]] = []
        self._made = 0
        self.mine()

    # ── what happens ──

    def play(self, *steps: tuple[Any, ...]) -> None:
        """Each step is the name of a method below and its arguments."""
        for name, *arguments in steps:
            getattr(self, name)(*arguments)

    def mine(self, count: int = 1, logs: Sequence[Log] = ()) -> BlockRef:
        """Blocks on top of the head; the logs are in the last one."""
        for left in reversed(range(count)):
            self._tell(self._add(logs if left == 0 else ()))
        return self.head.ref

    def reorg(self, depth: int, logs: Sequence[Log] = ()) -> BlockRef:
        """The last ``depth`` blocks are replaced by as many others, of which the last has the logs."""
        self.rollback(depth)
        return self.mine(depth, logs)

    def rollback(self, count: int) -> BlockRef:
        """The last blocks are gone, silently. Genesis stays."""
        for _ in range(min(count, len(self.blocks) - 1)):
            block = self.blocks.pop()
            self._dead[block.ref.hash] = block
        return self.head.ref

    def fail(self, count: int, error: KeeperError) -> None:
        """The next questions are answered with this error."""
        self.faults += [error] * count

    def freeze(self, behind: int = 0) -> None:
        """The node's head stays where it is, or so many blocks below."""
        self._frozen = self.blocks[max(0, len(self.blocks) - 1 - behind)]

    def thaw(self) -> None:
        self._frozen = None
        self._tell(self.head)

    def push(self, number: int) -> None:
        """This head once more, out of order."""
        self._tell(self.blocks[number])

    def hang_up(self) -> None:
        handlers, self._handlers = self._handlers, []
        listeners, self._listeners = self._listeners, []
        self.session += 1
        for handler in (*handlers, *(listener for _, listener in listeners)):
            handler(None)

    @property
    def head(self) -> Header:
        return self.blocks[-1]

    def _add(self, logs: Sequence[Log]) -> Header:
        number, parent = len(self.blocks), self.head.ref.hash if self.blocks else bytes(32)
        self._made += 1
        name = sha256(parent + self._made.to_bytes(8, "big")).digest()
        placed = tuple(replace(each, index=index, tx_hash=name) for index, each in enumerate(logs))
        ref = BlockRef(number, name, parent, GENESIS + number * BLOCK_SECONDS, 10**9, gas_used=0, gas_limit=30_000_000)
        self.contents_of[name] = placed
        self.blocks.append(Header(ref, bloom.of(placed)))
        return self.head

    def _tell(self, head: Header) -> None:
        if self._frozen is not None:
            return
        for filters, listener in self._listeners:
            for each in self._matching(head.ref.hash, filters)[: self.late]:
                listener(_payload(head, each))
        for handler in self._handlers:
            handler(head)

    # ── what is asked: chain.node.Node ──

    async def reset(self) -> None:
        self.hang_up()

    async def heads(self, handler: Callable[[Header | None], None]) -> None:
        await self._question()
        self._handlers.append(handler)

    async def logs_pushed(self, filters: Sequence[LogFilter], handler: Callable[[Any], None]) -> list[str]:
        await self._question()
        self._listeners.append((filters, handler))
        return [str(len(self._listeners))]

    async def unsubscribe(self, names: Sequence[str]) -> None:
        if names:
            await self._question()
            del self._listeners[: len(names)]

    async def identity(self) -> tuple[int, Hash]:
        await self._question()
        return self.chain_id, self.blocks[0].ref.hash

    async def header(self, at: int | str | Hash) -> Header:
        await self._question()
        if isinstance(at, bytes):
            return self._by_hash(at)
        if at == "finalized":
            return self.blocks[max(0, len(self.blocks) - 1 - self.finality)]
        if isinstance(at, str):
            return self._frozen or self.head
        if at < len(self.blocks):
            return self.blocks[at]
        raise StaleRead(f"no block {at}")

    async def headers(self, hashes: Sequence[Hash]) -> list[Header]:
        await self._question()
        return [self._by_hash(each) for each in hashes]

    async def contents(self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read]) -> Contents:
        await self._question()
        ref = self._by_hash(header.ref.hash).ref
        return Contents(self._matching(ref.hash, filters), {read.name: self._answers(read, ref) for read in reads})

    async def logs_range(self, filters: Sequence[LogFilter], first: int, last: int) -> list[BlockLogs]:
        await self._question()
        if last >= len(self.blocks):
            raise StaleRead(f"no block {last}")
        refs = [header.ref for header in self.blocks[first : last + 1]]
        found = [BlockLogs(ref.number, ref.hash, self._matching(ref.hash, filters)) for ref in refs]
        return [each for each in found if each.logs]

    async def _question(self) -> None:
        await asyncio.sleep(0)  # a node's answer is never instant: the chain may change meanwhile
        self.asked += 1
        if self.faults:
            raise self.faults.pop(0)

    def _by_hash(self, block: Hash) -> Header:
        found = next((header for header in reversed(self.blocks) if header.ref.hash == block), None)
        found = found or (self._dead.get(block) if self._remembers else None)
        if found is None:
            raise StaleRead(f"unknown block {block.hex()}")
        return found

    def _matching(self, block: Hash, filters: Sequence[LogFilter]) -> tuple[Log, ...]:
        return tuple(each for each in self.contents_of[block] if any(matches(wanted, each) for wanted in filters))


def _payload(head: Header, log: Log) -> dict[str, Any]:
    """As a node writes it."""
    place = {"blockNumber": hex(head.ref.number), "blockHash": to_hex(head.ref.hash), "logIndex": hex(log.index)}
    told = {"address": to_hex(log.address), "topics": [*map(to_hex, log.topics)], "data": to_hex(log.data)}
    return {**place, **told, "transactionHash": to_hex(log.tx_hash), "removed": False}

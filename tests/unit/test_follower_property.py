"""Whatever happens to the chain and to the node: the book ends as if only the canonical chain had ever been."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from keeper.chain.follower import Follower, Limits
from keeper.chain.rpc import RpcError
from keeper.core.book import Book
from keeper.errors import NodeUnavailable, RateLimited, StaleRead
from keeper.model import BlockBatch, BlockRef, Delta, Hash, Interests, Key, Log, LogFilter, Read, Rollback
from keeper.testing.chain import ScriptedChain, log
from keeper.testing.clock import VirtualClock

POOL = b"\x01" * 20
DEPTH = 5  # of Limits, where ranges are tried: no reorg may reach deeper
ERRORS = (NodeUnavailable("closed"), RateLimited("slow"), StaleRead("unknown block"), RpcError("n", -32603, "oops"))
SEEN, PRICE = Key("seen", 0), Key("price", 0)


class Diary:
    """An adapter that remembers every log and the last read, so that nothing can be missed, doubled or kept."""

    name = "diary"

    def interests(self, view: Any) -> Interests:
        return Interests(logs=(LogFilter(POOL),), reads=(Read("price", POOL, b""),))

    def absorb(self, view: Any, source: Log | tuple[Read, bytes], ref: BlockRef) -> Iterable[Delta]:
        if isinstance(source, Log):
            before = view.get(SEEN)
            yield Delta(SEEN, before, (*(before or ()), (ref.hash, source.index)))
        else:
            yield Delta(PRICE, view.get(PRICE), source[1])

    kinds = ()

    def columns(self) -> Any:
        return self

    def put(self, key: Key, record: Any) -> None:
        pass


def canonical(chain: ScriptedChain) -> tuple[tuple[Hash, int], ...]:
    return tuple((block.ref.hash, each.index) for block in chain.blocks for each in chain.contents_of[block.ref.hash])


counts = st.integers(1, 6)
logs = st.sampled_from([(), (log(POOL),), (log(POOL), log(POOL))])
steps = st.one_of(
    st.tuples(st.just("mine"), counts, logs),
    st.tuples(st.just("mine"), counts, logs),
    st.tuples(st.just("reorg"), counts, logs),
    st.tuples(st.just("rollback"), counts),
    st.tuples(st.just("fail"), counts, st.sampled_from(ERRORS)),
    st.tuples(st.just("freeze"), st.integers(0, 3)),
    st.tuples(st.just("thaw")),
    st.tuples(st.just("hang_up")),
    st.tuples(st.just("turns"), st.integers(1, 40)),
)


class Life:
    """A chain, and a book that follows it."""

    def __init__(self, chain: ScriptedChain, limits: Limits) -> None:
        self.chain, self.limits = chain, limits
        self.book = Book(Diary(), BlockRef(-1, bytes(32), bytes(32), 0, 0, 0, 0))  # type: ignore[arg-type]
        self.following = asyncio.create_task(self.follow())
        self.highest = 0

    async def follow(self) -> None:
        clock = VirtualClock(auto=True)
        async for event in Follower(self.chain, lambda: [self.book.interests], clock, self.limits).events(0):
            if isinstance(event, BlockBatch):
                self.book.apply(event)
            elif isinstance(event, Rollback):
                self.book.rollback(event.to)

    async def play(self, name: str, *arguments: Any) -> None:
        if name == "turns":
            await turns(*arguments)
            return
        if name in ("reorg", "rollback"):
            final = max(0, self.highest - self.limits.depth)
            arguments = (min(arguments[0], self.chain.head.ref.number - final), *arguments[1:])
        self.chain.play((name, *arguments))
        self.highest = max(self.highest, self.chain.head.ref.number)

    async def settle(self) -> None:
        for _ in range(500):
            await turns(20)
            if self.following.done():
                self.following.result()
            if self.book.ref == self.chain.head.ref and not self.chain.faults:
                return


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def live_through(script: Sequence[tuple[Any, ...]], chain: ScriptedChain, limits: Limits) -> None:
    life = Life(chain, limits)
    for step in script:
        await life.play(*step)
    chain.thaw()
    await life.settle()
    assert life.book.ref == chain.head.ref
    assert (life.book.get(SEEN) or ()) == canonical(chain)
    chain.mine()  # where a rollback reached a block from a range, reads come with the next one
    await life.settle()
    assert life.book.get(PRICE) == chain.head.ref.hash
    life.following.cancel()


@pytest.mark.parametrize("depth", [1_000, DEPTH], ids=["near", "far"])
@given(script=st.lists(steps, max_size=30), pushes=st.booleans(), remembers=st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_book_equals_the_canonical_chain(
    depth: int, script: list[tuple[Any, ...]], pushes: bool, remembers: bool
) -> None:
    chain = ScriptedChain(pushes=pushes, remembers=remembers)
    with capture_logs():
        asyncio.run(live_through(script, chain, Limits(depth=depth, span=3, patience=1e9)))

"""What the tests of the follower share: a scripted chain, followed on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from keeper.chain.follower import Follower, Limits
from keeper.model import BlockBatch, BlockRef, ChainEvent, Interests, LogFilter, Read
from keeper.ports import Clock
from keeper.testing.chain import ScriptedChain, log
from keeper.testing.clock import VirtualClock

POOL, OTHER = b"\x01" * 20, b"\x02" * 20
TOPIC = b"\x0a" * 32
HERE = log(POOL, TOPIC)
ELSEWHERE = log(OTHER, TOPIC)
WANTED = Interests(logs=(LogFilter(POOL),), reads=(Read("price", POOL, b"\x50"),))
NEAR = Limits(depth=1_000)
FAR = Limits(depth=4, span=5)

Stream = AsyncIterator[ChainEvent]


def follow(
    chain: ScriptedChain,
    start: int = 0,
    limits: Limits = NEAR,
    interests: Callable[[], Sequence[Interests]] = lambda: [WANTED],
    clock: Clock | None = None,
) -> Stream:
    return Follower(chain, interests, clock or VirtualClock(auto=True), limits).events(start)


async def take(stream: Stream, count: int) -> list[ChainEvent]:
    async with asyncio.timeout(5):
        return [await anext(stream) for _ in range(count)]


def refs(events: Sequence[ChainEvent]) -> list[BlockRef]:
    return [event.ref for event in events if isinstance(event, BlockBatch)]

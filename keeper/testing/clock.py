"""A clock that a test holds in its hand."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class VirtualClock:
    """Implements ``ports.Clock``; time moves only when told to.

    By hand: ``await clock.advance(5)`` moves time and wakes who sleeps, in order, each at its own instant.
    Automatic (``auto=True``): whenever everybody sleeps or has had a turn of the loop, time jumps to the
    next sleeper. That is for code whose only waits are sleeps; beside real I/O it runs away.
    """

    def __init__(self, start: float = 0.0, *, auto: bool = False) -> None:
        self._time = start
        self._auto = auto
        self._jumping = False
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = asyncio.Event()

    def now(self) -> float:
        return self._time

    def monotonic(self) -> float:
        return self._time

    @property
    def sleepers(self) -> int:
        """How many are asleep."""
        return sum(not waiting.done() for _, _, waiting in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self._time + max(seconds, 0.0), next(self._order), waiting))
        self._arrivals.set()
        if self._auto and not self._jumping:
            self._jumping = True
            self._jump_soon()
        await waiting

    async def advance(self, seconds: float) -> None:
        """Move time on; everybody due on the way has run when this returns."""
        end = self._time + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._wake_next()
            await _settle()
        self._time = end

    async def slept_on(self, sleepers: int = 1) -> None:
        """Wait (in real time, so give it a deadline) until this many are asleep."""
        while self.sleepers < sleepers:
            self._arrivals.clear()
            await self._arrivals.wait()

    def _jump_soon(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._jump)  # those who are ready now go first

    def _jump(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():  # cancelled
            heapq.heappop(self._sleepers)
        self._jumping = bool(self._sleepers)
        if self._sleepers:
            self._wake_next()
            self._jump_soon()

    def _wake_next(self) -> None:
        due, _, waiting = heapq.heappop(self._sleepers)
        self._time = max(self._time, due)
        if not waiting.done():
            waiting.set_result(None)


async def _settle() -> None:
    """Let everybody who can run do so; enough turns for a few awaits in a row."""
    for _ in range(16):
        await asyncio.sleep(0)

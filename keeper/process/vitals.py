"""Is it alive, and is it ready? The one place that knows; HTTP, systemd and the log only repeat it.

    alive   everything that must beat has beaten lately: a frozen part is cured by a restart
    ready   alive, the head is fresh, and nothing forbids to act: each hindrance has a code

A chain that stands still, a lost lease or a kill switch make a keeper unready, not dead: a restart would not help.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from keeper.model import BlockRef, Effect, Outcome, Record, Send, Turn
from keeper.ports import Clock

STUCK: Final = 90.0  # seconds without a beat of the shell: longer than any turn with a node in trouble
PULSE: Final = 0.5  # seconds between looks at the lag of the event loop
SKEW: Final = 30.0  # seconds between the time of a new head and ours
LAGGING: Final = 5.0  # seconds that the loop may have stood still

log = structlog.get_logger("keeper")
Hindrance = Callable[[], str]  # a code, or nothing when there is none


class Pulse:
    """A clock that remembers when it was last used: whoever waits or looks at it is alive."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last = clock.monotonic()

    def now(self) -> float:
        return self._clock.now()

    def monotonic(self) -> float:
        self.last = self._clock.monotonic()
        return self.last

    async def sleep(self, seconds: float) -> None:
        self.monotonic()
        await self._clock.sleep(seconds)
        self.monotonic()

    @property
    def age(self) -> float:
        return self._clock.monotonic() - self.last


class Vitals:
    """A watcher of the kernel that also feels the pulse of the shell."""

    def __init__(self, clock: Clock, max_head_age: float, *, earthly: bool = False) -> None:
        """``max_head_age``: seconds without a turn until the head is stale. ``earthly``: the chain keeps our time."""
        self.pulse = Pulse(clock)
        self.hindrances: list[Hindrance] = []
        self.head: BlockRef | None = None
        self.counts = Counter[str]()
        self.lag = 0.0  # seconds; the longest of late
        self.stopping = False
        self.on_ready: Callable[[], None] = lambda: None
        self._clock, self._max_head_age = clock, max_head_age
        self._turned = 0.0
        self._earthly, self._skewed = earthly, False

    # ─── ports.Watcher ───

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.counts["sent"] += 1
        elif isinstance(effect, Outcome):
            self.counts["won" if effect.won else "lost"] += 1
        elif isinstance(effect, Record) and effect.event.startswith("decision."):
            self.counts["decided"] += 1

    def turn(self, turn: Turn) -> None:
        first, self.head, self._turned = self.head is None, turn.ref, self._clock.monotonic()
        self.counts["turns"] += 1
        if self._earthly:
            self._compare(turn.ref.timestamp - self._clock.now())
        if first:
            self.on_ready()

    def _compare(self, ahead: float) -> None:
        """Say it when the chain's clock and ours part, and when they meet again."""
        skewed = abs(ahead) > SKEW
        if skewed is not self._skewed:
            self._skewed = skewed
            (log.warning if skewed else log.info)("clock.skew", chain_ahead_s=round(ahead))

    # ─── what is asked ───

    @property
    def head_age(self) -> float:
        """Seconds since the last block that was dealt with."""
        return self._clock.monotonic() - self._turned if self.head else 0.0

    @property
    def alive(self) -> bool:
        return self.pulse.age < STUCK and self.lag < LAGGING

    def unready(self) -> tuple[str, ...]:
        """Codes of everything that is in the way; none: ready."""
        found = ["stopping"] if self.stopping else []
        if not self.alive:
            found.append("stuck")
        if self.head is None:
            found.append("starting")
        elif self.head_age > self._max_head_age:
            found.append("head_stale")
        return (*found, *(code for hindrance in self.hindrances if (code := hindrance())))

    async def feel(self) -> None:
        """For ever: how late does the loop wake us? A lag is remembered for a while."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PULSE
            await asyncio.sleep(PULSE)
            self.lag = max(loop.time() - due, self.lag * 0.9)

"""What is thought of each endpoint of a chain, and in which order they are asked.

    alive ──fails──► unreachable ──answers──► alive        401, 403: unusable, asked again rarely
      │  ──429──────► limited ────its time is up──► alive
      │  ──behind───► lagging ────caught up──► alive
      └──other chain─► wrong chain ──the right one again──► alive

Among those alive the order of the settings counts, a slow one behind the others. When none is alive, the one that may
be tried soonest is asked: the last endpoint is never given up, unless it is on another chain.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from keeper.errors import KeeperError, RateLimited
from keeper.model import Hash

FIRST_PAUSE: Final = 0.5  # seconds, doubled at each failure in a row
LAST_PAUSE: Final = 30.0
REFUSED_PAUSE: Final = 300.0  # after 401 or 403
MOST_PATIENT: Final = 60.0  # what a node may ask us to wait
SLOW: Final = 1.0  # seconds for a small question
BEHIND: Final = 2  # blocks that may be missing; another one, and its reads are not used
REFUSALS: Final = ("HTTP 401", "HTTP 403")


class State(StrEnum):
    ALIVE = "alive"
    LAGGING = "lagging"
    LIMITED = "limited"
    UNREACHABLE = "unreachable"
    UNUSABLE = "unusable"
    WRONG_CHAIN = "wrong_chain"


@dataclass
class Standing:
    name: str  # safe to show
    state: State = State.ALIVE
    until: float = 0.0  # monotonic; before it, others are preferred
    failures: int = 0  # in a row
    head: int = -1  # the newest block it has shown
    latency: float = 0.0  # seconds, smoothed, of a small question

    @property
    def slow(self) -> bool:
        return self.latency > SLOW


class Standings:
    """Of the endpoints of one chain, in the order of the settings; shared by all their connections."""

    def __init__(self, names: Sequence[str], chain_id: int | None, now: Callable[[], float]) -> None:
        self.of = [Standing(name) for name in names]
        self.identity: tuple[int, Hash] | None = None  # chain id and genesis
        self._chain_id, self.now = chain_id, now
        self._log = structlog.get_logger("chain")

    def order(self) -> list[int]:
        """Whom to ask first. Endpoints on another chain are not in it."""
        now = self.now()
        usable = [at for at, one in enumerate(self.of) if one.state is not State.WRONG_CHAIN]
        return sorted(usable, key=lambda at: self._rank(at, now))

    def _rank(self, at: int, now: float) -> tuple[int, float, int]:
        one = self.of[at]
        if one.state is State.ALIVE:
            return int(one.slow), 0.0, at
        return (2 if one.until <= now else 3), one.until, at

    @property
    def hindrance(self) -> str:
        """Why no decision should rest on what is read now; empty when one endpoint at least is well."""
        return "" if any(one.state is State.ALIVE for one in self.of) else "rpc_degraded"

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """Metrics: name, labels, value. Endpoints are numbered as in the settings."""
        for number, one in enumerate(self.of, 1):
            for state in State:
                yield "keeper_rpc_endpoint_state", f'endpoint="{number}",state="{state}"', float(one.state is state)
            yield "keeper_rpc_head_block", f'endpoint="{number}"', float(one.head)

    # ─── news ───

    def answered(self, at: int, seconds: float | None = None) -> None:
        one = self.of[at]
        if seconds is not None:
            one.latency = seconds if not one.latency else 0.7 * one.latency + 0.3 * seconds
        one.failures = 0
        if one.state in (State.UNREACHABLE, State.LIMITED, State.UNUSABLE):
            self._become(at, State.ALIVE)

    def failed(self, at: int, error: KeeperError) -> None:
        one = self.of[at]
        one.failures += 1
        if isinstance(error, RateLimited):
            state, pause = State.LIMITED, max(error.after, self._pause(one.failures))
        elif any(words in str(error) for words in REFUSALS):
            state, pause = State.UNUSABLE, REFUSED_PAUSE
        else:
            state, pause = State.UNREACHABLE, self._pause(one.failures)
        one.until = self.now() + min(pause, REFUSED_PAUSE if state is State.UNUSABLE else MOST_PATIENT)
        self._become(at, state, str(error))

    def _pause(self, failures: int) -> float:
        return min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10)) * random.uniform(0.75, 1.25)  # noqa: S311

    def identified(self, at: int, identity: tuple[int, Hash]) -> bool:
        """Whether this endpoint is on our chain; the first one that may be says which that is."""
        fits = self._chain_id in (None, identity[0])
        if self.identity is None and fits:
            self.identity = identity
        if identity == self.identity:
            if self.of[at].state is State.WRONG_CHAIN:
                self._become(at, State.ALIVE)
            return True
        self._become(at, State.WRONG_CHAIN, f"chain {identity[0]}")
        return False

    def seen(self, heads: dict[int, int]) -> None:
        """What each endpoint called its newest block, all asked at the same time."""
        for at, head in heads.items():
            self.of[at].head = head
        top = _believable(list(heads.values()))
        for at, head in heads.items():
            behind, state = top - head > BEHIND, self.of[at].state
            if behind and state is State.ALIVE:
                self._become(at, State.LAGGING, f"{top - head} blocks behind")
            elif not behind and state is State.LAGGING:
                self._become(at, State.ALIVE)

    def _become(self, at: int, state: State, why: str = "") -> None:
        one = self.of[at]
        if one.state is not state:
            one.state = state
            level = self._log.info if state is State.ALIVE else self._log.warning
            level("rpc.endpoint", endpoint=one.name, number=at + 1, state=str(state), why=why)


def _believable(heads: Sequence[int]) -> int:
    """The highest head, or with three witnesses the second: one that runs ahead alone proves nothing."""
    return sorted(heads)[-2] if len(heads) > 2 else max(heads, default=-1)

"""What verbs that run a keeper share: signals, the end of tasks, where the decision log and the recording lie."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog

from keeper.bootstrap import Keeper
from keeper.chain.recording import DECISIONS, fresh
from keeper.cli.exit import on_first_signal
from keeper.model import Effect, Turn
from keeper.settings import Settings

T = TypeVar("T")
ALL_AFTER = 1_000  # turns after which all that came since the first is looked at
BUSY = 0.5  # seconds that a signal waits for a loop that thinks
YIELD = 0.0002  # seconds that the loop waits for a thread in the middle of Python; the interpreter's own are 5 ms
log = structlog.get_logger("keeper")


class Calm:
    """Implements ``ports.Watcher``. From the first turn on, the garbage collector leaves alone what was loaded until
    then: a look at all of it, libraries included, would hold a block up for a tenth of a second. What a turn has left
    is looked at behind it, and not in the middle of one that follows."""

    def __init__(self) -> None:
        self._turns = 0

    def effect(self, effect: Effect) -> None: ...

    def turn(self, turn: Turn) -> None:
        self._turns += 1
        if self._turns == 1:
            gc.collect()
            gc.freeze()
        else:
            gc.collect(1 if self._turns % ALL_AFTER else 2)


def until_done(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on the fastest loop there is, which threads that write or compile give way to."""
    sys.setswitchinterval(YIELD)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def until_stopped(work: Coroutine[Any, Any, T]) -> T | None:
    """The same for what may last: the first signal cancels it, unless it has its own way to stop (see ``run``)."""

    async def stoppable() -> T | None:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        on_first_signal(lambda: loop.call_soon_threadsafe(task.cancel))
        with suppress(asyncio.CancelledError):
            return await task
        return None

    return until_done(stoppable())


def gracefully(keeper: Keeper) -> Keeper:
    """From here on the first signal lets the daemon end its turn, instead of cancelling what runs."""
    loop = asyncio.get_running_loop()
    on_first_signal(lambda: _served(loop, keeper.stop))
    return keeper


def _served(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    """``stop`` as soon as the loop gets round to it. One that is busy for too long is left where it stands: that is no
    worse than a kill, after which everything is taken up again."""
    signal.signal(signal.SIGALRM, _overdue)
    signal.setitimer(signal.ITIMER_REAL, BUSY)

    def serve() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        stop()

    loop.call_soon_threadsafe(serve)


def _overdue(_number: int, _frame: object) -> None:
    log.warning("run.cut_off", help="it was thinking, and did not hear the signal")
    raise SystemExit(0)


def decisions(settings: Settings, mode: str) -> Path:
    """Where the decision log goes: to the recording, if there is one, or into a new file with the next free number."""
    if settings.record.enabled and mode in ("live", "dry"):
        return settings.record.folder / DECISIONS
    folder = settings.keeper.state
    folder.mkdir(parents=True, exist_ok=True)
    taken = [int(p.stem.rsplit("-", 1)[1]) for p in folder.glob(f"decisions-{mode}-*.jsonl") if p.stem[-1].isdigit()]
    return folder / f"decisions-{mode}-{max(taken, default=0) + 1}.jsonl"


def with_fresh_recording(settings: Settings) -> Settings:
    """The same settings, with a recording's folder that is not in use."""
    record = settings.record.model_copy(update={"folder": fresh(settings.record.folder)})
    return settings.model_copy(update={"record": record})

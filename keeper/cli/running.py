"""What verbs that run a keeper share: signals, the end of tasks, the decision log's place."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from keeper.bootstrap import Keeper
from keeper.cli.exit import on_first_signal
from keeper.settings import Settings

T = TypeVar("T")


def until_done(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def run(keeper: Keeper, blocks: int | None) -> None:
    """The daemon, until it is done, a signal asks for a graceful end, or something ends it."""
    loop = asyncio.get_running_loop()
    on_first_signal(lambda: loop.call_soon_threadsafe(keeper.daemon.stop))
    await keeper.daemon.run(blocks)


def decisions(settings: Settings, mode: str) -> Path:
    """A new file for each run: the next free number."""
    folder = settings.keeper.state
    folder.mkdir(parents=True, exist_ok=True)
    taken = [int(p.stem.rsplit("-", 1)[1]) for p in folder.glob(f"decisions-{mode}-*.jsonl") if p.stem[-1].isdigit()]
    return folder / f"decisions-{mode}-{max(taken, default=0) + 1}.jsonl"

"""``keeper record``: write what the chain does to a recording, for ``keeper backtest``."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path

import structlog

from keeper import bootstrap
from keeper.cli import running, setup
from keeper.cli.exit import on_first_signal
from keeper.cli.output import emit
from keeper.settings import Settings

log = structlog.get_logger("keeper")


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    setup.logging(args, settings)
    settings.require_environment()
    folder = Path(args.out) if args.out else settings.record.folder
    count = running.until_done(_record(settings, folder, args.blocks))
    emit(args, {"blocks": count, "folder": str(folder)}, f"recorded {count} blocks in {folder}")
    return 0


async def _record(settings: Settings, folder: Path, blocks: int | None) -> int:
    """The number of blocks written; the first signal ends it gracefully."""
    count = 0

    async def write() -> None:
        nonlocal count
        async for ref in bootstrap.record(settings, folder, blocks):
            count += 1
            log.info("block.recorded", block=ref.number)

    task, loop = asyncio.create_task(write()), asyncio.get_running_loop()
    on_first_signal(lambda: loop.call_soon_threadsafe(task.cancel))
    with suppress(asyncio.CancelledError):
        await task
    return count

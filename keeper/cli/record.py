"""``keeper record``: write what the chain does to a recording, for ``keeper backtest``."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path

import structlog

from keeper import bootstrap
from keeper.chain.recording import fresh
from keeper.cli import running, setup
from keeper.cli.output import emit
from keeper.settings import Settings

log = structlog.get_logger("keeper")


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    setup.logging(args, settings)
    settings.require_environment()
    folder = fresh(Path(args.out) if args.out else settings.record.folder)
    count = running.until_stopped(_record(settings, folder, args.blocks)) or 0
    emit(args, {"blocks": count, "folder": str(folder)}, f"recorded {count} blocks in {folder}")
    return 0


async def _record(settings: Settings, folder: Path, blocks: int | None) -> int:
    """The number of blocks written; the first signal ends it gracefully."""
    count = 0
    with suppress(asyncio.CancelledError):
        async for ref, count in bootstrap.record(settings, folder, blocks):
            log.info("block.recorded", block=ref.number, blocks=count)
    return count

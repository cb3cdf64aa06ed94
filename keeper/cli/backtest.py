"""``keeper backtest RECORDING``: the same keeper on recorded blocks, its own transactions among them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keeper import bootstrap
from keeper.chain.recording import Recording
from keeper.chain.replay import Replay
from keeper.cli import running, setup
from keeper.cli.output import emit, table, usd
from keeper.core.kernel import Kernel
from keeper.model import Record
from keeper.observe.decisions import DecisionLog, read
from keeper.observe.tally import Tally
from keeper.observe.watch import Logged
from keeper.ports import Watcher
from keeper.settings import load


def run(args: argparse.Namespace) -> int:
    setup.logging(args, level="warning")
    return running.until_done(_backtest(args, Recording(Path(args.recording))))


async def _backtest(args: argparse.Namespace, recording: Recording) -> int:
    files = [Path(file) for file in args.config] or recording.configs
    settings = load(files, setup.overrides(args))
    path = running.decisions(settings, "backtest")
    first = next(iter(settings.protocols.values())).options.get("desk", "0x")
    tally = Tally(bytes.fromhex(str(first).removeprefix("0x")))
    with DecisionLog(path, {"mode": "backtest", "config": settings.fingerprint()}) as log:
        watchers: list[Watcher] = [tally, Logged(log)]
        async with bootstrap.keeper(settings, bootstrap.Backtest(recording), watchers) as keeper:
            await running.run(keeper, None)
            assert keeper.replay is not None
            data = _data(recording, keeper.kernel, keeper.replay, tally, path)
    emit(args, data, table(("", f"backtest of {recording.folder}"), [(k, v) for k, v in data.items()]))
    return 0


def _data(recording: Recording, kernel: Kernel, replay: Replay, tally: Tally, path: Path) -> dict[str, Any]:
    won = tally.won
    data = {
        "blocks": recording.manifest.last - recording.manifest.first,
        "blocks equal to the recorded": replay.equal,
        "first block that differs": replay.differs or "none",
        "decisions": compared(recording.decisions, path),
        "transactions": f"{tally.sent} sent, {tally.reverted} reverted",
        "won": len(won),
        "gross gain": usd(sum(o.gain for o in won)),
        "hedge cost": usd(sum(o.hedge for o in won)),
        "decision log": str(path),
    }
    return data


def compared(recorded: Path | None, ours: Path) -> str:
    """Whether the same was decided as in the recorded run, and if not, where they part."""
    if recorded is None:
        return "nothing to compare with"
    (_, then), (_, now) = read(recorded), read(ours)
    mine = list(now)
    for count, record in enumerate(then):
        if count >= len(mine) or mine[count] != record:
            return f"{count} equal, then different from block {_block(record)} on"
    return f"all {len(mine)} equal" if len(mine) == count + 1 else f"{count + 1} equal, then more"


def _block(record: Record) -> int:
    return record.block

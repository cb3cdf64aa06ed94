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
from keeper.observe.decisions import DecisionLog, read
from keeper.observe.tally import Tally
from keeper.observe.watch import Logged
from keeper.ports import Watcher
from keeper.settings import load


def run(args: argparse.Namespace) -> int:
    setup.logging(args, level="warning")
    running.until_stopped(_backtest(args, Recording(Path(args.recording))))
    return 0


async def _backtest(args: argparse.Namespace, recording: Recording) -> None:
    files = [Path(file) for file in args.config] or recording.configs
    settings = load(files, setup.overrides(args))
    path = running.decisions(settings, "backtest")
    first = next(iter(settings.protocols.values())).options.get("desk", "0x")
    tally = Tally(bytes.fromhex(str(first).removeprefix("0x")))
    with DecisionLog(path, {"mode": "backtest", "config": settings.fingerprint()}) as log:
        watchers: list[Watcher] = [tally, Logged(log)]
        async with bootstrap.keeper(settings, bootstrap.Backtest(recording), watchers) as keeper:
            await running.gracefully(keeper).daemon.run()
            assert keeper.replay is not None
            data = _data(recording, keeper.replay, tally, path)
    emit(args, data, table(("", f"backtest of {recording.folder}"), _rows(data)))


def _data(recording: Recording, replay: Replay, tally: Tally, path: Path) -> dict[str, Any]:
    """Money in US dollars, wad."""
    return {
        "blocks": len(recording.blocks),
        "blocks_equal": replay.equal,
        "differs_from": replay.differs,
        "decisions": compared(recording.decisions, path),
        "transactions": {"sent": tally.sent, "reverted": tally.reverted, "refused": replay.refused},
        "won": len(tally.won),
        "gross_usd": sum(o.gain for o in tally.won),
        "hedge_usd": sum(o.hedge for o in tally.won),
        "decision_log": str(path),
    }


def _rows(d: dict[str, Any]) -> list[tuple[str, object]]:
    sends = d["transactions"]
    return [
        ("blocks", d["blocks"]),
        ("blocks equal to the recorded", d["blocks_equal"]),
        ("first block that differs", d["differs_from"] or "none"),
        ("decisions", d["decisions"]),
        ("transactions", f"{sends['sent']} sent, {sends['reverted']} reverted, {sends['refused']} refused"),
        ("won", d["won"]),
        ("gross gain", usd(d["gross_usd"])),
        ("hedge cost", usd(d["hedge_usd"])),
        ("decision log", d["decision_log"]),
    ]


def compared(recorded: Path | None, ours: Path) -> str:
    """Whether the same was decided as in the recorded run, and if not, where they part."""
    if recorded is None:
        return "nothing to compare with"
    then, now = (list(read(path)[1]) for path in (recorded, ours))
    same = next((at for at, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
    if same == len(then) == len(now):
        return f"all {same} equal"
    parting = (then if same < len(then) else now)[same]
    return f"{same} equal, then different from block {parting.block} on"

"""``keeper scan``: who is nearest to liquidation, and what would be done."""

from __future__ import annotations

import argparse
from typing import Any

from keeper.cli import running, setup
from keeper.cli.looking import Seen, looked
from keeper.cli.output import emit, table, usd
from keeper.core.kernel import Kernel
from keeper.settings import Settings

LIMIT = 20


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    setup.logging(args, settings, level="warning")
    settings.require_environment()
    return running.until_done(_scan(args, settings))


async def _scan(args: argparse.Namespace, settings: Settings) -> int:
    async with looked(settings) as (keeper, seen):
        found = rows(keeper.kernel, seen, args.limit or LIMIT)
        head = keeper.kernel.ref
    shown = [(r["protocol"], r["account"], f"{r['health']:.4f}", *_said(r)) for r in found]
    text = table(("protocol", "account", "health", "net", "decision"), shown)
    emit(args, {"block": head.number, "accounts": found}, f"block {head.number}\n\n{text}")
    return 0


def rows(kernel: Kernel, seen: Seen, limit: int) -> list[dict[str, Any]]:
    """The nearest of all protocols, the lowest health first."""
    at, found = kernel.moment(), list[dict[str, Any]]()
    for desk in kernel.desks:
        for key, ratio in desk.book.columns.nearest(desk.book, at, limit):
            decided = seen.about(key)
            found.append(
                {
                    "protocol": desk.adapter.name,
                    "account": f"0x{key.id:x}",
                    "health": ratio,
                    "decisions": [{"decision": d.event.removeprefix("decision."), **d.fields} for d in decided],
                }
            )
    return sorted(found, key=lambda row: row["health"])[:limit]


def _said(row: dict[str, Any]) -> tuple[str, str]:
    """(net of the best decision, what was decided and why)."""
    said = [f"{d['decision']} {d['kind']}" + (f": {d['why']}" if "why" in d else "") for d in row["decisions"]]
    best = max((int(d["net"]) for d in row["decisions"]), default=None)
    return ("-" if best is None else usd(best)), "; ".join(said) or "healthy"

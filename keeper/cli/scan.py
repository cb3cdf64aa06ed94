"""``keeper scan``: who is nearest to liquidation, and what would be done."""

from __future__ import annotations

import argparse
from math import isfinite, isnan
from typing import Any

from keeper.cli import running, setup
from keeper.cli.looking import Seen, looked
from keeper.cli.output import emit, table, usd
from keeper.core.kernel import Kernel
from keeper.model import Key, Reason
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.foresight import Fall
from keeper.protocols.morpho_blue.foresight import nearest as lending
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.foresight import VOLS, Breach, nearest
from keeper.settings import Settings

LIMIT = 20
AHEAD = (
    "account",
    "health",
    "falls",
    "rises",
    "sigmas away",
    "within a day",
    "time (median)",
    "by interest",
    "vols x 1.5",
)
LEGEND = """falls, rises: moves of all prices at which it can be liquidated; sigmas away: the nearer one, in standard
deviations of a day; within a day: the probability of it; time: after which it is as likely as not; by interest: after
which it is so at today's price. vols x 1.5: the same moves once volatility has risen by half."""


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    setup.logging(args, settings, level="warning")
    settings.require_environment()
    return running.until_done(_scan(args, settings))


async def _scan(args: argparse.Namespace, settings: Settings) -> int:
    if args.next:
        return await _next(args, settings)
    async with looked(settings) as (keeper, seen):
        found = rows(keeper.kernel, seen, args.limit or LIMIT)
        blind, head = unvalued(keeper.kernel), keeper.kernel.ref
    shown = [(r["protocol"], r["account"], f"{r['health']:.4f}", *_said(r)) for r in found]
    text = table(("protocol", "account", "health", "net", "decision"), shown)
    document = {"block": head.number, "accounts": found, "unvalued": blind}
    emit(args, document, f"block {head.number}\n\n{text}", _notes(blind))
    return 0


async def _next(args: argparse.Namespace, settings: Settings) -> int:
    async with looked(settings) as (keeper, _):
        found, notes = ahead(keeper.kernel, args.limit or LIMIT)
        head = keeper.kernel.ref
    shown = [_breach(row) for row in found]
    text = f"block {head.number}\n\n{table(AHEAD, shown)}\n\n{LEGEND}"
    emit(args, {"block": head.number, "accounts": found}, text, notes)
    return 0


def ahead(kernel: Kernel, limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """(the likeliest to be liquidatable within a day, what could not be said)."""
    at, found, notes = kernel.moment(), list[dict[str, Any]](), list[str]()
    for desk in kernel.desks:
        if isinstance(desk.adapter, Options):
            for b in nearest(desk.adapter.health, desk.book.columns, desk.book, at, limit):
                found.append({"protocol": desk.adapter.name, **_plain(b)})
            notes += (f"0x{key.id:x} is condemned by the price that is due next" for key in sorted(desk.coming))
        elif isinstance(desk.adapter, MorphoBlue):
            falls = lending(desk.adapter.settings, desk.adapter.health, desk.book.columns, desk.book, at, limit)
            found += ({"protocol": desk.adapter.name, **_fall(f)} for f in falls)
            notes += dict.fromkeys(f.why for f in falls if f.why)
        else:
            found += (
                _bare(desk.adapter.name, key, ratio) for key, ratio in desk.book.columns.nearest(desk.book, at, limit)
            )
            notes.append(f"{desk.adapter.name} has no volatilities: by fall alone, after those of whom more is known")
    found.sort(key=lambda row: (row["day"] is None, row["health"] if row["day"] is None else -row["day"]))
    return found[:limit], [*notes, *_notes(unvalued(kernel))]


def unvalued(kernel: Kernel) -> list[dict[str, str]]:
    """Accounts of all protocols that nobody can put a number on: no rule of ours says that they are well."""
    refused = ((desk.name, desk.book.columns.refused(desk.book, kernel.moment())) for desk in kernel.desks)
    return [
        {"protocol": name, "account": f"0x{key.id:x}", "why": Reason.PRICE_UNKNOWN, "detail": detail}
        for name, found in refused
        for key, detail in sorted(found.items())
    ]


def _notes(blind: list[dict[str, str]]) -> list[str]:
    return [f"{row['account']} cannot be valued: {row['detail']}" for row in blind]


def _plain(b: Breach) -> dict[str, Any]:
    """Moves as signed shares, None where there is none within the ladder."""
    surface = [{"vols": v, "falls": _move(falls), "rises": _move(rises)} for v, (falls, rises) in b.surface.items()]
    ends = {"health": b.health, "sigmas": b.distance, "day": b.day, "even_after": b.even}
    finite = {name: x if isfinite(x) else None for name, x in ends.items()}
    moves = {"falls": _move(b.falls), "rises": _move(b.rises)}
    return {"account": f"0x{b.key.id:x}", **moves, "sigma": b.sigma, **finite, "interest": None, "surface": surface}


def _fall(f: Fall) -> dict[str, Any]:
    """Of a borrower, whose breach no volatility moves."""
    ends = {"health": f.health, "sigmas": f.distance, "day": f.day, "even_after": f.even, "interest": f.interest}
    finite = {name: x if isfinite(x) else None for name, x in ends.items()}
    moves = {"falls": _move(f.falls), "rises": None}
    surface = [{"vols": v, **moves} for v in VOLS]
    return {"account": f"0x{f.key.id:x}", **moves, "sigma": f.sigma, **finite, "surface": surface}


def _bare(protocol: str, key: Key, ratio: float) -> dict[str, Any]:
    """Of a borrower of whom no more is known: what its collateral may lose against its debt, interest aside."""
    unknown = dict.fromkeys(("rises", "sigma", "sigmas", "day", "even_after", "interest"))
    falls = min(1.0, 1 / ratio) - 1 if ratio > 0 else 0.0
    return {"protocol": protocol, "account": f"0x{key.id:x}", "health": ratio, "falls": falls, **unknown, "surface": []}


def _move(factor: float) -> float | None:
    return None if isnan(factor) else factor - 1


def _breach(row: dict[str, Any]) -> tuple[str, ...]:
    loud = next((s for s in row["surface"] if s["vols"] == 1.5), {"falls": None, "rises": None})
    both = " or ".join(dict.fromkeys(_percent(loud[side]) for side in ("falls", "rises") if loud[side] is not None))
    return (
        row["account"],
        "-" if row["health"] is None else f"{row['health']:.3f}",
        _percent(row["falls"]),
        _percent(row["rises"]),
        "-" if row["sigmas"] is None else f"{row['sigmas']:.2f}",
        "-" if row["day"] is None else f"{row['day']:.1%}",
        "-" if row["even_after"] is None else _span(row["even_after"]),
        "-" if row["interest"] is None else _span(row["interest"]),
        both or "-",
    )


def _percent(move: float | None) -> str:
    return "-" if move is None else f"{move:+.2%}" if move else "now"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


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

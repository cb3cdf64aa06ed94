"""``keeper stress``: forced flow by price level, where one liquidation triggers the next, what the fund would bear."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from math import log
from pathlib import Path
from typing import Any

from keeper.cli import running, setup
from keeper.cli.exit import Usage
from keeper.cli.looking import looked
from keeper.cli.output import emit, table
from keeper.cli.stresspage import draw
from keeper.core.kernel import Kernel
from keeper.errors import NotFound
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.foresight import LEVELS, Cascade, Question, Stress, stress
from keeper.settings import Settings

SHOWN = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0, 1 / 0.95, 1 / 0.9, 1 / 0.8, 1 / 0.7)


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    setup.logging(args, settings, level="warning")
    settings.require_environment()
    return running.until_done(_stress(args, settings))


async def _stress(args: argparse.Namespace, settings: Settings) -> int:
    async with looked(settings) as (keeper, _):
        block, found = keeper.kernel.ref.number, found_by(keeper.kernel, question(args))
    folder = Path(args.out or "reports/stress")
    told = {"block": block, **data(found), "folder": str(folder)}
    write(folder, json.dumps(told, indent=1, allow_nan=False) + "\n", draw(block, found))
    emit(args, told, text(block, found, folder), warnings(found))
    return 0


def write(folder: Path, numbers: str, picture: str) -> None:
    """Usage when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stress.json").write_text(numbers)
        (folder / "stress.svg").write_text(picture)
    except OSError as error:
        raise Usage(f"cannot write into {folder}: {error.strerror}", help="--out names another folder") from error


def question(args: argparse.Namespace) -> Question:
    given = {
        "horizon": args.hours * 3600 if args.hours is not None else None,
        "sigma": args.sigma,
        "intensity": args.jumps,
        "jump": args.jump,
        "spread": args.spread,
        "omega": args.weight,
    }
    try:
        return Question(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        option = {"horizon": "--hours", "intensity": "--jumps", "omega": "--weight"}
        name, _, said = str(error).partition(" ")
        raise Usage(f"{option.get(name, f'--{name}')} {said}", help="keeper stress --help") from error


def found_by(kernel: Kernel, asked: Question) -> Stress:
    """Of the first clearing house among the protocols; NotFound when there is none."""
    for desk in kernel.desks:
        if isinstance(desk.adapter, Options):
            return stress(desk.book.columns, desk.book, kernel.moment(), asked)
    raise NotFound("no protocol here has a book of options", help="stress looks at clearing houses; keeper scan at all")


def warnings(found: Stress) -> list[str]:
    return [f"{found.left_out} accounts cannot be valued and are left out"] if found.left_out else []


# ─── as data ──────────────────────────────────────────────────────────────────────────────────────


def data(found: Stress) -> dict[str, Any]:
    return {
        "question": asdict(found.question),
        "sigma": found.sigma,
        "fund": found.fund,
        "left_out": found.left_out,
        "shortfall": {name: asdict(law) for name, law in found.laws.items()},
        "book": [{"move": f - 1, "lacking": x} for f, x in zip(LEVELS.tolist(), found.lacking.tolist(), strict=True)],
        "cascades": [_cascade(u, c) for u, c in found.cascades.items()],
    }


def _cascade(u: int, c: Cascade) -> dict[str, Any]:
    gamma = c.gamma().tolist()
    return {
        "underlying": u,
        "price": c.ladder.price,
        "reserve": c.pool.base,
        "levels": [_level(c, i) | {"gamma_1pc": gamma[i]} for i in range(len(c.levels))],
    }


def _level(c: Cascade, i: int) -> dict[str, Any]:
    level = c.levels[i]
    return {
        "move": level.factor - 1,
        "accounts": level.accounts,
        "by_generation": [[f"0x{c.accounts[n]:x}" for n in g.accounts.tolist()] for g in level.generations],
        "sold": level.sold,
        "sold_usd": level.sold * c.ladder.price * level.factor,
        "ends": level.ends - 1,
        "amplification": level.amplification,
        "branching": c.branching(level.factor),
    }


# ─── for people ───────────────────────────────────────────────────────────────────────────────────


def text(block: int, found: Stress, folder: Path) -> str:
    parts = [f"block {block}, {len(found.accounts)} accounts"]
    for u, c in found.cascades.items():
        parts.append(f"underlying {u} at {c.ladder.price:,.2f}: a move, and what follows from it")
        parts.append(table(HEADS, [_row(c, i) for i in _shown()]))
    if found.cascades:
        parts.append(LEGEND)
    parts += [_told(found), table(LAWS, [_law(name, law) for name, law in found.laws.items()])]
    return "\n\n".join([*parts, f"picture: {folder}/stress.svg"])


HEADS = (
    "move",
    "accounts",
    "at once",
    "gamma, $ per 1 %",
    "forced flow",
    "of the pool",
    "ends at",
    "amplification",
    "R0",
)
LEGEND = """accounts: liquidated in all; at once: by the move alone. gamma: what their hedges change by for 1 % of the
price. forced flow: what hedging them sells (-) or buys; ends at: where that leaves the reported price. amplification:
accounts in all for each at once. R0: flow that a unit of flow sets off; from 1 on it runs away."""
LAWS = ("law of prices", "expected", "quantile 99 %", "mean beyond it", "beyond the fund", "probability of that")


def _shown() -> list[int]:
    return sorted({min(range(len(LEVELS)), key=lambda i: abs(log(LEVELS[i] / f))) for f in SHOWN})


def _row(c: Cascade, i: int) -> Sequence[str]:
    level = c.levels[i]
    first = len(level.generations[0].accounts) if level.generations else 0
    return (
        f"{level.factor - 1:+.1%}",
        str(level.accounts),
        str(first),
        _dollars(float(c.gamma()[i]) * c.ladder.price),
        _dollars(-level.sold * c.ladder.price * level.factor),
        f"{round(-level.sold / c.pool.reserve(level.factor), 3) + 0.0:+.1%}",
        f"{level.ends - 1:+.1%}",
        f"{level.amplification:.2f}",
        f"{c.branching(level.factor):.2f}",
    )


def _dollars(x: float) -> str:
    """Whole ones; what rounds to none has no sign."""
    whole = round(x)
    return f"{'-' if whole < 0 else ''}${abs(whole):,}"


def _told(found: Stress) -> str:
    q = found.question
    law = f"sigma {found.sigma:.0%}, {q.intensity:g} jumps a year of {q.jump:+.0%} +- {q.spread:.0%}"
    return f"losses beyond equity of all accounts, against a fund of {_dollars(found.fund)}; Merton: {law}"


def _law(name: str, law: Any) -> Sequence[str]:
    money = [_dollars(x) for x in (law.expected, law.at_risk, law.tail, law.unpaid)]
    return (name, *money, f"{law.ruin:.2%}")

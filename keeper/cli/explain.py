"""``keeper explain ACCOUNT``: where it stands, what could be done, line by line, and why it is done or not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from keeper.bootstrap import Keeper
from keeper.cli import running, setup
from keeper.cli.looking import Seen, looked
from keeper.cli.output import emit, table, usd
from keeper.core.desk import Desk
from keeper.errors import NotFound
from keeper.model import Key
from keeper.settings import Settings

OWNER = 2**160 - 1
WON = ("gain", "cost_gas", "cost_slippage", "cost_hedge", "cost_crowd", "cost_carry", "net")  # what succeeding brings
TRIED = ("chance", "cost_failure", "expected")  # and what trying is expected to
MONEY = (*WON, *TRIED)
SHARES = ("chance", "rho", "fmax", "fraction")
DOLLARS = {"": ("floor", "displaces", "later"), "options": ("equity", "mm", "price", "fee", "bond", "value", "excess")}
LABELS = {
    "cost_gas": "gas, at the base fee to come",
    "cost_slippage": "slippage, or the charge for it",
    "cost_hedge": "hedge, into the pool",
    "cost_crowd": "forced flow of others before us",
    "cost_carry": "carry: spread and margin",
    "net": "= net, if won",
    "chance": "x chance of winning",
    "cost_failure": "- gas of a revert, if lost",
    "expected": "= expected profit",
    "displaces": "would displace",
    "later": "= expected, if it waits until then",
    "floor": "least profit, or it reverts",
    "mm": "requirement",
    "rho": "discount",
    "fmax": "at most",
    "live": "live seconds",
}
HEADS = ("opportunity", "kind", "account", "why", "until", *MONEY)


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    setup.logging(args, settings, level="warning")
    settings.require_environment()
    return running.until_done(_explain(args, settings))


async def _explain(args: argparse.Namespace, settings: Settings) -> int:
    async with looked(settings) as (keeper, seen):
        accounts = list(_find(keeper, args.account))
        if not accounts:
            raise NotFound(f"no protocol knows account {args.account}", help="keeper scan lists accounts")
        told = [_told(keeper, desk, key, seen) for desk, key in accounts]
    emit(args, told, "\n\n".join(_text(one) for one in told))
    return 0


def _find(keeper: Keeper, text: str) -> Iterator[tuple[Desk, Key]]:
    """Accounts with this id, or of this owner."""
    owner, _, number = text.removeprefix("0x").partition("/")
    try:
        wanted = int(owner, 16) | (int(number) << 160 if number else 0)
    except ValueError as error:
        raise NotFound(f"{text!r} is not an account", help="write it as 0x…, or 0x…/3 for a sub-account") from error
    for desk in keeper.kernel.desks:
        keys = (key for kind in ("account", "position") for key in desk.book.keys(kind))
        yield from ((desk, key) for key in keys if wanted in (key.id, key.id & OWNER))


def _told(keeper: Keeper, desk: Desk, key: Key, seen: Seen) -> dict[str, Any]:
    at = keeper.kernel.moment()
    return {
        "protocol": desk.adapter.name,
        "account": f"0x{key.id:x}",
        "block": keeper.kernel.ref.number,
        "at": at.timestamp,
        "state": desk.adapter.describe(desk.book, key, at),
        "decisions": [{"decision": d.event.removeprefix("decision."), **d.fields} for d in seen.about(key)],
    }


def _text(told: dict[str, Any]) -> str:
    title = f"{told['protocol']} account {told['account']} at block {told['block']}"
    decisions = [_decision(d, told["protocol"], told["at"]) for d in told["decisions"]]
    parts = [title, table(("state", ""), told["state"]), *decisions]
    return "\n\n".join(parts) if told["decisions"] else "\n\n".join([*parts, "nothing can be done with it"])


def _decision(d: dict[str, Any], protocol: str, at: int) -> str:
    """The sum that was decided on, and what it rests on; ``at`` is the moment it is valued at."""
    rows: list[Sequence[object]] = [
        (LABELS.get(name, name.removeprefix("cost_")), _term(name, int(d[name]))) for name in MONEY
    ]
    rows += [
        (LABELS.get(name, name), _shown(name, value, protocol))
        for name, value in d.items()
        if name not in (*HEADS, "decision")
    ]
    why = f", because {d['why']}" if "why" in d else ""
    until = f", for {d['until'] - at} s until {d['until']}" if "until" in d else ""
    return table((f"{d['decision']} {d['kind']}{why}{until}", ""), rows)


def _shown(name: str, value: object, protocol: str) -> object:
    """Evidence in the unit that its name implies; where a protocol reckons in tokens, as it is."""
    if name in SHARES and isinstance(value, int):
        return f"{value / 10**16:.2f} %"
    dollars = name in (*DOLLARS[""], *DOLLARS.get(protocol, ()))
    return usd(value) if dollars and isinstance(value, int) else value


def _term(name: str, amount: int) -> str:
    if name == "chance":
        return f"{amount / 10**16:.2f} %"
    return usd(-amount if name.startswith("cost_") else amount)

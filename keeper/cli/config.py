"""``keeper config check`` finds every problem; ``keeper config show`` prints what is in force, without secrets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from keeper.cli import setup
from keeper.cli.output import emit, table
from keeper.loading import desks
from keeper.settings import Settings


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    return _check(args, settings) if args.action == "check" else _show(args, settings)


def _check(args: argparse.Namespace, settings: Settings) -> int:
    desks(settings)
    settings.require_environment()
    sections = ("chains", "signers", "protocols", "strategies")
    data = {"mode": settings.keeper.mode, "fingerprint": settings.fingerprint()}
    counts = {section: len(getattr(settings, section)) for section in sections}
    text = ", ".join(f"{section} {number}" for section, number in counts.items())
    emit(args, {**data, **counts}, f"ok: mode {settings.keeper.mode}, {text} ({data['fingerprint'][:12]})")
    return 0


def _show(args: argparse.Namespace, settings: Settings) -> int:
    values = dict(_flat(settings.dump(), ""))
    origin = {key: list(settings.origin.get(key, ("default",))) for key in values}
    header = ["key", "value", "from", "over"] if args.origin else ["key", "value"]
    shown = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    rows = [[key, value, origin[key][0], ", ".join(origin[key][1:])][: len(header)] for key, value in shown.items()]
    data = {"fingerprint": settings.fingerprint(), "values": values, **({"origin": origin} if args.origin else {})}
    emit(args, data, table(header, rows))
    return 0


def _flat(tree: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value

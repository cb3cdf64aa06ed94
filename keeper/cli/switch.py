"""``keeper switch``: the kill switch of a live keeper, whether it runs or not."""

from __future__ import annotations

import argparse

from keeper.arming import SWITCH
from keeper.cli import setup
from keeper.cli.output import emit
from keeper.tx.switch import Level, Switch


def run(args: argparse.Namespace) -> int:
    folder = setup.settings(args).keeper.state
    switch = Switch(folder / SWITCH)
    if args.to is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        switch.set(Level[args.to.upper()], args.reason)
    level, reason = switch.read()
    said = {"level": level.name.lower(), "reason": reason}
    emit(args, said, f"{said['level']} {reason}".strip())
    return 0

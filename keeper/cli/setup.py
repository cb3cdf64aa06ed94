"""What verbs do first: settings from the flags, logging from flags and settings, and the second key to live."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from keeper.cli.output import colors
from keeper.errors import Misconfigured

if TYPE_CHECKING:
    from keeper.settings import Settings

DEFAULT = "config/keeper.toml"


def settings(args: argparse.Namespace) -> Settings:
    """Settings as the flags ask for. Raises Misconfigured with every problem."""
    from keeper.settings import load

    return load([Path(file) for file in args.config or [DEFAULT]], overrides(args))


def overrides(args: argparse.Namespace) -> list[str]:
    """``--set``, and the flags that are short for one."""
    import json

    short = {"keeper.state": args.state_dir, "log.format": args.log_format}
    return [*args.set, *(f"{key}={json.dumps(value)}" for key, value in short.items() if value)]


def logging(
    args: argparse.Namespace, settings: Settings | None = None, level: str = "", stream: TextIO | None = None
) -> str:
    """Start logging as flags, ``level`` and settings ask for, the first of them first. Returns the format."""
    from keeper.observe.logging import setup

    format = settings.log.format if settings else args.log_format or "auto"
    level = level or (settings.log.level if settings else "info")
    return setup(format, level, -1 if args.quiet else args.verbose, stream=stream, colors=colors(sys.stderr))


def armed(args: argparse.Namespace, settings: Settings) -> bool:
    """Whether transactions may be sent. It takes two keys, and Misconfigured names the one that is missing."""
    live = settings.keeper.mode == "live"
    if live and not args.live:
        raise Misconfigured(
            'mode is "live", but --live was not given', help='keeper run --live, or keeper.mode = "dry"'
        )
    if args.live and not live:
        raise Misconfigured('--live was given, but mode is "dry"', help='set mode = "live" in [keeper]')
    return live

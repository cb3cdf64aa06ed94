"""Results on stdout, everything else on stderr; Markdown tables for people, one JSON envelope for programs."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from keeper.cli.exit import code_of
from keeper.errors import KeeperError
from keeper.observe.tables import table as table
from keeper.units import WAD

# ─── results ──────────────────────────────────────────────────────────────────────────────────────


def emit(args: argparse.Namespace, data: Any, text: str, warnings: Sequence[str] = ()) -> None:
    """The result of a verb: ``data`` in the envelope with --json, else ``text``, with warnings on stderr."""
    if args.json:
        print(_envelope(args, ok=True, data=data, warnings=warnings))
        return
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(text)


def _envelope(args: argparse.Namespace, **content: Any) -> str:
    from keeper.observe import redact
    from keeper.observe.decisions import canonical, plain

    words = [word for word in (getattr(args, "verb", None), getattr(args, "action", None)) if word]
    schema = ".".join(["keeper", *words])
    return canonical(redact.value(plain({"schema": f"{schema}/1", **content})))


# ─── errors ───────────────────────────────────────────────────────────────────────────────────────


def fail(args: argparse.Namespace, error: KeeperError) -> None:
    """Print an error: code, message and next step, with its place where it has one."""
    if args.json:
        print(_envelope(args, ok=False, data=None, warnings=[], error=described(error)))
    else:
        print(_colored(rendered(error), sys.stderr), file=sys.stderr)


def rendered(error: KeeperError) -> str:
    """``error KE405: what happened`` and ``help: what to do``; located errors bring their own text."""
    from keeper.observe import redact

    text = str(error)
    if not text.startswith("error KC"):
        text = f"error {error.code}: {text}"
    return redact.text(f"{text}\n  help: {error.help}" if error.help else text)


def described(error: KeeperError) -> dict[str, Any]:
    """The same as plain data."""
    problems = [
        {"code": one.code, "message": one.message, "at": str(one.place or ""), "hint": one.hint, "help": one.help}
        for one in getattr(error, "problems", ())
    ]
    message = f"{len(problems)} problem(s) with the settings" if problems else str(error)
    shared = {"code": error.code, "exit": code_of(error), "message": message, "help": error.help}
    return {**shared, "problems": problems} if problems else shared


def _colored(text: str, stream: TextIO) -> str:
    if not colors(stream):
        return text
    return re.sub(r"(?m)^(error \w+|[ \d]*\| *\^+)", "\x1b[31m\\1\x1b[0m", text)


def colors(stream: TextIO) -> bool:
    """Whether a stream shows colors, and may: https://no-color.org"""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# ─── money ─────────────────────────────────────────────────────────────────────────────


def usd(wad: int) -> str:
    """``-$1,234.50``; wad, rounded half up in size to cents."""
    cents = (abs(wad) * 100 + WAD // 2) // WAD
    return f"{'-' if wad < 0 and cents else ''}${cents // 100:,}.{cents % 100:02d}"


def eth(wei: int) -> str:
    """``0.012300 ETH``; wei, rounded half up in size to six decimals."""
    millionths = (abs(wei) * 10**6 + WAD // 2) // WAD
    return f"{'-' if wei < 0 and millionths else ''}{millionths // 10**6:,}.{millionths % 10**6:06d} ETH"

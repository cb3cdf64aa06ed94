"""Command line in, namespace out. Flags that every verb has may stand before the verb or after it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from keeper import __version__
from keeper.cli.exit import CODES, Usage
from keeper.cli.verbs import VERBS

TYPE_CHECKING = False  # importing typing for this would cost as much as the rest of this file
if TYPE_CHECKING:
    from typing import NoReturn

WITH_VALUE = ("-c", "--config", "--set", "--log-format", "--state-dir")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The chosen verb and its flags. Raises Usage; ``--help`` and ``--version`` end in SystemExit 0."""
    at = _verb_at(argv)
    if at is None:
        _top().parse_args(argv)  # --help, --version, or a flag that nobody knows
        raise Usage("a verb is missing", help="keeper --help")
    name = argv[at]
    if name not in VERBS:
        raise Usage(f'unknown verb "{name}"', help=_nearest(name))
    args = _of_verb(name).parse_args([*argv[:at], *argv[at + 1 :]])
    args.verb = name
    return args


def _verb_at(argv: Sequence[str]) -> int | None:
    """Where the first word stands that is neither a flag nor the value of one."""
    skip = False
    for index, word in enumerate(argv):
        if skip or word.startswith("-"):
            skip = not skip and word in WITH_VALUE
        else:
            return index
    return None


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, VERBS, n=1)
    return f'did you mean "keeper {near[0]}"?' if near else f"verbs: {', '.join(VERBS)}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Usage(message, help=f"{self.prog} --help")


def _format(prog: str) -> argparse.HelpFormatter:
    """Width by the terminal; argparse itself would import shutil and three compressors to find it out."""
    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):  # no terminal, or no file at all
        width = 110
    return argparse.RawDescriptionHelpFormatter(prog, width=min(width, 110), max_help_position=30)


def _parser(prog: str, about: str, usage: str | None = None, epilog: str | None = None) -> _Parser:
    parser = _Parser(prog, usage, about, epilog, formatter_class=_format, allow_abbrev=False)
    _everywhere(parser.add_argument_group("flags of every verb"))
    return parser


def _everywhere(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-c", "--config", action="append", default=[], metavar="FILE", help="settings; repeatable, later wins")
    add("--set", action="append", default=[], metavar="A.B=VALUE", help="one setting; wins over files and environment")
    add("--json", action="store_true", help="the result as JSON on stdout")
    add("-q", "--quiet", action="store_true", help="log only warnings and errors")
    add("-v", "--verbose", action="count", default=0, help="log more; -vv: libraries too")
    add("--log-format", choices=("auto", "console", "json"), help="default auto: JSON unless on a terminal")
    add("--state-dir", metavar="FOLDER", help="where the journal and the logs live")
    add("--version", action="version", version=f"keeper {__version__}")


def _top() -> _Parser:
    about = "A liquidation keeper: watches accounts, liquidates those that may be, at a profit or not at all."
    return _parser("keeper", about, "keeper [flags] VERB [flags of the verb]", f"{_groups()}\n\n{_codes()}")


def _groups() -> str:
    lines: list[str] = []
    group = ""
    for name, verb in VERBS.items():
        if verb.group != group:
            group = verb.group
            lines += ["", f"{group}:"]
        lines += [f"  {name:<10}{verb.summary}", f"            $ {verb.example}"]
    return "\n".join(lines[1:])


def _codes() -> str:
    return "\n".join(["Exit codes:", *(f"  {code:<10}{meaning}" for code, meaning in CODES.items())])


def _of_verb(name: str) -> _Parser:
    verb = VERBS[name]
    parser = _parser(f"keeper {name}", f"{verb.summary}\n\n  $ {verb.example}")
    verb.flags(parser)
    return parser

"""From the command line to an exit code: parse, import the verb, run it, and say what went wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from keeper.cli.exit import cause, code_of
from keeper.cli.parser import parse
from keeper.errors import Broken, KeeperError


def main(argv: Sequence[str]) -> int:
    """The exit code, as ``keeper/cli/exit.py`` lists them. Only ``--help`` and ``--version`` raise SystemExit."""
    args = _unparsed(argv)
    try:
        args = parse(argv)
        from importlib import import_module

        code: int = import_module(f"keeper.cli.{args.verb}").run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _failed(args, error)


def _unparsed(argv: Sequence[str]) -> argparse.Namespace:
    """Enough to report that the rest cannot be parsed."""
    return argparse.Namespace(json="--json" in argv, quiet=False, verbose=0, log_format=None)


def _failed(args: argparse.Namespace, error: BaseException) -> int:
    from keeper.cli.output import fail

    code = code_of(error)
    said = _incident(args, cause(error)) if code == 1 else _named(cause(error))
    fail(args, said)
    return code


def _named(error: BaseException) -> KeeperError:
    if isinstance(error, KeeperError):
        return error
    return KeeperError("interrupted" if isinstance(error, KeyboardInterrupt) else "timed out")


def _incident(args: argparse.Namespace, error: BaseException) -> KeeperError:
    """Something that must not happen. The traceback goes to the log; a terminal gets it with -v only."""
    import structlog

    from keeper.cli import setup
    from keeper.observe.logging import in_use

    name = os.urandom(4).hex()
    if (in_use() or setup.logging(args)) == "json" or args.verbose:
        structlog.get_logger("keeper").error("error.internal", incident=name, exc_info=error)
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    known = error.help if isinstance(error, KeeperError) else ""
    return Broken(f"internal error {name}: {what}", help=known or "run again with -v for the traceback")

"""``keeper run``: the daemon. Settings first: a mistake in them is said before anything slow is loaded."""

from __future__ import annotations

import argparse

from keeper.cli import setup


def run(args: argparse.Namespace) -> int:
    settings = setup.settings(args)
    from keeper.cli.live import start

    return start(args, settings)

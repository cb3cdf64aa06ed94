"""``keeper world``: the market of the demo, left running for ``keeper run``, ``scan``, ``explain`` and ``record``."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from keeper.cli import setup
from keeper.cli.exit import on_first_signal
from keeper.cli.prices import price_path
from keeper.simulation.market import MarketDriver
from keeper.simulation.node import Anvil
from keeper.simulation.operator import configure
from keeper.simulation.world import GENESIS, Size, build

ACCOUNTS, BLOCKS, RIVALS = 200, 900, 0


def run(args: argparse.Namespace) -> int:
    setup.logging(args, level="warning")
    path = price_path(args.seed, args.blocks or BLOCKS, args.path)
    rivals = RIVALS if args.rivals is None else args.rivals
    size = Size(args.seed, args.accounts or ACCOUNTS, rivals, tuple(map(float, path.prices[0])))
    stop = threading.Event()
    with Anvil(timestamp=GENESIS) as node:
        world = build(node, size)
        driver = MarketDriver(world, path)
        config = configure(world, Path("reports") / f"world-{args.seed}")
        print(f"a market of {size.accounts} accounts, a block every {args.pace:g} s; Ctrl-C ends it", file=sys.stderr)
        print(f"keeper run -c {config} --live", flush=True)
        on_first_signal(stop.set)
        while not stop.wait(args.pace):
            driver.step()
    return 0

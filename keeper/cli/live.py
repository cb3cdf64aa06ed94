"""What ``keeper run`` starts: the daemon, dry unless told twice to be live; on a fork with --fork."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from typing import TextIO, cast

import structlog

from keeper import __version__, bootstrap
from keeper.cli import running, setup
from keeper.cli.exit import Usage
from keeper.observe.decisions import DecisionLog
from keeper.observe.outlet import Outlet
from keeper.observe.watch import Logged, Spoken
from keeper.ports import Watcher
from keeper.settings import Endpoint, Settings

log = structlog.get_logger("keeper")
FAREWELL = 1.0  # seconds for the last lines of the log
HEARTBEAT = 60_000  # milliseconds between heartbeats


def start(args: argparse.Namespace, settings: Settings) -> int:
    """The exit code, when it has ended."""
    outlet = Outlet(sys.stderr)
    setup.logging(args, settings, stream=cast("TextIO", outlet))
    atexit.register(outlet.drain, FAREWELL)  # after all that is said of how it ended, tracebacks too
    return _started(args, settings)


def _started(args: argparse.Namespace, settings: Settings) -> int:
    settings.require_environment()
    mode = _mode(args, settings)
    if settings.record.enabled:
        settings = running.with_fresh_recording(settings)
    running.until_stopped(_run(args, settings, mode))
    return 0


def _mode(args: argparse.Namespace, settings: Settings) -> bootstrap.Mode:
    if args.fork is None:
        return bootstrap.Live() if setup.armed(args, settings) else bootstrap.Dry(recorded=True)
    if args.live:
        raise Usage("--fork and --live contradict each other", help="a fork reaches no chain: leave --live out")
    url, block = args.fork
    try:
        return bootstrap.Fork(Endpoint(url).reveal(), block)
    except ValueError as error:
        raise Usage(f"--fork {error}", help="for example --fork http://127.0.0.1:8545@21000000") from None


async def _run(args: argparse.Namespace, settings: Settings, mode: bootstrap.Mode) -> None:
    name = type(mode).__name__.lower()
    log.info("run.starting", version=__version__, mode=name, sends=name != "dry", pid=os.getpid())
    path = running.decisions(settings, name)
    blocks = 1 if args.once else args.blocks
    chain = next(iter(settings.chains.values()), None)
    every = max(1, HEARTBEAT // chain.block_time) if chain else 1
    with DecisionLog(path, {"mode": name, "config": settings.fingerprint()}) as decisions:
        watchers: list[Watcher] = [Logged(decisions), Spoken(every), running.Calm()]
        async with bootstrap.keeper(settings, mode, watchers) as keeper:
            daemon = running.gracefully(keeper).daemon
            log.info("run.started", decisions=str(path))
            await daemon.run(blocks)
    log.info("run.ended", block=keeper.kernel.ref.number, inflight=len(keeper.kernel.inflight))

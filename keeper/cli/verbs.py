"""The verbs: what each is for, and its flags. Loaded by ``--help``, so nothing heavy is imported here.

The work of a verb is ``run(args) -> int`` in ``keeper/cli/<verb>.py``, imported only when it was chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

Flags = Callable[[argparse.ArgumentParser], None]


class Verb:
    __slots__ = ("example", "flags", "group", "summary")

    def __init__(self, group: str, summary: str, example: str, flags: Flags) -> None:
        self.group = group
        self.summary = summary
        self.example = example
        self.flags = flags


def count(text: str) -> int:
    """A whole number of things, at least one."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def some(text: str) -> int:
    """A whole number of things, perhaps none."""
    return 0 if text == "0" else count(text)


def pace(text: str) -> float:
    """Seconds, more than none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def fork(text: str) -> tuple[str, int | None]:
    """``URL`` or ``URL@BLOCK``; ``${NAME}`` in it stands for an environment variable."""
    url, at, block = text.rpartition("@")
    return (url, int(block)) if at and block.isdecimal() else (text, None)


def _market(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed is another market (default 1)")
    parser.add_argument("--accounts", type=count, metavar="N", help="how many accounts trade")
    parser.add_argument("--blocks", type=count, metavar="N", help="how many blocks to play")
    parser.add_argument("--rivals", type=some, metavar="N", help="how many other keepers compete")
    parser.add_argument("--path", metavar="CANDLES.csv", help="walk a recorded price path instead of a made one")


def _demo(parser: argparse.ArgumentParser) -> None:
    _market(parser)
    about = "a gap instead of a crash, thin insurance, poor rivals: what nobody buys, the keeper sees through"
    parser.add_argument("--harsh", action="store_true", help=about)


def _world(parser: argparse.ArgumentParser) -> None:
    _market(parser)
    parser.add_argument("--pace", type=pace, default=2.0, metavar="SECONDS", help="between blocks (default 2)")


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="catch up, decide once, stop")
    parser.add_argument("--blocks", type=count, metavar="N", help="stop after N blocks")
    parser.add_argument(
        "--live", action="store_true", help='send transactions; needs mode = "live" in the settings too'
    )
    parser.add_argument("--fork", type=fork, metavar="URL[@BLOCK]", help="run on a local fork of this node's chain")


def _scan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=count, metavar="N", help="show the N nearest to liquidation")
    parser.add_argument("--next", action="store_true", help="who will be next: moves that lead there, and how soon")


def _stress(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--hours", type=float, metavar="H", help="horizon (default 24)")
    add("--sigma", type=float, metavar="X", help="volatility a year between jumps (default: the highest implied one)")
    add("--jumps", type=float, metavar="N", help="jumps a year (default 12)")
    add("--jump", type=float, metavar="X", help="mean relative jump (default -0.1)")
    add("--spread", type=float, metavar="X", help="deviation of a jump's logarithm (default 0.1)")
    add("--weight", type=float, metavar="X", help="of the pool in the reported price (default 0.1)")
    add("--out", metavar="FOLDER", help="for stress.svg and stress.json (default reports/stress)")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="its address, as the protocol knows it")


RULES = ("reference", "span", "tims", "pmrm2", "pmrm1", "srm", "deribit", "bybit")
SCHEMA = """\
FILE is JSON; config/margin/README.md explains every key, and has an example per rule set beside it:
  {"rules": "pmrm2",                                  or another of --rules
   "parameters": {"factor": {"im": 1.1}},             what differs from the defaults of the rules
   "feeds": {"underlyings": {"ETH": {"spot": 2000,    US dollars
     "expiries": {"june": {"seconds": 604800, "forward": 2004, "rate": 0.05, "vol": 0.6}}}}},
   "portfolio": {"cash": 500, "options": [{"expiry": "june", "type": "call", "strike": 2200, "size": -1}]}}
"""


def _margin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="portfolio, feeds and parameters, as JSON")
    parser.add_argument("--rules", choices=RULES, help="wins over what the file says")
    parser.add_argument("--case", metavar="NAME", help="one case of a file of Derive's test cases; default: all")
    parser.epilog = SCHEMA


def _record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", type=count, metavar="N", help="stop after N blocks")
    parser.add_argument("--out", metavar="FOLDER", help="where to; default: record.folder of the settings")


def _backtest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a file or folder written by keeper record")


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check", "show"), help="find every problem, or print what is in force")
    parser.add_argument("--origin", action="store_true", help="with show: where each value comes from")


def _journal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("ls", "show", "verify"), help="list, show one intent, or prove it unharmed")
    parser.add_argument("which", nargs="?", metavar="HASH", help="with show: how an intent or a transaction begins")
    parser.add_argument("--all", action="store_true", help="with ls: what is final too")
    parser.add_argument("--file", metavar="FILE", help="a journal; default: every one in the state folder")


def _switch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("to", nargs="?", choices=("run", "pause", "drain", "halt"), help="without it: where it stands")
    parser.add_argument("--reason", default="", metavar="WORDS", help="kept with it")


def _none(_parser: argparse.ArgumentParser) -> None:
    pass


VERBS = {
    "demo": Verb("Start", "a whole market in a crash, and the keeper at work in it", "keeper demo --seed 7", _demo),
    "world": Verb("Start", "the demo's market, left running for the other verbs", "keeper world --pace 1", _world),
    "run": Verb("Run", "follow the chain, decide, and send if armed", "keeper run -c config/keeper.toml", _run),
    "switch": Verb("Run", "pause, drain or halt a running keeper", "keeper switch pause --reason audit", _switch),
    "scan": Verb("Look", "who is near liquidation, and what it would pay", "keeper scan --limit 20", _scan),
    "stress": Verb("Look", "what a move would set off, and who would pay", "keeper stress --jump=-0.2", _stress),
    "explain": Verb("Look", "one account: state, sums, decision and why", "keeper explain 0x52908400…", _explain),
    "journal": Verb("Look", "what was signed, and what became of it", "keeper journal ls --all", _journal),
    "margin": Verb("Look", "what a portfolio must hold, line by line", "keeper margin config/margin/srm.json", _margin),
    "record": Verb("Data", "write what the chain says to a recording", "keeper record --blocks 7200", _record),
    "backtest": Verb("Data", "replay a recording and report", "keeper backtest recordings/crash", _backtest),
    "config": Verb("Config", "check the settings, or show what is in force", "keeper config show --origin", _config),
    "version": Verb("Config", "which keeper this is", "keeper version --json", _none),
}

"""What is measured, and against what."""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from eth_account import Account

from keeper.core.selection import select
from keeper.model import Call, Key, Moment
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.risk import Market, Price, portfolio
from keeper.simulation.node import Anvil
from keeper.simulation.world import GENESIS, Size, World, build
from keeper.tx.keys import Key as Secret
from keeper.tx.signer import local_signer
from tests.bench import events, reading, scanning, turning
from tests.bench.harness import Row, seconds
from tests.worlds.sets import instance, optimum

LIBRARY = "import pydantic_settings"
SETS = 12  # to choose
SCREENED = 10_000  # accounts of the screen, copies of those of the world


@contextmanager
def market() -> Iterator[World]:
    with Anvil(timestamp=GENESIS) as node:
        yield build(node, Size(accounts=200, rivals=0))


def start() -> list[Row]:
    """Whole processes: help against the interpreter alone, a wrong setting against the library that reads it."""
    keeper, python = str(Path(sys.executable).with_name("keeper")), sys.executable

    def run(*command: str, code: int = 0) -> float:
        def once() -> None:
            assert subprocess.run(command, check=False, capture_output=True).returncode == code

        return seconds(once)

    wrong = run(keeper, "run", "-c", "config/keeper.toml", "--set=risk.no_such_key=1", code=3)
    return [
        Row("`keeper --help`", run(keeper, "--help"), "`python -c pass`", run(python, "-c", "pass"), 4, faster=False),
        Row("refuse a wrong setting", wrong, "import of its library", run(python, "-c", LIBRARY), 3, faster=False),
    ]


def margin() -> list[Row]:
    """Health of accounts: the float screen, the exact telling, the contract over IPC."""
    with market() as w:
        accounts = [t.account for t in w.traders]
        columns = Columns()
        for i in range(SCREENED):
            columns.put(Key("account", i), w.state.account(accounts[i % len(accounts)]))
        at = Moment(w.book.ref.number + 1, w.now, 0)
        if work := columns.warming():
            work()
        screen = seconds(lambda: columns.suspects(w.book, at)) / SCREENED
        house, params = w.state.clearing(), w.state.params(1).risk
        held = [portfolio(record, house) for a in accounts if (record := w.state.account(a))]

        def exact() -> None:
            m = Market(w.state, params, w.now, Price.TRIGGER)
            for pf in held:
                m.assess(pf)

        exactly = seconds(exact) / len(held)
        asked = seconds(_asker(w, accounts[0]))
    return [
        Row("screen an account (10,000 at once)", screen, "the contract's view over IPC", asked, 100),
        Row("confirm an account exactly", exactly, "the contract's view over IPC", asked, 2),
    ]


def _asker(w: World, account: int) -> Callable[[], object]:
    data = w.c["Clearing"].call("health", account, int(Price.TRIGGER))
    return lambda: w.node.rpc("eth_call", {"to": w.dep.clearing, "data": data}, "latest")


def signing() -> list[Row]:
    """A transaction with 300 bytes of call data, signed and serialised."""
    key, to = secrets.token_bytes(32), secrets.token_bytes(20)
    signer, call = local_signer(Secret(key), 31337), Call(to, bytes(300))
    fields = {"type": 2, "chainId": 31337, "nonce": 7, "to": to, "value": 0, "data": bytes(300), "gas": 10**6}
    fees = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
    account = Account.from_key(key)
    ours = seconds(lambda: signer.sign(7, call, 10**6, 10**10, 10**9, 31337))
    return [Row("sign", ours, "eth-account", seconds(lambda: account.sign_transaction({**fields, **fees})), 2)]


def journal() -> list[Row]:
    """A durable commit of an intent with its signed attempt, against one fsync of the same bytes."""
    from tests.bench.writing import commits

    with tempfile.TemporaryDirectory() as folder:
        floor = seconds(_fsync(Path(folder) / "floor"))
        ours = commits(Path(folder) / "journal.db")
    return [Row("journal: intent and signed bytes, durable", ours, "write and fsync", floor, 8, faster=False)]


def _fsync(path: Path) -> Callable[[], object]:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write() -> None:
        os.write(file, bytes(600))
        os.fsync(file)

    return write


def choosing() -> list[Row]:
    """The best set of a thousand opportunities under shared slots, gas, cash and margin; the slowest of some too.

    ``KEEPER_BENCH_SEED`` tries other instances.
    """
    first = 100 * (scanning.SEED - 1)
    cases = [instance(seed, 1_000) for seed in range(first, first + SETS)]
    each = [seconds(partial(select, *case)) for case in cases]
    began = time.perf_counter()
    best = [optimum(*case) for case in cases]  # once: it takes long, and shows by how much
    theirs = (time.perf_counter() - began) / len(cases)
    worst = max(1 - select(*case).value / top for case, top in zip(cases, best, strict=True))
    usual, slowest = statistics.fmean(each), max(each)
    return [
        Row("choose a set of 1,000 opportunities", usual, "HiGHS to 1e-6", theirs, 2, note=f"{worst:.2%} less"),
        Row("the same", usual, "20 ms", 0.02, 1, note=f"slowest of {SETS}: {slowest * 1e3:.0f} ms"),
    ]


ALL = (start, events.decoding, margin, signing, choosing, journal, *scanning.ALL, *reading.ALL, *turning.ALL)

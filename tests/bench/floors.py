"""Blocking loops against a node: what there is nothing to take away from."""

from __future__ import annotations

import json
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keeper.chain.codec import to_hex
from keeper.model import Call
from keeper.simulation.deploy import actor
from keeper.simulation.node import Anvil
from keeper.tx.keys import from_hex
from keeper.tx.signer import LocalSigner, local_signer
from keeper.units import GWEI
from tests.bench.blocks import blocks

TURNS = 100  # blocks; the first few are not counted
WARM = 10
TARGET = b"t" * 20  # what the transactions call: nobody is there, so the node has nothing to execute
DATA = b"call" + bytes(296)
CHAIN = 31337


@dataclass
class Line:
    """A key, and a blocking socket that hears of blocks."""

    node: Anvil
    socket: socket.socket
    signer: LocalSigner

    def __post_init__(self) -> None:
        self.socket.connect(str(self.node.ipc))
        self.lines = self.socket.makefile("rb")
        self.ask(_frame("eth_subscribe", "newHeads"))

    def ask(self, frame: bytes) -> None:
        self.socket.sendall(frame)
        answer = self.lines.readline()
        assert b"error" not in answer, answer

    def signed(self, nonce: int) -> bytes:
        raw, _ = self.signer.sign(nonce, Call(TARGET, DATA), 200_000, 10 * GWEI, GWEI, CHAIN)
        return _frame("eth_sendRawTransaction", "0x" + raw.hex())

    def timed(self, works: Iterable[Callable[[], None]]) -> float:
        """Median seconds of them, each at the notice of a block."""
        took = list[float]()
        with blocks(self.node, published=True) as next:
            for work in works:
                next()
                self.lines.readline()
                began = time.perf_counter()
                work()
                took.append(time.perf_counter() - began)
        return statistics.median(took[WARM:])


@contextmanager
def line(node: Anvil, name: str) -> Iterator[Line]:
    key, address = actor(name)
    node.set_balance(address, 10**20)
    with socket.socket(socket.AF_UNIX) as found:
        yield Line(node, found, local_signer(from_hex(key.hex()), CHAIN))


def blocking(node: Anvil) -> float:
    """Median seconds from a notice to the acknowledgement of bytes that were there before it."""
    with line(node, "floor") as open:
        return open.timed([partial(open.ask, open.signed(n)) for n in range(TURNS)])


def careful(node: Anvil) -> float:
    """The same of bytes that are simulated, signed and on disk first."""
    with line(node, "careful") as open, tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE raw (raw BLOB);")
        question = {"from": to_hex(open.signer.address), "to": to_hex(TARGET), "data": to_hex(DATA)}

        def work(nonce: int) -> None:
            open.ask(_frame("eth_call", question, "latest"))
            frame = open.signed(nonce)
            db.execute("INSERT INTO raw VALUES (?)", (frame,))  # commits
            open.ask(frame)

        took = open.timed(partial(work, n) for n in range(TURNS))
        db.close()
    return took


def _frame(method: str, *params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"

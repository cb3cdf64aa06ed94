"""The journal under the stopwatch: every round writes new intents, because an intent is written once."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from keeper.model import Call, TxIntent, TxState
from keeper.tx.fees import Fees
from keeper.tx.journal import Binding, Journal
from keeper.tx.rows import Attempt, AttemptKind, Flight
from tests.bench.harness import seconds


def commits(path: Path) -> float:
    """Seconds per intent that is begun, with its nonce and its first attempt."""
    journal = Journal(path, Binding(31337, bytes(32), bytes(20), "live"))
    nonces = count()

    def begin() -> None:
        nonce = next(nonces)
        id = nonce.to_bytes(32)
        flight = Flight(
            TxIntent(id, Call(bytes(20), bytes(300)), 10**6, 10**17, 2**40, "bench"), nonce, 1, TxState.SIGNED
        )
        flight.attempts.append(Attempt(id, id, nonce, AttemptKind.ACT, bytes(450), 10**6, Fees(10**10, 10**9), 1))
        journal.begin(flight)

    try:
        return seconds(begin)
    finally:
        journal.close()

"""The journal's tables, and how our nouns lie in them.

Every table but ``event`` ends with a checksum over the other columns of its row, because SQLite does not notice a
flipped byte in a data page. ``event`` is append-only, and each row's link covers the row before. Amounts in wei are
decimal text, because SQLite's integers end at 2**63 (9.2 ether in wei).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from keeper.model import BlockRef, Call, Hash, Receipt, TxIntent, TxState
from keeper.tx.answers import Answer
from keeper.tx.fees import Fees

SCHEMA_VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE TABLE memo (key TEXT PRIMARY KEY, value BLOB NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE TABLE intent (
    id BLOB PRIMARY KEY, state TEXT NOT NULL, settled INTEGER NOT NULL,
    target BLOB NOT NULL, data BLOB NOT NULL, value TEXT NOT NULL, gas_limit INTEGER NOT NULL, budget TEXT NOT NULL,
    valid_until INTEGER NOT NULL, purpose TEXT NOT NULL, created INTEGER NOT NULL, sum BLOB NOT NULL
) STRICT;
CREATE INDEX unsettled ON intent (settled) WHERE settled = 0;
CREATE TABLE nonce (
    address BLOB NOT NULL, nonce INTEGER NOT NULL,
    intent BLOB NOT NULL UNIQUE REFERENCES intent (id), sum BLOB NOT NULL,
    PRIMARY KEY (address, nonce), UNIQUE (intent, nonce)
) STRICT;
CREATE TABLE attempt (
    hash BLOB PRIMARY KEY, intent BLOB NOT NULL, nonce INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('act', 'noop')), raw BLOB NOT NULL, gas INTEGER NOT NULL,
    max_fee TEXT NOT NULL, tip TEXT NOT NULL, created INTEGER NOT NULL, sum BLOB NOT NULL,
    FOREIGN KEY (intent, nonce) REFERENCES nonce (intent, nonce)
) STRICT;
CREATE INDEX attempts_of ON attempt (intent);
CREATE TABLE receipt (
    intent BLOB PRIMARY KEY REFERENCES intent (id), hash BLOB NOT NULL REFERENCES attempt (hash),
    ok INTEGER NOT NULL, gas_used INTEGER NOT NULL, gas_price TEXT NOT NULL,
    block INTEGER NOT NULL, block_hash BLOB NOT NULL, parent BLOB NOT NULL, timestamp INTEGER NOT NULL,
    base_fee TEXT NOT NULL, block_gas_used INTEGER NOT NULL, block_gas_limit INTEGER NOT NULL, sum BLOB NOT NULL
) STRICT;
CREATE TABLE event (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, link BLOB NOT NULL) STRICT;
CREATE TRIGGER event_keeps BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER nonce_stays BEFORE DELETE ON nonce BEGIN SELECT RAISE(ABORT, 'a used nonce stays used'); END;
"""
CHECKED: Final = ("meta", "memo", "intent", "nonce", "attempt", "receipt")

Row = tuple[Any, ...]


class AttemptKind(StrEnum):
    """What an attempt does if it is mined."""

    ACT = "act"  # the intent's call
    NOOP = "noop"  # nothing, to itself: uses up the nonce


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction."""

    hash: Hash
    intent: Hash
    nonce: int
    kind: AttemptKind
    raw: bytes
    gas: int
    fees: Fees
    created: int  # block number


@dataclass(slots=True)
class Flight:
    """One nonce, its one intent, and every attempt at it: what the journal knows until it is final."""

    intent: TxIntent
    nonce: int
    created: int  # block number
    state: TxState = TxState.SIGNED
    attempts: list[Attempt] = field(default_factory=list)
    receipt: Receipt | None = None  # of whichever attempt was mined
    # What only this process has seen; not kept.
    answer: Answer | None = None  # the node's last word on it
    waits_since: int | None = None  # block from which the last attempt's patience counts
    missing_since: int | None = None  # first block at which the nonce was used and no receipt was ours

    @property
    def last(self) -> Attempt:
        """The dearest attempt, hence the one to send again."""
        return self.attempts[-1]

    @property
    def worst_cost(self) -> int:
        """Wei that leave the account in the worst case: gas at the highest bid, and the value."""
        return self.intent.gas_limit * self.last.fees.max_fee + self.intent.call.value

    @property
    def contested(self) -> bool:
        """The pool holds a transaction of this nonce that cannot be ours: we have signed only one."""
        return self.answer is Answer.REPLACE_LOW and len(self.attempts) == 1

    @property
    def mined(self) -> Attempt | None:
        return next((a for a in self.attempts if self.receipt and a.hash == self.receipt.tx_hash), None)


# ─── to rows ──────────────────────────────────────────────────────────────────────────────────────


def checksum(row: Row) -> bytes:
    return hashlib.sha256(repr(row).encode()).digest()


def link(previous: bytes, body: str) -> bytes:
    return hashlib.sha256(previous + body.encode()).digest()


def sealed(*row: Any) -> Row:
    return (*row, checksum(row))


def intent_row(flight: Flight, *, settled: bool) -> Row:
    i = flight.intent
    return sealed(
        i.id, str(flight.state), int(settled),
        i.call.target, i.call.data, str(i.call.value), i.gas_limit, str(i.budget),
        i.valid_until, i.purpose, flight.created,
    )  # fmt: skip


def attempt_row(a: Attempt) -> Row:
    return sealed(a.hash, a.intent, a.nonce, str(a.kind), a.raw, a.gas, str(a.fees.max_fee), str(a.fees.tip), a.created)


def receipt_row(intent: Hash, r: Receipt) -> Row:
    b = r.block
    return sealed(
        intent, r.tx_hash, int(r.ok), r.gas_used, str(r.gas_price),
        b.number, b.hash, b.parent, b.timestamp, str(b.base_fee), b.gas_used, b.gas_limit,
    )  # fmt: skip


# ─── from rows ────────────────────────────────────────────────────────────────────────────────────


def flight_of(row: Sequence[Any], nonce: int) -> Flight:
    """Without ``TxIntent.at``: that is for the simulation, and what is in the journal has been simulated."""
    id, state, _, target, data, value, gas_limit, budget, valid_until, purpose, created, _ = row
    call = Call(target, data, int(value))
    return Flight(TxIntent(id, call, gas_limit, int(budget), valid_until, purpose), nonce, created, TxState(state))


def attempt_of(row: Sequence[Any]) -> Attempt:
    hash, intent, nonce, kind, raw, gas, max_fee, tip, created, _ = row
    return Attempt(hash, intent, nonce, AttemptKind(kind), raw, gas, Fees(int(max_fee), int(tip)), created)


def receipt_of(row: Sequence[Any]) -> Receipt:
    _, tx_hash, ok, used, price, number, hash, parent, timestamp, base_fee, block_used, block_limit, _ = row
    block = BlockRef(number, hash, parent, timestamp, int(base_fee), block_used, block_limit)
    return Receipt(tx_hash, block, bool(ok), used, int(price))

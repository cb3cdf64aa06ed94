"""The journal's tables, and how our nouns lie in them.

Every table but ``event`` ends with a checksum over the other columns of its row, because SQLite does not notice a
flipped byte in a data page. ``event`` is append-only, and each row's link covers the row before. Amounts in wei are
decimal text, because SQLite's integers end at 2**63 (9.2 ether in wei).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from keeper.model import BlockRef, Call, Hash, Receipt, Route, TxIntent, TxState
from keeper.tx.answers import Answer
from keeper.tx.fees import Fees

# Forwards only: entry n makes schema n + 1 of schema n. Entries are never edited; new facts get tables of their own,
# so that no row that was sealed has to be sealed anew.
MIGRATIONS: Final = (
    """
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
""",
    """
CREATE TABLE plan (
    intent BLOB PRIMARY KEY REFERENCES intent (id), subject TEXT NOT NULL, urgent INTEGER NOT NULL,
    route TEXT NOT NULL, at INTEGER NOT NULL, wall INTEGER NOT NULL, sum BLOB NOT NULL
) STRICT;
CREATE INDEX plans_of ON plan (subject, at);
CREATE INDEX plans_at ON plan (at);
CREATE TABLE term (hash BLOB PRIMARY KEY REFERENCES attempt (hash), epoch INTEGER NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE INDEX terms ON term (epoch);
CREATE TRIGGER term_rises BEFORE INSERT ON term WHEN NEW.epoch < (SELECT max(epoch) FROM term)
    BEGIN SELECT RAISE(ABORT, 'signed in a later term already'); END;
""",
    "CREATE INDEX receipts_at ON receipt (block);",  # the latest losses, without looking at all that ever happened
    """
CREATE TABLE checkpoint (seq INTEGER PRIMARY KEY, link BLOB NOT NULL, nonce INTEGER NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE INDEX receipts_of ON receipt (hash);
DROP TRIGGER event_stays;
CREATE TRIGGER event_stays BEFORE DELETE ON event WHEN OLD.seq > (SELECT coalesce(max(seq), 0) FROM checkpoint)
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
DROP TRIGGER nonce_stays;
CREATE TRIGGER nonce_stays BEFORE DELETE ON nonce WHEN OLD.nonce >= (SELECT coalesce(max(nonce), 0) FROM checkpoint)
    BEGIN SELECT RAISE(ABORT, 'a used nonce stays used'); END;
""",  # what was archived may go; see ``pruning.py``
    """
CREATE TABLE ahead (
    hash BLOB PRIMARY KEY, nonce INTEGER NOT NULL UNIQUE, line BLOB NOT NULL, sum BLOB NOT NULL
) STRICT;
""",  # signed for what may come, and not an intent yet
)
SCHEMA_VERSION: Final = len(MIGRATIONS)
CHECKED: Final = ("meta", "memo", "intent", "nonce", "attempt", "receipt", "plan", "term", "checkpoint", "ahead")

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
    epoch: int = 0  # term in which it was signed; see ``ports.Fence``

    @property
    def worst_cost(self) -> int:
        """Wei of gas, if every unit is used at the highest price."""
        return self.gas * self.fees.max_fee


@dataclass(slots=True)
class Flight:
    """One nonce, its one intent, and every attempt at it: what the journal knows until it is final."""

    intent: TxIntent
    nonce: int
    created: int  # block number
    state: TxState = TxState.SIGNED
    attempts: list[Attempt] = field(default_factory=list)
    receipt: Receipt | None = None  # of whichever attempt was mined
    at: int = 0  # chain seconds when it was signed first
    wall: int = 0  # unix seconds then
    settled: bool = False  # no reorganisation reaches it any more
    # What only this process has seen; not kept.
    answer: Answer | None = None  # the node's last word on it
    waits_since: int | None = None  # block from which the last attempt's patience counts
    missing_since: int | None = None  # first block at which the nonce was used and no receipt was ours
    relayed: dict[Hash, int] = field(default_factory=dict)  # attempt -> last block for which a relay has it
    stuck: str = ""  # why no dearer attempt could be made, the last time
    escalated: bool = False  # one replacement by the stricter rule of older pools was tried

    @property
    def last(self) -> Attempt:
        """The dearest attempt, hence the one to send again."""
        return self.attempts[-1]

    @property
    def worst_cost(self) -> int:
        """Wei that leave the account in the worst case: the dearest attempt's gas, and the value."""
        return max(attempt.worst_cost for attempt in self.attempts) + self.intent.call.value

    @property
    def cost(self) -> int | None:
        """Wei that left the account; None until it is mined."""
        if self.receipt is None or self.mined is None:
            return None
        acted = self.mined.kind is AttemptKind.ACT and self.receipt.ok
        return self.receipt.fee + (self.intent.call.value if acted else 0)

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


def plan_row(flight: Flight) -> Row:
    i = flight.intent
    return sealed(i.id, i.subject, int(i.urgent), str(i.route or ""), flight.at, flight.wall)


def term_row(a: Attempt) -> Row:
    return sealed(a.hash, a.epoch)


def receipt_row(intent: Hash, r: Receipt) -> Row:
    b = r.block
    return sealed(
        intent, r.tx_hash, int(r.ok), r.gas_used, str(r.gas_price),
        b.number, b.hash, b.parent, b.timestamp, str(b.base_fee), b.gas_used, b.gas_limit,
    )  # fmt: skip


# ─── from rows ────────────────────────────────────────────────────────────────────────────────────


def flight_of(row: Sequence[Any], nonce: int, plan: Sequence[Any]) -> Flight:
    """Without ``TxIntent.at``: that is for the simulation, and what is in the journal has been simulated."""
    id, state, settled, target, data, value, gas_limit, budget, valid_until, purpose, created, _ = row
    subject, urgent, route, at, wall = plan if plan[0] is not None else ("", 1, "", 0, 0)  # signed before schema 2
    intent = TxIntent(
        id, Call(target, data, int(value)), gas_limit, int(budget), valid_until, purpose,
        subject=subject, urgent=bool(urgent), route=Route(route) if route else None,
    )  # fmt: skip
    return Flight(intent, nonce, created, TxState(state), at=at, wall=wall, settled=bool(settled))


def attempt_of(row: Sequence[Any], epoch: int | None) -> Attempt:
    hash, intent, nonce, kind, raw, gas, max_fee, tip, created, _ = row
    fees = Fees(int(max_fee), int(tip))
    return Attempt(hash, intent, nonce, AttemptKind(kind), raw, gas, fees, created, epoch or 0)


def receipt_of(row: Sequence[Any]) -> Receipt:
    _, tx_hash, ok, used, price, number, hash, parent, timestamp, base_fee, block_used, block_limit, _ = row
    block = BlockRef(number, hash, parent, timestamp, int(base_fee), block_used, block_limit)
    return Receipt(tx_hash, block, bool(ok), used, int(price))


# ─── to lines, for other hosts ────────────────────────────────────────────────────────────────────


def line_of(flight: Flight, attempt: Attempt) -> bytes:
    """One signed attempt with all that is needed to go on from it elsewhere; see ``ports.Fence``."""
    tables = {
        "intent": intent_row(flight, settled=False),
        "plan": plan_row(flight),
        "nonce": sealed(flight.nonce, flight.intent.id),
        "attempt": attempt_row(attempt),
        "term": term_row(attempt),
    }
    return json.dumps({name: [_text(value) for value in row[:-1]] for name, row in tables.items()}).encode()


def of_line(line: bytes) -> Flight:
    """A flight with that one attempt. ValueError, KeyError or TypeError when the line is not ours."""
    tables = {name: [_value(each) for each in row] for name, row in json.loads(line).items()}
    nonce, _ = tables["nonce"]
    flight = flight_of([*tables["intent"], b""], nonce, tables["plan"][1:])
    flight.attempts = [attempt_of([*tables["attempt"], b""], tables["term"][1])]
    return flight


def _text(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _value(text: Any) -> Any:
    return bytes.fromhex(text["hex"]) if isinstance(text, dict) else text

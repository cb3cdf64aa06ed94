"""Single rows of the journal, within a transaction that is under way."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from keeper.model import Address
from keeper.tx import rows
from keeper.tx.rows import Attempt, Flight, Row


@dataclass(frozen=True, slots=True)
class Noted:
    """A step of a flight, as it was then."""

    flight: Flight
    event: str
    at: int  # block number
    settled: bool


def put(db: sqlite3.Connection, table: str, row: Row, otherwise: str = "") -> None:
    db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))}) {otherwise}", row)  # noqa: S608


def advance(db: sqlite3.Connection, to: Noted) -> None:
    flight = to.flight
    put_intent(db, flight, settled=to.settled)
    db.execute("DELETE FROM receipt WHERE intent = ?", (flight.intent.id,))
    if flight.receipt is not None:
        put(db, "receipt", rows.receipt_row(flight.intent.id, flight.receipt))
    log(db, to.event, flight, to.at)


def put_intent(db: sqlite3.Connection, flight: Flight, *, settled: bool) -> None:
    changed = "ON CONFLICT DO UPDATE SET state = excluded.state, settled = excluded.settled, sum = excluded.sum"
    put(db, "intent", rows.intent_row(flight, settled=settled), changed)


def put_flight(db: sqlite3.Connection, key: Address, flight: Flight) -> None:
    """Its intent, its nonce and its plan."""
    put_intent(db, flight, settled=False)
    put(db, "nonce", rows.sealed(key, flight.nonce, flight.intent.id))
    put(db, "plan", rows.plan_row(flight))


def put_attempt(db: sqlite3.Connection, attempt: Attempt) -> None:
    put(db, "attempt", rows.attempt_row(attempt))
    put(db, "term", rows.term_row(attempt))


def let_go(db: sqlite3.Connection, nonce: int | None = None) -> None:
    """Of what is held: that of a nonce and of lower ones, or everything."""
    db.execute("DELETE FROM ahead WHERE ?1 IS NULL OR nonce <= ?1", (nonce,))


def log(
    db: sqlite3.Connection, event: str, flight: Flight, at: int, attempt: Attempt | None = None, /, **why: str
) -> None:
    """One line of the audit chain: what happened, to which bytes, and what they may cost (wei)."""
    shown = attempt or flight.mined or flight.last
    said = {
        "block": at, "event": event, "intent": flight.intent.id.hex(), "nonce": flight.nonce, "state": flight.state,
        "hash": shown.hash.hex(), "kind": shown.kind, "worst": shown.worst_cost, "epoch": shown.epoch,
        "purpose": flight.intent.purpose, **why,
    }  # fmt: skip
    body = json.dumps(said, sort_keys=True)
    last = db.execute("SELECT link FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    db.execute("INSERT INTO event (body, link) VALUES (?, ?)", (body, rows.link(last[0] if last else b"", body)))

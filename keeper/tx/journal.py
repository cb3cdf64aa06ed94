"""What was signed, on disk before it is sent; one file, one writer, one key on one chain.

SQLite in WAL mode with ``synchronous=FULL``: a commit that returned survives the power cut. After any failed
write the journal closes itself, and a closed journal means: no signature, ever, by this process. The lock is on the
database file itself, so removing files cannot let a second process in, and a file that was swapped or deleted under a
running keeper is noticed before the next signature.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from keeper.errors import Broken, Misconfigured, Stop, WrongChain
from keeper.model import Address, Hash, TxState
from keeper.tx import rows
from keeper.tx.rows import Attempt, Flight, Row

_BY_HAND: Final = "keep the file, stop every keeper that uses it, and reconcile it with the chain before going on"
_OVER: Final = "ON CONFLICT DO UPDATE SET value = excluded.value, sum = excluded.sum"
_held: set[tuple[int, int]] = set()  # (device, inode) of the journals open in this process


@dataclass(frozen=True, slots=True)
class Binding:
    """What a journal belongs to."""

    chain_id: int
    genesis: Hash
    address: Address
    mode: str


class Journal:
    def __init__(self, path: Path, binding: Binding) -> None:
        """Open or create, lock, verify every row, bind. Raises Stop when any of these fails."""
        self.path = path
        self.binding = binding
        self._db: sqlite3.Connection | None = None
        self._lock, self._inode = _lock(path)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent. The lock goes last: closing its descriptor would also drop SQLite's own locks."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        if self._inode in _held:
            _held.discard(self._inode)
            os.close(self._lock)

    # ─── writing: each is one durable transaction ─────────────────────────────────────────────────

    def begin(self, flight: Flight) -> None:
        """A new flight: its intent, its nonce and its first attempt, together or not at all."""
        with self._writing() as db:
            _put_intent(db, flight, settled=False)
            _put(db, "nonce", rows.sealed(self.binding.address, flight.nonce, flight.intent.id))
            _put(db, "attempt", rows.attempt_row(flight.last))
            _log(db, "signed", flight, flight.created)

    def replace(self, flight: Flight, attempt: Attempt) -> None:
        """One more attempt at the nonce of ``flight``."""
        with self._writing() as db:
            _put(db, "attempt", rows.attempt_row(attempt))
            _log(db, f"replaced by {attempt.kind} 0x{attempt.hash.hex()}", flight, attempt.created)

    def advance(self, flight: Flight, event: str, at: int, *, settled: bool = False) -> None:
        """The flight's present state and receipt. ``settled``: it will never be looked at again."""
        with self._writing() as db:
            _put_intent(db, flight, settled=settled)
            db.execute("DELETE FROM receipt WHERE intent = ?", (flight.intent.id,))
            if flight.receipt is not None:
                _put(db, "receipt", rows.receipt_row(flight.intent.id, flight.receipt))
            _log(db, event, flight, at)

    def remember(self, key: str, value: bytes) -> None:
        """Keep a small secret or note, such as a salt, across restarts."""
        with self._writing() as db:
            _put(db, "memo", rows.sealed(key, value), _OVER)

    def halt(self, reason: str) -> None:
        """Nothing more is signed with this key, by this process or the next, until ``adopt``."""
        self._put_meta(halt=reason)

    def adopt(self, nonce: int) -> None:
        """Take the chain's count for the truth: on the first start, or because a person says so. Lifts a halt."""
        self._put_meta(adopted=str(nonce), halt="")

    # ─── reading ──────────────────────────────────────────────────────────────────────────────────

    def flights(self) -> list[Flight]:
        """Everything that is not settled, by nonce."""
        query = "SELECT i.*, n.nonce FROM intent i JOIN nonce n ON n.intent = i.id WHERE i.settled = 0 ORDER BY n.nonce"
        return [self._whole(rows.flight_of(row, nonce)) for *row, nonce in self._rows(query)]

    def _whole(self, flight: Flight) -> Flight:
        id = flight.intent.id
        attempts = self._rows("SELECT * FROM attempt WHERE intent = ? ORDER BY rowid", id)
        flight.attempts = [rows.attempt_of(row) for row in attempts]
        flight.receipt = next(
            (rows.receipt_of(row) for row in self._rows("SELECT * FROM receipt WHERE intent = ?", id)), None
        )
        return flight

    def state_of(self, intent: Hash) -> TxState | None:
        found = self._rows("SELECT state FROM intent WHERE id = ?", intent)
        return TxState(found[0][0]) if found else None

    def next_nonce(self) -> int | None:
        """One above the highest nonce that was signed or adopted; None in a new journal."""
        [(highest,)] = self._rows("SELECT max(nonce) FROM nonce WHERE address = ?", self.binding.address)
        adopted = self._meta("adopted")
        known = [] if highest is None else [highest + 1]
        return max(known if adopted is None else [*known, int(adopted)], default=None)

    def halted(self) -> str:
        """Why nothing may be signed; empty when something may."""
        return self._meta("halt") or ""

    def recall(self, key: str) -> bytes | None:
        found = self._rows("SELECT value FROM memo WHERE key = ?", key)
        return found[0][0] if found else None

    def check(self) -> None:
        """Raises Broken unless the next write can be trusted. Called before every signature."""
        self._connected()
        try:
            same = _inode(self.path.stat()) == self._inode
        except OSError:
            same = False
        if not same:
            self.close()
            raise Broken(f"the journal {self.path} was moved or deleted while in use", help=_BY_HAND)

    def verify(self) -> None:
        """Every checksum, the chain of events, and that each open flight is whole. Raises Broken."""
        for table in rows.CHECKED:
            if any(rows.checksum(row[:-1]) != row[-1] for row in self._rows(f"SELECT * FROM {table}")):  # noqa: S608
                raise self._damaged(f"a row of table {table!r} does not match its checksum")
        if self._rows("PRAGMA integrity_check(1)") != [("ok",)]:
            raise self._damaged("SQLite's own check fails")
        previous = b""
        for seq, body, link in self._rows("SELECT * FROM event ORDER BY seq"):
            previous = rows.link(previous, body)
            if link != previous:
                raise self._damaged(f"event {seq} does not follow the one before")
        if not all(flight.attempts for flight in self.flights()):
            raise self._damaged("an intent has a nonce but no attempt")

    def _damaged(self, what: str) -> Broken:
        return Broken(f"the journal {self.path} is damaged: {what}", help=_BY_HAND)

    # ─── opening ──────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        with self._translated():
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
            [wal] = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            [version] = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(
                    f"BEGIN IMMEDIATE; {rows.SCHEMA} PRAGMA user_version = {rows.SCHEMA_VERSION}; COMMIT;"
                )
        if wal != "wal":
            raise Misconfigured(f"the file system of {self.path} cannot keep a journal", help="use a local disk")
        if version > rows.SCHEMA_VERSION:
            raise Broken(f"the journal {self.path} was written by a newer keeper (schema {version})", help="upgrade")
        self.verify()
        self._bind()

    def _bind(self) -> None:
        """A new journal takes our binding; an old one must have it already."""
        mine = {
            key: value.hex() if isinstance(value, bytes) else str(value) for key, value in asdict(self.binding).items()
        }
        for key, value in mine.items():
            stored = self._meta(key)
            if stored is not None and stored != value:
                error: type[Stop] = WrongChain if key in ("chain_id", "genesis") else Broken
                raise error(
                    f"the journal {self.path} belongs to {key} {stored}, this keeper is set to {key} {value}",
                    help="correct the configuration, or give this keeper a journal of its own",
                )
        self._put_meta(**mine, pid=str(os.getpid()))

    # ─── below: SQLite, and its errors ────────────────────────────────────────────────────────────

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self.check()
        db = self._connected()
        with self._translated():
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError) as error:
            self.close()
            raise Broken(f"the journal {self.path} failed: {error}", help=_BY_HAND) from error

    def _rows(self, query: str, *values: Any) -> list[Row]:
        db = self._connected()
        with self._translated():
            return db.execute(query, values).fetchall()

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            raise Broken(f"the journal {self.path} is closed: nothing may be signed")
        return self._db

    def _meta(self, key: str) -> str | None:
        found = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return found[0][0] if found else None

    def _put_meta(self, **values: str) -> None:
        with self._writing() as db:
            for item in values.items():
                _put(db, "meta", rows.sealed(*item), _OVER)


def _put(db: sqlite3.Connection, table: str, row: Row, otherwise: str = "") -> None:
    db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))}) {otherwise}", row)  # noqa: S608


def _put_intent(db: sqlite3.Connection, flight: Flight, *, settled: bool) -> None:
    changed = "ON CONFLICT DO UPDATE SET state = excluded.state, settled = excluded.settled, sum = excluded.sum"
    _put(db, "intent", rows.intent_row(flight, settled=settled), changed)


def _log(db: sqlite3.Connection, event: str, flight: Flight, at: int) -> None:
    """One line of the audit chain."""
    said = {"block": at, "event": event, "intent": flight.intent.id.hex(), "nonce": flight.nonce, "state": flight.state}
    body = json.dumps(said, sort_keys=True)
    last = db.execute("SELECT link FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    db.execute("INSERT INTO event (body, link) VALUES (?, ?)", (body, rows.link(last[0] if last else b"", body)))


# ─── the lock ─────────────────────────────────────────────────────────────────────────────────────


def _inode(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _lock(path: Path) -> tuple[int, tuple[int, int]]:
    """A descriptor that holds the lock on the file's own inode. Raises Stop when somebody has it."""
    if path.exists() and _inode(path.stat()) in _held:
        raise _in_use(path, "this process")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"cannot open the journal {path}: {error.strerror}", help="check the folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise _in_use(path, _owner(path)) from error
    inode = _inode(os.fstat(descriptor))
    _held.add(inode)
    return descriptor, inode


def _in_use(path: Path, owner: str) -> Broken:
    return Broken(f"the journal {path} is in use by {owner}", help="one keeper per key; stop the other one first")


def _owner(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            [pid] = db.execute("SELECT value FROM meta WHERE key = 'pid'").fetchone()
            return f"process {pid}"
    except (sqlite3.Error, TypeError):
        return "another process"

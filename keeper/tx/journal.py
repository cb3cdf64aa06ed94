"""What was signed, on disk before it is sent; one file, one writer, one key on one chain.

SQLite in WAL mode with ``synchronous=FULL``: a commit that returned survives the power cut. After any failed
write the journal closes itself, and a closed journal means: no signature, ever, by this process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from keeper.errors import Broken, Misconfigured, Stop, WrongChain
from keeper.model import Address, Hash, TxState
from keeper.tx import pruning, reading, rows, writing
from keeper.tx.lock import Lock
from keeper.tx.rows import Attempt, Flight, Row
from keeper.tx.writing import Noted

T = TypeVar("T")

LOSSES: Final = "losses"
_OVER: Final = "ON CONFLICT DO UPDATE SET value = excluded.value, sum = excluded.sum"
_OPEN: Final = (
    "SELECT 1 FROM plan p JOIN intent i ON i.id = p.intent WHERE p.subject = ? AND i.state IN ('signed', 'broadcast')"
)
_REVERTED: Final = (  # acts that were mined, the latest first: reverted or not, and the fee in wei
    "SELECT r.ok, r.gas_used, r.gas_price FROM receipt r JOIN attempt a ON a.hash = r.hash "
    "JOIN intent i ON i.id = r.intent WHERE a.kind = 'act' AND i.rowid > ? ORDER BY r.block DESC LIMIT ?"
)
_EVER: Final = "SELECT EXISTS (SELECT 1 FROM receipt WHERE ok = 0), 0"
_FAILED: Final = (
    "SELECT count(*) FROM plan p JOIN receipt r ON r.intent = p.intent JOIN attempt a ON a.hash = r.hash "
    "WHERE p.subject = ? AND p.at > ? AND r.ok = 0 AND a.kind = 'act'"
)


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
        self._noted: list[Noted] = []  # what the chain says, and is not written yet: see ``note``
        self._known: dict[str, Any] = {}  # answers that stay right until the next write of what they are about
        self._held = 0  # flights that are signed ahead: see ``hold``
        self._leaving = False  # whether one of them may have left, and has not begun yet
        self._failure = ""  # why it is closed, if not for the asking
        self._lock = Lock(path, reading.owner)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent."""
        self.settle()
        if self._held and not self._leaving and self._db is not None:
            with suppress(Broken):
                self.hold(())
        self._end()

    def _end(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        self._noted.clear()
        self._lock.release()

    # ─── writing: each is one durable transaction ─────────────────────────────────────────────────

    def begin(self, flight: Flight, *, held: bool = False, **why: str) -> None:
        """A new flight: its intent, its nonce and its first attempt, together or not at all.

        ``held``: its bytes were, and have left; other flights that are held stay so. Otherwise none does, because
        the nonce of the first is used now. ``why`` goes into the audit: the block and the settings it was decided by.
        """
        subject = flight.intent.subject
        freed = bool(subject) and any(note.flight.intent.subject == subject for note in self._noted)
        with self._writing(first=not freed) as db:
            if subject and db.execute(_OPEN, (subject,)).fetchone():
                raise sqlite3.IntegrityError(f"{subject} has an open intent")
            if self._held:
                writing.let_go(db, flight.nonce if held else None)
            self._put_flight(db, flight)
            writing.put_attempt(db, flight.last)
            writing.log(db, "signed", flight, flight.created, flight.last, **why)
        self._held, self._leaving = self._held - 1 if held else 0, False

    def hold(self, flights: Sequence[Flight]) -> None:
        """Signed ahead, at the nonces that come next: may leave from now on, once ``release`` says so.

        They take the place of those that were held. None of them is an intent of ours yet.
        """
        with self._writing() as db:
            writing.let_go(db)
            for flight in flights:
                writing.put(db, "ahead", rows.sealed(flight.last.hash, flight.nonce, rows.line_of(flight, flight.last)))
                writing.log(db, "signed ahead", flight, flight.created, flight.last)
        self._held = len(flights)

    def release(self) -> None:
        """The first that is held leaves now: from here until it has begun, whoever comes next must expect it."""
        self.check()
        self._leaving = True

    def take_up(self) -> Flight | None:
        """Begin the one flight that an earlier process may have released, as one that is too late by now.

        What was held beyond it has not left: the second is released only when the first has begun.
        """
        flights = reading.held(self.ask)
        first = next((flight for flight in flights if flight.nonce >= (self.next_nonce() or 0)), None)
        if first is not None:
            first.intent = replace(first.intent, valid_until=0)
        if flights:
            with self._writing() as db:
                writing.let_go(db)
                if first is not None:
                    self._put_flight(db, first)
                    writing.put_attempt(db, first.last)
                    writing.log(db, "taken up", first, first.created, first.last)
        return first

    def replace(self, flight: Flight, attempt: Attempt) -> None:
        """One more attempt at the nonce of ``flight``."""
        with self._writing() as db:
            writing.put_attempt(db, attempt)
            writing.log(db, f"replaced by {attempt.kind}", flight, attempt.created, attempt)

    def advance(self, flight: Flight, event: str, at: int, *, settled: bool = False) -> None:
        """The flight's present state and receipt. ``settled``: it will never be looked at again."""
        with self._writing() as db:
            writing.advance(db, Noted(flight, event, at, settled))
        self._recount(reverted=True)

    def note(self, flight: Flight, event: str, at: int, *, settled: bool = False) -> None:
        """The same of what a successor would find out again: durable with another write, or with ``settle``.

        No signature waits for it.
        """
        self.check()
        self._noted.append(Noted(replace(flight, attempts=list(flight.attempts)), event, at, settled))

    def settle(self) -> None:
        """Write what was noted. What fails closes the journal, and is raised by whatever uses it next."""
        if self._noted and self._db is not None:
            with suppress(Broken), self._writing():
                pass

    def take_over(self, flights: Iterable[Flight]) -> int:
        """Learn what other hosts have signed with this key, each flight with one attempt, oldest first: how many."""
        count, (_, _, archived) = 0, pruning.last(self.ask)
        with self._writing() as db:
            for flight in flights:
                known = db.execute("SELECT 1 FROM attempt WHERE hash = ?", (flight.last.hash,)).fetchone()
                if known is None and flight.nonce >= archived:
                    count += 1
                    if db.execute("SELECT 1 FROM intent WHERE id = ?", (flight.intent.id,)).fetchone() is None:
                        self._put_flight(db, flight)
                    writing.put_attempt(db, flight.last)
                    writing.log(db, "taken over", flight, flight.last.created)
        return count

    def archived(self, line: bytes) -> bool:
        """Whether what other hosts know by this line (``rows.line_of``) has left for the archive."""
        return rows.of_line(line).nonce < pruning.last(self.ask)[2]

    def prune(self, before: int, fault: Callable[[str], None] = lambda point: None) -> int:
        """Move what is final and was signed before a chain time (seconds) to the archive: how many events, of a few.

        Killed at any point, nothing is lost and nothing is told twice; see ``pruning.py``.
        """
        self.settle()
        cut = pruning.due(self.ask, before)
        if cut is None:
            return 0
        try:
            pruning.archive(self.ask, self.path, cut)
        except OSError as error:
            self._end()
            raise Broken(f"the archive of {self.path} failed: {error.strerror}", help=reading.BY_HAND) from error
        fault("archived")
        with self._writing() as db:
            pruning.forget(db, cut)
            fault("forgetting")
        fault("forgotten")
        return cut.seq - cut.first + 1

    def remember(self, key: str, value: bytes) -> None:
        """Keep a small secret or note, such as a salt, across restarts."""
        with self._writing() as db:
            writing.put(db, "memo", rows.sealed(key, value), _OVER)

    def halt(self, reason: str) -> None:
        """Nothing more is signed with this key, by this process or the next, until ``adopt``."""
        self._put_meta(halt=reason)

    def adopt(self, nonce: int) -> None:
        """Take the chain's count for the truth: on the first start, or because a person says so. Lifts a halt."""
        self._put_meta(adopted=str(nonce), halt="")

    def forgive(self) -> None:
        """A person has looked at the losses: count them anew."""
        [(last,)] = self.ask("SELECT coalesce(max(rowid), 0) FROM intent")
        self._put_meta(forgiven=str(last))

    # ─── reading ──────────────────────────────────────────────────────────────────────────────────

    def flights(self) -> list[Flight]:
        """Everything that is not settled, by nonce."""
        self.settle()
        return reading.flights(self.ask, "i.settled = 0")

    def since(self, at: int, wall: int) -> list[Flight]:
        """What was signed after a chain time or after a wall time (seconds), and everything that is not settled."""
        self.settle()
        return reading.flights(self.ask, "i.settled = 0 OR p.at > ? OR p.wall > ?", at, wall)

    def state_of(self, intent: Hash) -> TxState | None:
        for note in reversed(self._noted):
            if note.flight.intent.id == intent:
                return note.flight.state
        found = self.ask("SELECT state FROM intent WHERE id = ?", intent)
        return TxState(found[0][0]) if found else None

    def next_nonce(self) -> int | None:
        """One above the highest nonce that was signed or adopted; None in a new journal."""

        def found() -> int | None:
            [(highest,)] = self.ask("SELECT max(nonce) FROM nonce WHERE address = ?", self.binding.address)
            adopted = self._meta("adopted")
            known = [] if highest is None else [highest + 1]
            return max(known if adopted is None else [*known, int(adopted)], default=None)

        return self._once("next", found)

    def halted(self) -> str:
        """Why nothing may be signed; empty when something may."""
        return self._once("halt", lambda: self._meta("halt") or "")

    def epoch(self) -> int:
        """The latest term in which anything was signed."""
        [(latest,)] = self.ask("SELECT coalesce(max(epoch), 0) FROM term")
        return int(latest)

    def losses(self, most: int = 100) -> tuple[int, int]:
        """How many acts have reverted in a row, up to now, and what they cost (wei); at most ``most`` are counted."""

        def found() -> tuple[int, int]:
            lost, count = 0, 0
            for ok, used, price in self.ask(_REVERTED, int(self._meta("forgiven") or 0), most):
                if ok:
                    break
                count, lost = count + 1, lost + used * int(price)
            return count, lost

        return self._once(f"{LOSSES} {most}", found)

    def failures(self, subject: str, since: int) -> int:
        """How many acts on a subject have reverted that were signed after a chain time (seconds)."""
        if self._once(f"{LOSSES} ever", lambda: self.ask(_EVER)[0]) == (0, 0):
            return 0
        return int(self.ask(_FAILED, subject, since)[0][0])

    def recall(self, key: str) -> bytes | None:
        found = self.ask("SELECT value FROM memo WHERE key = ?", key)
        return found[0][0] if found else None

    def check(self) -> None:
        """Raises Broken unless the next write can be trusted. Called before every signature."""
        self._connected()
        if not self._lock.holds():
            self._end()
            raise Broken(f"the journal {self.path} was moved or deleted while in use", help=reading.BY_HAND)

    def verify(self) -> None:
        """Every checksum, the chain of events, and that each open flight is whole. Raises Broken."""
        reading.verify(self.ask, self.path)

    def ask(self, query: str, *values: Any) -> list[Row]:
        db = self._connected()
        with self._translated():
            return db.execute(query, values).fetchall()

    # ─── opening ──────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        with self._translated():
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA page_size = 1024")  # of a new one: a commit writes some fifteen pages
            [wal] = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            [version] = self._db.execute("PRAGMA user_version").fetchone()
        if wal != "wal":
            raise Misconfigured(f"the file system of {self.path} cannot keep a journal", help="use a local disk")
        if version > rows.SCHEMA_VERSION:
            raise Broken(f"the journal {self.path} was written by a newer keeper (schema {version})", help="upgrade")
        self._migrate(version)
        self.verify()
        self._bind()

    def _migrate(self, version: int) -> None:
        db = self._connected()
        with self._translated():
            for number in range(version, rows.SCHEMA_VERSION):
                db.executescript(
                    f"BEGIN IMMEDIATE; {rows.MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
                )

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
    def _writing(self, *, first: bool = False) -> Iterator[sqlite3.Connection]:
        """One durable transaction, with what was noted before it; ``first``: that is left for later."""
        self.check()
        db = self._connected()
        with self._translated():
            db.execute("BEGIN IMMEDIATE")
            if not first:
                for note in self._noted:
                    writing.advance(db, note)
            yield db
            db.execute("COMMIT")
            if not first:
                self._noted.clear()
                self._recount(reverted=False)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError) as error:
            self._end()
            self._failure = f"the journal {self.path} failed: {error}"
            raise Broken(self._failure, help=reading.BY_HAND) from error

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            closed = f"the journal {self.path} is closed: nothing may be signed"
            raise Broken(f"{self._failure}; {closed}", help=reading.BY_HAND) if self._failure else Broken(closed)
        return self._db

    def _put_flight(self, db: sqlite3.Connection, flight: Flight) -> None:
        known = self._known.pop("next", None)
        self._known |= {} if known is None else {"next": max(known, flight.nonce + 1)}
        writing.put_flight(db, self.binding.address, flight)

    def _once(self, name: str, found: Callable[[], T]) -> T:
        self._connected()
        if name not in self._known:
            self._known[name] = found()
        return cast(T, self._known[name])

    def _recount(self, *, reverted: bool) -> None:
        """Losses, unless there were none and there is no new one."""
        for name in [n for n, known in self._known.items() if n.startswith(LOSSES) and (reverted or known != (0, 0))]:
            del self._known[name]

    def _meta(self, key: str) -> str | None:
        found = self.ask("SELECT value FROM meta WHERE key = ?", key)
        return found[0][0] if found else None

    def _put_meta(self, **values: str) -> None:
        with self._writing() as db:
            self._known.clear()
            for item in values.items():
                writing.put(db, "meta", rows.sealed(*item), _OVER)

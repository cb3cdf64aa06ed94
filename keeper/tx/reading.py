"""Reading a journal: the running keeper's own, or another's without disturbing it.

A reader never locks and never writes. ``verify`` is the whole proof that what is there was written by us, in this
order: a checksum per row, a chain over all events, SQLite's own check, and that each open intent is whole. Events that
were archived are the part of the chain before the last checkpoint; ``verify_archive`` proves them as well.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from keeper.errors import Broken, Misconfigured, NotFound
from keeper.model import Hash
from keeper.tx import pruning, rows
from keeper.tx.rows import Flight, Row

BY_HAND: Final = "keep the file, stop every keeper that uses it, and reconcile it with the chain before going on"
_PLAN: Final = "p.subject, p.urgent, p.route, p.at, p.wall"
_JOINED: Final = "JOIN nonce n ON n.intent = i.id LEFT JOIN plan p ON p.intent = i.id"
_WHOLE: Final = f"SELECT i.*, n.nonce, {_PLAN} FROM intent i {_JOINED}"  # noqa: S608
_ATTEMPTS: Final = "SELECT a.*, t.epoch FROM attempt a LEFT JOIN term t ON t.hash = a.hash"


class Query(Protocol):
    def __call__(self, query: str, *values: Any) -> list[Row]: ...


def flights(ask: Query, where: str, *values: Any) -> list[Flight]:
    """Those of a condition on ``i`` (intent), ``n`` (nonce), ``p`` (plan), by nonce."""
    found = ask(f"{_WHOLE} WHERE {where} ORDER BY n.nonce", *values)
    made = {row[0]: rows.flight_of(row[:12], row[12], row[13:]) for row in found}
    those = f"(SELECT i.id FROM intent i {_JOINED} WHERE {where})"  # noqa: S608
    for row in ask(f"{_ATTEMPTS} WHERE a.intent IN {those} ORDER BY a.rowid", *values):
        made[row[1]].attempts.append(rows.attempt_of(row[:-1], row[-1]))
    for row in ask(f"SELECT * FROM receipt WHERE intent IN {those}", *values):  # noqa: S608
        made[row[0]].receipt = rows.receipt_of(row)
    return list(made.values())


def held(ask: Query) -> list[Flight]:
    """What is signed ahead, by nonce."""
    return [rows.of_line(line) for (line,) in ask("SELECT line FROM ahead ORDER BY nonce")]


def events(ask: Query, intent: Hash | None = None) -> Iterator[dict[str, Any]]:
    """The audit, oldest first; of one intent, or of all."""
    for seq, body in ask("SELECT seq, body FROM event ORDER BY seq"):
        said = {"seq": seq, **json.loads(body)}
        if intent is None or said["intent"] == intent.hex():
            yield said


def verify(ask: Query, path: Path) -> int:
    """How many events there are, when everything holds. Raises Broken with the first thing that does not."""
    for table in rows.CHECKED:
        if any(rows.checksum(row[:-1]) != row[-1] for row in ask(f"SELECT * FROM {table}")):  # noqa: S608
            raise damaged(path, f"a row of table {table!r} does not match its checksum")
    if ask("PRAGMA integrity_check(1)") != [("ok",)]:
        raise damaged(path, "SQLite's own check fails")
    count, previous, _ = pruning.last(ask)
    for seq, body, link in ask("SELECT * FROM event ORDER BY seq"):
        previous, count = rows.link(previous, body), count + 1
        if link != previous or seq != count:
            raise damaged(path, f"event {seq} does not follow the one before")
    if not all(flight.attempts for flight in flights(ask, "i.settled = 0")):
        raise damaged(path, "an intent has a nonce but no attempt")
    return count


def verify_archive(ask: Query, path: Path) -> int:
    """How many events have left for the files beside the journal, when those hold. Raises Broken when not."""
    gone, last, _ = pruning.last(ask)
    previous, count = b"", 0
    checkpoints: dict[int, bytes] = dict(ask("SELECT seq, link FROM checkpoint"))
    try:
        for seq, body, link in pruning.archived(path, gone):
            previous, count = rows.link(previous, body), count + 1
            if link != previous or seq != count or checkpoints.get(seq, link) != link:
                raise damaged(path, f"archived event {seq} does not follow the one before")
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise damaged(path, f"archived event {count + 1} cannot be read") from None
    if (count, previous) != (gone, last):
        missing = pruning.file(path, count + 1).name
        raise damaged(path, f"of {gone} archived events {count} are there: {missing} is missing or cut off")
    return count


def damaged(path: Path, what: str) -> Broken:
    return Broken(f"the journal {path} is damaged: {what}", help=BY_HAND)


class Reader:
    """A journal that another process may be writing to."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self._db = path, db

    def ask(self, query: str, *values: Any) -> list[Row]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise damaged(self.path, str(error)) from error

    def meta(self) -> dict[str, str]:
        return dict(self.ask("SELECT key, value FROM meta"))

    def find(self, start: str) -> Flight:
        """The one flight whose intent, or one of whose attempts, begins with these hexadecimal digits."""
        digits = start.removeprefix("0x").upper()
        condition = "hex(i.id) LIKE ?1 OR i.id IN (SELECT intent FROM attempt WHERE hex(hash) LIKE ?1)"
        found = flights(self.ask, condition, f"{digits}%") if digits.isalnum() else []
        if len(found) != 1:
            raise NotFound(f"{len(found)} intents begin with {start}", help="keeper journal ls")
        return found[0]

    def ahead(self) -> Sequence[Flight]:
        """Signed for what may come, and not sent; by nonce."""
        return held(self.ask)

    def ls(self, *, everything: bool) -> Sequence[Flight]:
        return flights(self.ask, "1" if everything else "i.settled = 0")


@contextmanager
def reader(path: Path) -> Iterator[Reader]:
    """Raises NotFound when there is no such journal."""
    if not path.is_file():
        raise NotFound(f"there is no journal {path}", help="it is written by keeper run --live")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
        db.execute("BEGIN")  # all that is read is of one moment
        [version] = db.execute("PRAGMA user_version").fetchone()
        if version != rows.SCHEMA_VERSION:
            what = f"the journal {path} has schema {version}, this keeper reads {rows.SCHEMA_VERSION}"
            raise Misconfigured(what, help="keeper run brings an older one up to date; for a newer one, upgrade")
        yield Reader(path, db)


def owner(path: Path) -> str:
    """Who holds a journal, as far as it says so itself."""
    try:
        with reader(path) as read:
            return f"process {read.meta()['pid']}"
    except (KeyError, sqlite3.Error, Broken, Misconfigured, NotFound):
        return "another process"

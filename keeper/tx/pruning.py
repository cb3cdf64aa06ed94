"""What is final and old leaves the journal for an archive beside it, and stays provable.

Events leave in whole prefixes of their chain, nonces in whole prefixes of their count. First the events are in a file,
durably; then one transaction notes how far that goes, with the link of the last, and deletes the rows. Killed between
the two, both hold the same events, and the next try writes the same file again: its name is the first event in it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from keeper.tx import rows
from keeper.tx.rows import Row

MOST: Final = 1_000  # events at a time: a turn waits for it
_OLDEST_KEPT: Final = (  # the lowest nonce that stays: open, too young, or the highest there is
    "SELECT min(n.nonce) FROM nonce n JOIN intent i ON i.id = n.intent LEFT JOIN plan p ON p.intent = i.id "
    "WHERE i.settled = 0 OR p.at >= ? OR n.nonce = (SELECT max(nonce) FROM nonce)"
)
_OF_KEPT: Final = (
    "SELECT min(seq) FROM event WHERE json_extract(body, '$.intent') IN "
    "(SELECT lower(hex(intent)) FROM nonce WHERE nonce >= ?)"
)
_STILL_TOLD: Final = (
    "SELECT min(nonce) FROM nonce WHERE lower(hex(intent)) IN "
    "(SELECT json_extract(body, '$.intent') FROM event WHERE seq > ?)"
)
_OLD: Final = "(SELECT intent FROM nonce WHERE nonce < ?)"
_FORGET: Final = (  # children first
    f"DELETE FROM receipt WHERE intent IN {_OLD}",  # noqa: S608
    f"DELETE FROM term WHERE hash IN (SELECT hash FROM attempt WHERE intent IN {_OLD})",  # noqa: S608
    f"DELETE FROM attempt WHERE intent IN {_OLD}",  # noqa: S608
    f"DELETE FROM plan WHERE intent IN {_OLD}",  # noqa: S608
)


class Query(Protocol):
    def __call__(self, query: str, *values: object) -> list[Row]: ...


class Cut(NamedTuple):
    """Events up to ``seq`` leave, and the nonces below ``nonce``."""

    first: int
    seq: int
    link: bytes  # of the last that leaves
    nonce: int


def last(ask: Query) -> tuple[int, bytes, int]:
    """How far earlier ones went: event, its link, nonce."""
    found = ask("SELECT seq, link, nonce FROM checkpoint ORDER BY seq DESC LIMIT 1")
    return found[0] if found else (0, b"", 0)


def due(ask: Query, before: int) -> Cut | None:
    """What may leave: final, signed before a chain time (seconds), and not the newest; None: nothing."""
    [(kept,)] = ask(_OLDEST_KEPT, before)
    first = last(ask)[0] + 1
    if kept is None:
        return None
    [(seq,)] = ask(_OF_KEPT, kept)
    seq = min((seq or first) - 1, first + MOST - 1)
    if seq < first:
        return None
    [(told,)] = ask(_STILL_TOLD, seq)
    [(link,)] = ask("SELECT link FROM event WHERE seq = ?", seq)
    return Cut(first, seq, link, kept if told is None else min(kept, told))


def file(journal: Path, first: int) -> Path:
    return journal.with_name(f"{journal.name}.events-{first:012d}.jsonl")


def archive(ask: Query, journal: Path, cut: Cut) -> None:
    """Write the events that leave to their file, durable when it returns. OSError when it cannot be written."""
    target = file(journal, cut.first)
    fresh = target.with_suffix(".part")
    found = ask("SELECT seq, body, link FROM event WHERE seq <= ? ORDER BY seq", cut.seq)
    lines = [json.dumps({"seq": seq, "body": body, "link": link.hex()}) for seq, body, link in found]
    fresh.touch(mode=0o600)
    with fresh.open("w", encoding="utf-8") as out:
        out.write("\n".join([*lines, ""]))
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def forget(db: sqlite3.Connection, cut: Cut) -> None:
    """Within a transaction: note how far it goes, and delete."""
    row = rows.sealed(cut.seq, cut.link, cut.nonce)
    db.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", row)
    for statement in _FORGET:
        db.execute(statement, (cut.nonce,))
    gone = db.execute("SELECT intent FROM nonce WHERE nonce < ?", (cut.nonce,)).fetchall()
    db.execute("DELETE FROM nonce WHERE nonce < ?", (cut.nonce,))
    db.executemany("DELETE FROM intent WHERE id = ?", gone)
    db.execute("DELETE FROM event WHERE seq <= ?", (cut.seq,))


def archived(journal: Path, seq: int) -> Iterator[tuple[int, str, bytes]]:
    """The events up to ``seq`` from the files beside a journal, in order. ValueError when a line cannot be read."""
    first = 1
    while first <= seq and (source := file(journal, first)).is_file():
        number = first - 1
        for line in source.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            number = said["seq"]
            yield number, said["body"], bytes.fromhex(said["link"])
        if number < first:
            return
        first = number + 1

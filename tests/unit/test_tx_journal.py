import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.errors import Broken, Misconfigured, Stop, WrongChain
from keeper.model import BlockRef, Call, Receipt, TxIntent, TxState
from keeper.tx.fees import Fees
from keeper.tx.journal import Binding, Journal
from keeper.tx.rows import SCHEMA_VERSION, Attempt, AttemptKind, Flight

BINDING = Binding(chain_id=31337, genesis=b"\x0a" * 32, address=b"\x0b" * 20, mode="test")
BLOCK = BlockRef(12, b"\x0c" * 32, b"\x0d" * 32, 144, 2**70, 5, 6)


def intent(n: int = 1) -> TxIntent:
    call = Call(b"\x77" * 20, b"call data of it", 2**90)
    return TxIntent(n.to_bytes(32), call, 300_000, 2**80, 2**40, f"bid {n}")


def attempt(nonce: int = 0, serial: int = 0, kind: AttemptKind = AttemptKind.ACT, n: int = 1) -> Attempt:
    hash = bytes((nonce, serial)) * 16
    return Attempt(hash, intent(n).id, nonce, kind, b"signed bytes", 300_000, Fees(2**66, 7), 12)


def flight(nonce: int = 0, n: int = 1) -> Flight:
    return Flight(intent(n), nonce, created=12, attempts=[attempt(nonce, n=n)])


def receipt(of: Attempt) -> Receipt:
    return Receipt(of.hash, BLOCK, ok=False, gas_used=21_000, gas_price=2**68)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(Journal(path, BINDING)) as journal:
        yield journal


def reopened(journal: Journal, binding: Binding = BINDING) -> Journal:
    journal.close()
    return Journal(journal.path, binding)


# ─── what it keeps ────────────────────────────────────────────────────────────────────────────────


def test_a_flight_comes_back_whole(journal: Journal) -> None:
    mine = flight()
    journal.begin(mine)
    noop = attempt(serial=1, kind=AttemptKind.NOOP)
    journal.replace(mine, noop)
    mine.attempts.append(noop)
    mine.state, mine.receipt = TxState.INCLUDED, receipt(mine.attempts[0])
    journal.advance(mine, "included", at=13)
    with closing(reopened(journal)) as again:
        assert again.flights() == [mine]


def test_flights_are_ordered_by_nonce_and_settled_ones_are_left_out(journal: Journal) -> None:
    for nonce, n in ((2, 1), (0, 2), (1, 3)):
        journal.begin(flight(nonce, n))
    done = flight(0, 2)
    done.state = TxState.FINALIZED
    journal.advance(done, "final", at=99, settled=True)
    assert [f.nonce for f in journal.flights()] == [1, 2]


def test_a_receipt_can_be_taken_back(journal: Journal) -> None:
    mine = flight()
    journal.begin(mine)
    mine.receipt = receipt(mine.last)
    journal.advance(mine, "included", at=13)
    mine.receipt = None
    journal.advance(mine, "dropped", at=14)
    assert journal.flights()[0].receipt is None


def test_an_intent_is_known_for_ever(journal: Journal) -> None:
    mine = flight()
    journal.begin(mine)
    mine.state = TxState.FINALIZED
    journal.advance(mine, "final", at=99, settled=True)
    assert journal.state_of(intent().id) is TxState.FINALIZED
    assert journal.state_of(b"\2" * 32) is None


def test_the_next_nonce_is_above_all_that_was_signed_or_adopted(journal: Journal) -> None:
    assert journal.next_nonce() is None
    journal.adopt(4)
    assert journal.next_nonce() == 4
    journal.begin(flight(nonce=4))
    assert journal.next_nonce() == 5
    journal.adopt(9)
    assert journal.next_nonce() == 9


@pytest.mark.fault("T09")
def test_a_halt_outlives_the_process_until_the_chain_is_adopted(journal: Journal) -> None:
    journal.halt("nonce 3 is not ours")
    with closing(reopened(journal)) as again:
        assert again.halted() == "nonce 3 is not ours"
        again.adopt(4)
        assert again.halted() == ""


def test_notes_are_kept_and_can_be_overwritten(journal: Journal) -> None:
    journal.remember("salt of 7", b"\0\1")
    journal.remember("salt of 7", b"\0\2")
    with closing(reopened(journal)) as again:
        assert again.recall("salt of 7") == b"\0\2"
        assert again.recall("salt of 8") is None


def test_commits_are_synced_in_full(journal: Journal) -> None:
    assert journal.ask("PRAGMA synchronous") == [(2,)]
    assert journal.ask("PRAGMA journal_mode") == [("wal",)]
    assert journal.ask("PRAGMA foreign_keys") == [(1,)]


@pytest.mark.fault("K02")
def test_only_its_owner_can_read_it(journal: Journal) -> None:
    assert {file.stat().st_mode & 0o777 for file in journal.path.parent.iterdir()} == {0o600}


# ─── what it refuses ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("T31")
def test_a_nonce_has_one_intent(journal: Journal) -> None:
    journal.begin(flight(nonce=0, n=1))
    with pytest.raises(Broken, match="UNIQUE constraint failed: nonce"):
        journal.begin(flight(nonce=0, n=2))
    with pytest.raises(Broken, match="closed: nothing may be signed"):
        journal.check()


@pytest.mark.fault("T31")
def test_an_intent_has_one_nonce(journal: Journal) -> None:
    journal.begin(flight(nonce=0))
    with pytest.raises(Broken, match=r"UNIQUE constraint failed: nonce\.intent"):
        journal.begin(flight(nonce=1))


def test_an_attempt_belongs_to_the_nonce_of_its_intent(journal: Journal) -> None:
    mine = flight(nonce=0)
    journal.begin(mine)
    with pytest.raises(Broken, match="FOREIGN KEY"):
        journal.replace(mine, attempt(nonce=1))


@pytest.mark.fault("C17")
def test_a_failed_write_leaves_nothing_behind(journal: Journal) -> None:
    journal.begin(flight(nonce=0, n=1))
    twice = flight(nonce=1, n=2)
    twice.attempts = [replace(attempt(nonce=0, n=2), nonce=1)]  # the same hash as before
    with pytest.raises(Broken):
        journal.begin(twice)
    with closing(Journal(journal.path, BINDING)) as again:
        assert [f.intent for f in again.flights()] == [intent(1)]
        assert again.next_nonce() == 1


@pytest.mark.fault("C16")
def test_a_full_disk_closes_it(journal: Journal) -> None:
    [(pages,)] = journal.ask("PRAGMA page_count")
    journal.ask(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Broken, match="full"):
        journal.remember("big", bytes(100_000))
    with pytest.raises(Broken, match="closed"):
        journal.begin(flight())


def swap(path: Path) -> None:
    Path(shutil.copy(path, path.with_suffix(".new"))).replace(path)


@pytest.mark.fault("C20", "C26")
@pytest.mark.parametrize("remove", [Path.unlink, swap])
def test_it_notices_that_it_was_deleted_or_swapped(journal: Journal, remove: Callable[[Path], object]) -> None:
    remove(journal.path)
    with pytest.raises(Broken, match="moved or deleted"):
        journal.begin(flight())
    with pytest.raises(Broken, match="closed"):
        journal.check()


@pytest.mark.fault("C11", "R15", "F05")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"chain_id": 1}, WrongChain, "belongs to chain_id 31337, this keeper is set to chain_id 1"),
        ({"genesis": b"\1" * 32}, WrongChain, f"genesis {'0a' * 32}.*genesis {'01' * 32}"),
        ({"address": b"\1" * 20}, Broken, f"address {'0b' * 20}.*address {'01' * 20}"),
        ({"mode": "live"}, Broken, "mode test.*mode live"),
    ],
)
def test_it_belongs_to_one_chain_key_and_mode(
    journal: Journal, change: dict[str, object], error: type[Stop], message: str
) -> None:
    with pytest.raises(error, match=message):
        reopened(journal, replace(BINDING, **change))  # type: ignore[arg-type]


def test_a_refused_binding_releases_the_lock(journal: Journal) -> None:
    with pytest.raises(WrongChain):
        reopened(journal, replace(BINDING, chain_id=1))
    reopened(journal).close()


@pytest.mark.fault("C23")
def test_a_newer_schema_is_refused(journal: Journal) -> None:
    journal.ask(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(Broken, match="newer keeper"):
        reopened(journal)


def test_a_file_that_is_no_journal_is_refused(path: Path) -> None:
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(Broken, match="not a database"):
        Journal(path, BINDING)


def test_a_folder_that_is_not_there_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file"):
        Journal(tmp_path / "nowhere" / "journal.db", BINDING)


# ─── one writer ───────────────────────────────────────────────────────────────────────────────────

SECOND = f"""
import sys; from pathlib import Path; from keeper.tx.journal import Binding, Journal; from keeper.errors import Broken
try: Journal(Path(sys.argv[1]), {BINDING!r})
except Broken as error: print(error)
"""


def second_process(path: Path) -> str:
    return subprocess.run([sys.executable, "-c", SECOND, path], capture_output=True, text=True, check=True).stdout


@pytest.mark.fault("C25")
def test_a_second_process_is_refused_and_told_who_has_it(journal: Journal) -> None:
    assert f"is in use by process {os.getpid()}" in second_process(journal.path)


def test_the_refusal_disturbs_nothing(journal: Journal) -> None:
    journal.begin(flight())
    second_process(journal.path)
    journal.remember("after", b"1")
    with closing(reopened(journal)) as again:
        assert again.recall("after") == b"1"


@pytest.mark.fault("C25")
def test_a_second_opening_in_the_same_process_is_refused(journal: Journal) -> None:
    with pytest.raises(Broken, match="in use by this process"):
        Journal(journal.path, BINDING)


def test_closing_releases_it_and_can_be_repeated(journal: Journal) -> None:
    journal.close()
    journal.close()
    assert second_process(journal.path) == ""


# ─── damage ───────────────────────────────────────────────────────────────────────────────────────


def full(journal: Journal) -> Path:
    """A closed journal with a row in every table."""
    mine = flight()
    journal.begin(mine)
    mine.receipt = receipt(mine.last)
    journal.advance(mine, "included", at=13)
    journal.remember("salt", b"salt of the earth")
    journal.close()
    return journal.path


@pytest.mark.fault("C15")
@pytest.mark.parametrize(
    "needle",
    [
        b"signed bytes",
        b"call data of it",
        b"bid 1",
        b"salt of the earth",
        b"included",
        str(2**66).encode(),
        b"\x0c" * 32,
    ],
)
def test_a_flipped_byte_in_any_row_is_found_at_the_next_start(journal: Journal, needle: bytes) -> None:
    path = full(journal)
    data = bytearray(path.read_bytes())
    assert needle in data
    data[data.index(needle) + 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Broken, match="is damaged"):
        Journal(path, BINDING)


@pytest.mark.fault("C15", "X05")
@pytest.mark.parametrize(
    "tampering",
    [
        "DROP TRIGGER event_keeps; UPDATE event SET body = replace(body, '12', '13') WHERE seq = 1",
        "DROP TRIGGER event_stays; DELETE FROM event WHERE seq = 1",
        "UPDATE intent SET settled = 1",
        "UPDATE attempt SET max_fee = '1'",
        "UPDATE meta SET value = '5' WHERE key = 'chain_id'",
        "DELETE FROM receipt; DELETE FROM attempt",
    ],
)
def test_rewritten_history_is_found(journal: Journal, tampering: str) -> None:
    path = full(journal)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(tampering)
    with pytest.raises(Broken, match="is damaged"):
        Journal(path, BINDING)


@pytest.mark.fault("X05")
@pytest.mark.parametrize("statement", ["UPDATE event SET body = ''", "DELETE FROM event", "DELETE FROM nonce"])
def test_history_cannot_be_rewritten_through_sql_alone(journal: Journal, statement: str) -> None:
    path = full(journal)
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(statement)


@pytest.mark.fault("C15")
def test_a_forgotten_flight_is_found(journal: Journal) -> None:
    """An index that lost a row would hide an open intent from the query that uses it."""
    path = full(journal)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        [(page,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'unsettled'")
        [(size,)] = db.execute("PRAGMA page_size")
    data = bytearray(path.read_bytes())
    data[(page - 1) * size + 3 : (page - 1) * size + 5] = b"\0\0"  # the page's number of cells
    path.write_bytes(data)
    with pytest.raises(Broken, match="is damaged"):
        Journal(path, BINDING)

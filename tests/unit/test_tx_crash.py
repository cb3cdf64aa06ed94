"""Death, power cuts, bad disks and old copies: what the journal is worth afterwards."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.errors import Broken, KeeperError, Misconfigured, RiskHalt
from keeper.tx import reading, rows
from keeper.tx.fees import Fees
from keeper.tx.journal import _REVERTED, Journal
from keeper.tx.rows import Attempt, AttemptKind, Flight
from keeper.units import GWEI
from tests.unit.tx_rig import BINDING, SETTINGS, S, guarded, intent


def flight(nonce: int) -> Flight:
    one = intent(nonce + 1)
    attempt = Attempt(nonce.to_bytes(32), one.id, nonce, AttemptKind.ACT, bytes(200), 21_000, Fees(9, 1), 1)
    return Flight(one, nonce, 1, attempts=[attempt])


def begun(path: Path, count: int) -> Path:
    """A journal with so many flights, as a kill leaves it: with its write-ahead log."""
    with closing(Journal(path, BINDING)) as journal:
        for nonce in range(count):
            journal.begin(flight(nonce))
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, file.with_name(f"killed-{file.name}"))
    return path.with_name(f"killed-{path.name}")


@pytest.mark.fault("C14")
def test_a_torn_last_record_is_as_if_it_had_never_been_written(tmp_path: Path) -> None:
    """Cut the log anywhere: what is left is the first so many commits, whole, and none of them was sent later."""
    killed = begun(tmp_path / "journal.db", 4)
    log = killed.with_name(f"{killed.name}-wal")
    whole, counts = log.read_bytes(), []
    for length in range(len(whole), 0, -997):
        for file in tmp_path.glob("cut*"):
            file.unlink()
        shutil.copy(killed, tmp_path / "cut.db")
        (tmp_path / "cut.db-wal").write_bytes(whole[:length])
        try:
            with closing(Journal(tmp_path / "cut.db", BINDING)) as journal:
                journal.verify()
                counts.append(len(journal.flights()))
        except KeeperError:
            counts.append(0)
    assert counts[0] == 4
    assert counts == sorted(counts, reverse=True)
    assert set(counts) >= {4, 3, 2, 1}


@pytest.mark.fault("C13")
def test_every_commit_is_synced_before_it_returns(tmp_path: Path) -> None:
    """Seen from outside: the system calls that a commit makes, in their order."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    script = (
        "import os, sys; from pathlib import Path; from tests.unit.test_tx_crash import BINDING, Journal, flight\n"
        "j = Journal(Path(sys.argv[1]), BINDING)\n"
        "os.write(2, b'BEGUN'); j.begin(flight(0)); os.write(2, b'ENDED')"
    )
    trace = tmp_path / "trace"
    command = [strace, "-f", "-e", "trace=fsync,fdatasync,write", "-o", str(trace), sys.executable, "-c", script]
    subprocess.run([*command, str(tmp_path / "j.db")], check=True, capture_output=True, cwd=Path(__file__).parents[2])
    calls = trace.read_text()
    assert "sync(" in calls[calls.index("BEGUN") : calls.index("ENDED")]


@pytest.mark.fault("C13", "C04")
def test_what_was_committed_is_in_the_files_a_kill_leaves(tmp_path: Path) -> None:
    killed = begun(tmp_path / "journal.db", 3)
    with closing(Journal(killed, BINDING)) as journal:
        assert [found.nonce for found in journal.flights()] == [0, 1, 2]


def gone(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


# ─── bad disks ────────────────────────────────────────────────────────────────────────────────────

LIMITED = """
import resource, signal, sys; from pathlib import Path
from tests.unit.test_tx_crash import BINDING, Broken, Journal, flight
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]), BINDING)
size = max(f.stat().st_size for f in Path(sys.argv[1]).parent.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 9000, size + 9000))
done = 0
try:
    for nonce in range(100):
        journal.begin(flight(nonce)); done += 1
except Broken:
    print(done, end=" ")
try: journal.check()
except Broken: print("closed")
"""


@pytest.mark.fault("C16", "C17", "C18")
def test_a_write_that_fails_closes_the_journal_and_loses_nothing_before_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "journal.db"
    path.parent.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    done, closed = ran.stdout.split()
    assert closed == "closed"
    with closing(Journal(path, BINDING)) as journal:
        assert len(journal.flights()) in (int(done), int(done) + 1)  # a commit whose sync failed may still be there


@pytest.mark.fault("C17", "C18")
@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("disk I/O error"), sqlite3.OperationalError("disk is full")]
)
async def test_what_could_not_be_committed_does_not_leave_and_nothing_after_it(
    tmp_path: Path, error: sqlite3.Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await guarded(tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("keeper.tx.writing.put_attempt", fails)
    with pytest.raises(Broken, match="failed: disk"):
        await rig.submit(intent(1))
    monkeypatch.undo()
    with pytest.raises(Broken, match="closed: nothing may be signed"):
        await rig.submit(intent(2))
    assert (rig.chain.sent, rig.signed) == ([], [0])
    await rig.restart()
    await rig.submit(intent(1))
    await rig.mine(2)
    assert [tx.nonce for tx in rig.chain.mined] == [0]


@pytest.mark.fault("C19")
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("unshare") is None, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_refuses_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    begun(tmp_path / "journal.db", 1)
    folder.mkdir()
    script = f"mount -t tmpfs -o size=1m tmpfs {folder} && mount -o remount,ro {folder} && exec {sys.executable} -c "
    code = "import sys; from pathlib import Path; from tests.unit.test_tx_crash import BINDING, Journal; "
    code += "Journal(Path(sys.argv[1]), BINDING)"
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{script} "$0" {folder}/journal.db', code],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if "mount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip("this machine lets nobody mount")
    assert "cannot open the journal" in ran.stderr
    assert "Misconfigured" in ran.stderr


@pytest.mark.fault("C19")
def test_a_file_system_without_a_write_ahead_log_refuses_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems do: the mode stays what it was."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **how: connect(":memory:", **how))
    with pytest.raises(Misconfigured, match="cannot keep a journal"):
        Journal(tmp_path / "journal.db", BINDING)


# ─── swapped, lost and old files ──────────────────────────────────────────────────────────────────


@pytest.mark.fault("C20", "C26")
async def test_a_journal_that_is_gone_stops_the_next_signature(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    rig.path.unlink()
    with pytest.raises(Broken, match="moved or deleted"):
        await rig.submit(intent(1))
    assert rig.signed == []


@pytest.mark.fault("C26", "C25")
def test_removing_files_lets_no_second_process_sign(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as first:
        for file in tmp_path.iterdir():
            if file != path:
                file.unlink()
        with pytest.raises(Broken, match="in use"):
            Journal(path, BINDING)
        path.unlink()
        with closing(Journal(path, BINDING)), pytest.raises(Broken, match="moved or deleted"):
            first.check()  # there may be a second one now, but the first one does not sign any more


@pytest.mark.fault("C21")
async def test_a_journal_restored_from_an_old_copy_stops(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    await rig.submit(intent(1))
    await rig.mine()
    rig.journal.close()
    shutil.copy(rig.path, tmp_path / "backup.db")
    await rig.restart()
    await rig.see()
    await rig.submit(intent(2))
    await rig.mine()
    rig.journal.close()
    gone(rig.path)
    shutil.copy(tmp_path / "backup.db", rig.path)
    with pytest.raises(RiskHalt, match="the chain has 2 transactions of this key, the journal knows of 1"):
        await rig.restart()


@pytest.mark.fault("C22")
async def test_a_lost_journal_is_not_replaced_without_a_word(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    await rig.submit(intent(1))
    await rig.mine()
    rig.journal.close()
    gone(rig.path)
    with pytest.raises(RiskHalt, match=r"is new, but this key has sent 1 transactions"):
        await rig.restart(adopt=False)
    await rig.restart(adopt=True)
    await rig.see()
    await rig.submit(intent(2))
    await rig.mine()
    assert [tx.nonce for tx in rig.chain.mined] == [0, 1]


@pytest.mark.fault("C23")
def test_a_journal_of_the_first_schema_comes_along_whole(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = flight(0)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"BEGIN; {rows.MIGRATIONS[0]} PRAGMA user_version = 1; COMMIT;")
        for table, row in (
            ("intent", rows.intent_row(old, settled=False)),
            ("nonce", rows.sealed(BINDING.address, 0, old.intent.id)),
            ("attempt", rows.attempt_row(old.last)),
        ):
            db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    with closing(Journal(path, BINDING)) as journal:
        assert journal.flights() == [old]
        journal.begin(flight(1))
    with closing(Journal(path, BINDING)) as journal:
        assert journal.ask("PRAGMA user_version") == [(rows.SCHEMA_VERSION,)]
        assert len(journal.flights()) == 2


@pytest.mark.fault("C11", "R15")
@pytest.mark.parametrize("change", [{"chain_id": 1}, {"genesis": b"\1" * 32}, {"address": b"\1" * 20}])
def test_another_chain_or_key_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    Journal(tmp_path / "journal.db", BINDING).close()
    with pytest.raises(KeeperError, match="belongs to"):
        Journal(tmp_path / "journal.db", replace(BINDING, **change))  # type: ignore[arg-type]


# ─── going on ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("C10")
async def test_other_fees_in_the_settings_change_nothing_that_was_signed(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    await rig.submit(intent(1))
    rig.chain.pool.clear()
    await rig.restart(fees=replace(SETTINGS.fees, tip_floor=4 * GWEI, tip_cap=9 * GWEI))
    await rig.mine(skip=True)
    assert (rig.signed, rig.chain.sent[0]) == ([0], rig.chain.sent[1])


@pytest.mark.fault("C08")
async def test_killed_between_the_replacement_and_its_send_both_are_known(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    await rig.submit(intent(1))
    await rig.mine(2, skip=True)

    def kill(point: str) -> None:
        if point == "before_send":
            raise SystemExit

    rig.manager.lane.fault = kill
    with pytest.raises(SystemExit):
        await rig.mine(skip=True)
    await rig.restart()
    await rig.mine(skip=True)
    assert [len(found.attempts) for found in rig.journal.flights()] == [2]
    assert rig.chain.sent[-1].max_fee > rig.chain.sent[0].max_fee  # the dearer one is sent
    await rig.mine(4)
    assert rig.chain.effects(intent(1).call.target) == 1


@pytest.mark.fault("C24")
def test_a_thousand_open_records_are_read_in_seconds_and_years_of_final_ones_cost_no_query(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as journal:
        for nonce in range(200):
            done = flight(nonce)
            journal.begin(done)
            done.state = S.FINALIZED
            journal.advance(done, "final", 9, settled=True)
        plan = journal.ask("EXPLAIN QUERY PLAN SELECT * FROM intent i WHERE i.settled = 0")
        assert "USING INDEX unsettled" in plan[0][3]
        plans = journal.ask(f"EXPLAIN QUERY PLAN {_REVERTED}", 0, 100)
        assert ("USING INDEX receipts_at" in plans[0][3], [p for p in plans if "TEMP B-TREE FOR ORDER BY" in p[3]]) == (
            True,
            [],
        )
        assert journal.flights() == []


@pytest.mark.fault("C09", "C39")
async def test_recovery_that_is_killed_again_and_again_ends_where_one_would(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    for n in (1, 2, 3):
        await rig.submit(intent(n))
    await rig.mine(skip=True)
    for times in range(1, 30):
        left = times

        def kill(point: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise SystemExit

        await rig.restart()
        rig.manager.lane.fault = kill
        try:
            await rig.mine(skip=True)
        except SystemExit:
            continue
        break
    await rig.restart()
    await rig.mine(5)
    assert [rig.chain.effects(intent(n).call.target) for n in (1, 2, 3)] == [1, 1, 1]
    assert {tx.nonce for tx in rig.chain.mined} == {0, 1, 2}


@pytest.mark.fault("X05")
def test_each_signature_is_in_the_audit_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as journal:
        journal.begin(flight(0), decided_on="ab" * 32, settings="f00d")
        with reading.reader(path) as read:  # beside the writer
            [said] = reading.events(read.ask, flight(0).intent.id)
            assert reading.verify(read.ask, path) == 1
    assert said["event"] == "signed"
    assert (said["decided_on"], said["settings"], said["purpose"]) == ("ab" * 32, "f00d", "pay 1")
    assert (said["hash"], said["worst"], said["epoch"]) == (bytes(32).hex(), 21_000 * 9, 0)

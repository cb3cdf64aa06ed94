"""A year of transactions: what is final leaves the journal, and everything can still be proved, killed at any point."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.errors import Broken, Misconfigured
from keeper.model import BlockRef, Receipt
from keeper.tx import pruning, reading, rows
from keeper.tx.fees import Fees
from keeper.tx.journal import Journal
from keeper.tx.rows import Attempt, AttemptKind, Flight
from keeper.tx.settings import DAY, Limits, Settings
from tests.unit.tx_rig import BINDING, SETTINGS, S, guarded, intent
from tests.unit.tx_terms import Terms

EACH = 3  # events of a flight that is settled here: signed, included, final


def flight(nonce: int, at: int = 0) -> Flight:
    one = intent(1, id=nonce.to_bytes(32), subject=f"account {nonce}")
    attempt = Attempt(b"\xaa" + nonce.to_bytes(31), one.id, nonce, AttemptKind.ACT, bytes(120), 21_000, Fees(9, 1), 1)
    return Flight(one, nonce, 1, attempts=[attempt], at=at)


def settled(journal: Journal, count: int, first: int = 0) -> None:
    """So many flights that are final, each signed a day after the one before."""
    for nonce in range(first, first + count):
        done = flight(nonce, nonce * DAY)
        journal.begin(done)
        ref = BlockRef(nonce, bytes(32), bytes(32), nonce * DAY, 1, 1, 1)
        done.state, done.receipt = S.INCLUDED, Receipt(done.last.hash, ref, True, 21_000, 5)
        journal.advance(done, "included", nonce)
        done.state = S.FINALIZED
        journal.advance(done, "final", nonce, settled=True)


def proved(path: Path) -> tuple[int, int]:
    """What ``keeper journal verify`` proves: events here in all, and of these archived."""
    with reading.reader(path) as journal:
        return reading.verify(journal.ask, path), reading.verify_archive(journal.ask, path)


def counted(journal: Journal, table: str) -> int:
    [(count,)] = journal.ask(f"SELECT count(*) FROM {table}")
    return int(count)


@pytest.mark.fault("C24")
def test_what_is_final_and_old_leaves_and_everything_can_still_be_proved(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as journal:
        settled(journal, 10)
        assert journal.prune(6 * DAY) == 6 * EACH
        tables = ("intent", "nonce", "attempt", "plan", "term", "receipt")
        assert [counted(journal, table) for table in tables] == [4] * 6
        assert (counted(journal, "event"), journal.next_nonce()) == (4 * EACH, 10)
        assert journal.prune(6 * DAY) == 0
    assert proved(path) == (10 * EACH, 6 * EACH)
    with closing(Journal(path, BINDING)) as journal:  # a restart verifies it, and goes on
        settled(journal, 5, first=10)
        assert journal.prune(12 * DAY) == 6 * EACH
    assert proved(path) == (15 * EACH, 12 * EACH)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


@pytest.mark.fault("C24")
def test_nothing_leaves_that_is_open_young_or_the_newest(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        settled(journal, 3)
        waiting = flight(3, 3 * DAY)
        journal.begin(waiting)
        settled(journal, 2, first=4)
        assert journal.prune(1000 * DAY) == 3 * EACH  # nonce 3 is open: it and all after it stay
        assert [one.nonce for one in journal.flights()] == [3]
        waiting.state = S.CANCELLED
        journal.advance(waiting, "final", 9, settled=True)
        assert journal.prune(3 * DAY) == 0
        assert journal.prune(1000 * DAY) > 0
        assert counted(journal, "nonce") == 3  # the last that is told of nonce 3 is told after the newest began
        settled(journal, 1, first=6)
        journal.prune(1000 * DAY)
        assert (journal.next_nonce(), counted(journal, "nonce")) == (7, 1)
        journal.verify()


@pytest.mark.fault("C24", "X05")
def test_only_what_was_archived_may_be_deleted(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        settled(journal, 4)
        journal.prune(2 * DAY)
        with pytest.raises(Broken, match="append-only"):
            journal.ask("DELETE FROM event")
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal, pytest.raises(Broken, match="stays used"):
        journal.ask("DELETE FROM nonce")


# ─── killed ───────────────────────────────────────────────────────────────────────────────────────


def killed(path: Path, point: str, before: int) -> bool:
    """Whether a process that prunes died at this point."""
    child = os.fork()
    if child == 0:

        def fault(reached: str) -> None:
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        with closing(Journal(path, BINDING)) as journal:
            journal.prune(before, fault)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.fault("C24", "C39")
@pytest.mark.parametrize("point", ["archived", "forgetting", "forgotten"])
def test_killed_while_it_prunes_nothing_is_lost_and_nothing_told_twice(tmp_path: Path, point: str) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as journal:
        settled(journal, 10)
    assert killed(path, point, 5 * DAY)
    gone = 5 * EACH if point == "forgotten" else 0
    assert proved(path) == (10 * EACH, gone)
    with closing(Journal(path, BINDING)) as journal:
        assert journal.prune(7 * DAY) == 7 * EACH - gone
    assert proved(path) == (10 * EACH, 7 * EACH)


@pytest.mark.fault("C24", "C17")
def test_an_archive_that_cannot_be_written_deletes_nothing_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as journal:
        settled(journal, 4)
        pruning.file(path, 1).with_suffix(".part").mkdir()
        with pytest.raises(Broken, match="archive"):
            journal.prune(2 * DAY)
        with pytest.raises(Broken, match="closed"):
            journal.check()
    assert proved(path) == (4 * EACH, 0)


# ─── damaged ──────────────────────────────────────────────────────────────────────────────────────


def edited(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def harm(archive: Path) -> None:
        archive.write_text("".join(change(archive.read_text().splitlines(keepends=True))))

    return harm


def forged(lines: list[str]) -> list[str]:
    said = json.loads(lines[2])
    return [
        *lines[:2],
        json.dumps({**said, "body": said["body"].replace('"worst": ', '"worst": 1')}) + "\n",
        *lines[3:],
    ]


def relinked(lines: list[str]) -> list[str]:
    """What was said stays, what it is linked to does not."""
    return [*lines[:2], json.dumps({**json.loads(lines[2]), "link": "00" * 32}) + "\n", *lines[3:]]


@pytest.mark.fault("X05", "C15")
@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink,
        edited(forged),
        edited(relinked),
        edited(lambda lines: lines[1:]),
        edited(lambda lines: lines[:-1]),
        edited(lambda lines: [*lines[:2], *lines[3:]]),
        edited(lambda lines: ["no line of ours\n"]),
        edited(lambda lines: [*lines[:1], *lines]),
    ],
)
def test_an_archive_that_was_touched_is_found(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as journal:
        settled(journal, 6)
        journal.prune(3 * DAY)
    proved(path)
    harm(pruning.file(path, 1))
    with pytest.raises(Broken, match="archived event"):
        proved(path)


@pytest.mark.fault("X05", "C15")
def test_a_checkpoint_that_was_moved_is_found(tmp_path: Path) -> None:
    """Deleting more than was archived, checksum and all, breaks the chain."""
    path = tmp_path / "journal.db"
    with closing(Journal(path, BINDING)) as journal:
        settled(journal, 6)
        journal.prune(3 * DAY)
        [(link,)] = journal.ask("SELECT link FROM event WHERE seq = 10")
        journal.ask("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", *rows.sealed(11, link, 3))
        journal.ask("DELETE FROM event WHERE seq <= 11")
    with pytest.raises(Broken, match="does not follow"):
        Journal(path, BINDING)


# ─── in the manager ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("C24")
async def test_a_year_of_running_leaves_a_journal_of_the_last_days(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, replace(SETTINGS, keep=3 * DAY))
    sizes = list[int]()
    for day in range(1, 60):
        await rig.submit(intent(day, valid_until=2**40))
        await rig.mine(SETTINGS.finality + 1)
        rig.chain.skip(DAY)
        await rig.mine(2)
        sizes.append(counted(rig.journal, "event"))
    assert rig.journal.next_nonce() == 59 == len(rig.chain.mined)
    assert sizes[-1] <= max(sizes[:8])
    await rig.restart()
    here, archived = proved(rig.path)
    assert here == 59 * (here // 59) and archived > here // 2


@pytest.mark.fault("C24", "C31")
def test_what_other_hosts_signed_long_ago_is_not_taken_over_again(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        settled(journal, 5)
        journal.prune(3 * DAY)
        assert journal.take_over([flight(nonce) for nonce in range(6)]) == 1
        assert [one.nonce for one in journal.flights()] == [5]


@pytest.mark.fault("C24", "C31")
async def test_what_left_the_journal_need_not_be_kept_for_other_hosts(tmp_path: Path) -> None:
    terms = Terms()
    rig = await guarded(tmp_path, replace(SETTINGS, keep=3 * DAY), parts={"fence": terms.side(1)})
    for day in range(1, 8):
        await rig.submit(intent(day, valid_until=2**40))
        await rig.mine(SETTINGS.finality + 1)
        rig.chain.skip(DAY)
        await rig.mine(2)
    (_, _, archived), (term, old) = pruning.last(rig.journal.ask), terms.asked[-1]
    assert 0 < archived < 7 and term == 1
    assert old == terms.written[:archived]


@pytest.mark.fault("C24", "C31")
async def test_who_has_no_term_learns_meanwhile_what_the_others_sign(tmp_path: Path) -> None:
    """So that it can be forgotten by the time at which he has one."""
    terms = Terms()
    (tmp_path / "other").mkdir()
    waiting = await guarded(tmp_path / "other", parts={"fence": terms.side(-1)})
    waiting.manager.lane.fence.fresh = False  # type: ignore[attr-defined]
    rig = await guarded(tmp_path, parts={"fence": terms.side(1)})
    waiting.chain = waiting.manager.lane.node = rig.chain
    await rig.submit(intent(1))
    await rig.mine()
    await waiting.see()
    assert waiting.journal.next_nonce() == 0  # not at every block
    rig.chain.skip(DAY)
    await rig.mine()
    await waiting.see()
    assert (waiting.journal.next_nonce(), terms.asked[-1][0]) == (1, waiting.manager.lane.term)
    assert [flight.state for flight in waiting.manager.lane.flights.values()] == [S.INCLUDED]


def test_what_limits_are_read_from_is_kept() -> None:
    Settings(SETTINGS.fees, keep=2 * DAY + 60, limits=Limits(quarantine=60))
    with pytest.raises(Misconfigured, match="do not fit together"):
        Settings(SETTINGS.fees, keep=2 * DAY + 60, limits=Limits(quarantine=61))

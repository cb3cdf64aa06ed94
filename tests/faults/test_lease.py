"""Several hosts, one key: at every time at most one signs, and whoever was frozen comes too late."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
from structlog.testing import capture_logs

from keeper.errors import Broken, Fenced
from keeper.process.lease import GONE, NEVER, SCHEMA, Lease
from tests.worlds.postgres import postgres

SECONDS = 30.0  # longer than any test: what ends, ends because the test says so


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    pytest.importorskip("asyncpg", reason="the extra 'ha' is not installed")
    with postgres() as dsn:
        yield dsn


class Clock:
    """Our own time, moved by hand; the database has its own."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def hosts(dsn: str) -> AsyncIterator[list[Lease]]:
    key = uuid.uuid4().hex
    made = [Lease(dsn, key, name, SECONDS, now=Clock()) for name in ("one", "two")]
    yield made
    for lease in made:
        await lease.close()


def moved(lease: Lease, seconds: float) -> None:
    assert isinstance(lease._now, Clock)
    lease._now.now += seconds


async def ended(lease: Lease) -> None:
    """The lease on this key is over, by the clock of the database."""
    store = await lease._store()
    await store.execute(
        "UPDATE keeper_term SET ends = clock_timestamp() - interval '1 s' WHERE subject = $1", lease.subject
    )


@pytest.mark.fault("C27")
async def test_one_host_leads_and_the_other_waits(hosts: list[Lease]) -> None:
    for lease in hosts:
        await lease.step()
    assert [lease.leads for lease in hosts] == [True, False]
    assert [lease.epoch for lease in hosts] == [1, NEVER]
    with pytest.raises(Fenced):
        hosts[1].check()


@pytest.mark.fault("C31")
async def test_when_a_leader_is_gone_the_next_has_a_higher_epoch_and_its_lines(hosts: list[Lease]) -> None:
    one, two = hosts
    await one.step()
    await one.commit(b"first")
    await ended(one)
    await two.step()
    assert (two.leads, two.epoch, await two.lines()) == (True, 2, [b"first"])


@pytest.mark.fault("C27", "C28", "C32")
async def test_an_old_epoch_cannot_commit_whatever_it_believes(hosts: list[Lease]) -> None:
    one, two = hosts
    await one.step()
    await ended(one)
    await two.step()
    assert one.leads  # its own clock stood still: the lease bug
    with pytest.raises(Fenced, match="epoch 1 is over"):
        await one.commit(b"too late")
    assert (one.leads, await two.lines()) == (False, [])


@pytest.mark.fault("C28", "C29")
async def test_without_renewal_a_leader_stops_at_half_of_its_lease(hosts: list[Lease]) -> None:
    one, _ = hosts
    await one.step()
    moved(one, SECONDS * 0.49)
    one.check()
    moved(one, SECONDS * 0.02)
    with pytest.raises(Fenced):
        one.check()
    with pytest.raises(Fenced):
        await one.commit(b"not asked")
    assert await one.lines() == []


async def test_renewed_in_time_it_goes_on_in_the_same_term(hosts: list[Lease]) -> None:
    one, two = hosts
    await one.step()
    for _ in range(4):
        moved(one, SECONDS / 3)
        one.check()
        await one.step()
        await two.step()
    assert (one.leads, one.epoch, two.leads) == (True, 1, False)


@pytest.mark.fault("C30")
async def test_who_lost_a_term_does_not_take_the_next_at_once(hosts: list[Lease]) -> None:
    one, _ = hosts
    await one.step()
    await ended(one)
    await one.step()  # finds that it is over
    await one.step()
    assert not one.leads
    moved(one, SECONDS)
    await one.step()
    assert (one.leads, one.epoch) == (True, 2)


async def test_a_leader_that_ends_gives_its_lease_back(hosts: list[Lease]) -> None:
    one, two = hosts
    await one.step()
    await one.close()
    await two.step()
    assert (two.leads, two.epoch) == (True, 2)


# ─── what is kept ─────────────────────────────────────────────────────────────────────────────────


def old(line: bytes) -> bool:
    return line.startswith(b"old")


async def commits(lease: Lease, *lines: bytes) -> None:
    for line in lines:
        await lease.commit(line)


@pytest.mark.fault("C24", "C31")
async def test_what_is_old_is_deleted_once_every_host_has_it(hosts: list[Lease]) -> None:
    one, two = hosts
    assert await two.lines() == [] and await two.forget(None, old) == 0  # it waits, and knows of nothing
    await one.step()
    await commits(one, b"old 1", b"new 2", b"old 3")
    assert await one.forget(one.epoch, old) == 0
    assert await two.lines() == [b"old 1", b"new 2", b"old 3"]
    assert await one.forget(one.epoch, old) == 0  # it was told of them; whether it keeps them is not known yet
    await two.forget(None, old)
    await commits(one, b"old 4")
    assert await one.forget(one.epoch, old) == 2
    assert await one.lines() == [b"new 2", b"old 4"]


@pytest.mark.fault("C28", "C32")
async def test_only_who_leads_deletes(hosts: list[Lease]) -> None:
    one, two = hosts
    await one.step()
    await commits(one, b"old 1")
    assert await one.forget(one.epoch + 1, old) == 0  # we know of nothing that was signed since
    await ended(one)
    await two.step()
    assert one.leads  # its own clock stood still: the lease bug
    assert await one.forget(one.epoch, old) == 0
    moved(two, SECONDS)
    assert await two.forget(two.epoch, old) == 0
    assert await two.lines() == [b"old 1"]
    await two.step()
    assert await two.forget(two.epoch, old) == 0  # what the other committed may not be in its journal
    await one.lines()
    await one.forget(one.epoch, old)
    assert await two.forget(two.epoch, old) == 1


@pytest.mark.fault("C24")
async def test_for_a_host_that_was_not_seen_for_a_month_nothing_is_kept(hosts: list[Lease]) -> None:
    one, two = hosts
    await two.forget(None, old)
    await one.step()
    await commits(one, b"old 1")
    assert await one.forget(one.epoch, old) == 0
    store = await one._store()
    gone = "UPDATE keeper_reader SET seen = seen - make_interval(days => $2) WHERE subject = $1 AND journal = 'two'"
    await store.execute(gone, one.subject, GONE + 1)
    assert await one.forget(one.epoch, old) == 1


@pytest.mark.fault("C24", "C29")
async def test_trouble_with_the_store_deletes_nothing_and_is_said(tmp_path: Path) -> None:
    lease = Lease(f"postgresql:///postgres?host={tmp_path}&user=keeper", "key", "one", SECONDS)
    with capture_logs() as lines:
        assert await lease.forget(1, old) == 0
    assert [line["event"] for line in lines] == ["lease.trouble"]
    await lease.close()


@pytest.mark.fault("C33")
async def test_a_store_that_was_rolled_back_is_refused(dsn: str) -> None:
    lease = Lease(dsn, uuid.uuid4().hex, "one", SECONDS, floor=7)
    with pytest.raises(Broken, match="rolled back"):
        await lease.step()
    assert not lease.leads
    await lease.close()


@pytest.mark.fault("C29")
async def test_a_store_that_is_not_there_gives_no_lease_and_shows_no_password(tmp_path: Path) -> None:
    lease = Lease(f"postgresql://keeper:CANARY@/postgres?host={tmp_path}", "key", "one", SECONDS)
    await lease.step()
    with pytest.raises(Fenced):
        lease.check()
    with pytest.raises(Fenced) as caught:
        await lease.lines()
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))
    await lease.close()


async def test_trouble_with_the_store_is_told_when_it_begins_and_not_at_every_try(tmp_path: Path) -> None:
    lease = Lease(f"postgresql:///postgres?host={tmp_path}&user=keeper", "key", "one", SECONDS)
    with capture_logs() as lines:
        for _ in range(3):
            await lease.step()
    assert [(line["event"], line["leads"]) for line in lines] == [("lease.trouble", False)]
    await lease.close()


# ─── real processes ───────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def hosted(dsn: str, file: Path, seconds: float) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    arguments = ("-m", "tests.faults.lease_child", dsn)
    root = Path(__file__).parents[2]
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments, name, str(seconds), str(file), cwd=root)
        for name in ("one", "two", "three")
    ]
    try:
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                os.kill(process.pid, SIGKILL)
            await process.wait()


def signed(file: Path) -> list[tuple[int, str]]:
    """Epoch and host of the last signatures, in the order in which they left."""
    if not file.exists():
        return []
    with file.open("rb") as tail:
        tail.seek(max(0, file.stat().st_size - 200))
        lines = tail.read().decode().splitlines(keepends=True)
    whole = [line.split() for line in lines[1 if len(lines) > 5 else 0 :] if line.endswith("\n")]
    return [(int(epoch), name) for epoch, name, _ in whole]


TRIALS = int(os.environ.get("KEEPER_TRIALS", "6"))


@pytest.mark.fault("C27", "C28", "C30", "C31")
async def test_a_frozen_leader_signs_nothing_with_its_old_epoch(dsn: str, tmp_path: Path) -> None:
    """SIGSTOP for two leases, then SIGCONT; KEEPER_TRIALS=1000 for the long form."""
    from asyncpg import connect

    database, file, seconds = await connect(dsn), tmp_path / "signed", 0.2
    await database.execute(SCHEMA)
    await database.execute("DELETE FROM keeper_term; DELETE FROM keeper_line")
    async with hosted(dsn, file, seconds) as processes:
        names = dict(zip(("one", "two", "three"), processes, strict=True))
        for trial in range(TRIALS):
            async with asyncio.timeout(90):
                epoch, name = await leading(file, after=trial)
                os.kill(names[name].pid, SIGSTOP)
                await asyncio.sleep(2 * seconds)
                os.kill(names[name].pid, SIGCONT)
                await leading(file, after=epoch)
    lines = [row[0].decode() for row in await database.fetch("SELECT line FROM keeper_line ORDER BY seq")]
    await database.close()
    epochs = [int(line.split()[0]) for line in lines]
    leads = {line.split()[0]: line.split()[1] for line in lines}
    assert len(leads) > TRIALS
    assert epochs == sorted(epochs)  # nothing was signed in an old epoch once there was a newer one
    assert all(leads[line.split()[0]] == line.split()[1] for line in lines)  # one host for each epoch
    assert set(file.read_text().splitlines(keepends=True)) <= set(lines)  # and nothing left that was not kept before


async def leading(file: Path, after: int) -> tuple[int, str]:
    """The newest signature, as soon as its epoch is above ``after``."""
    while not (found := signed(file)) or found[-1][0] <= after:  # noqa: ASYNC110  no event announces it
        await asyncio.sleep(0.01)
    return found[-1]

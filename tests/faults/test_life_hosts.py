"""Two keepers, two hosts, one key, one market: whoever is killed or frozen, everything is done once."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest

from tests.faults.wishes import ENDS, Wish, assert_once, wishes
from tests.worlds.market import CONTENT, Scene, crash
from tests.worlds.postgres import postgres
from tests.worlds.process import Process

pytestmark = pytest.mark.chain
LEASE = 10.0  # seconds; on a busy machine a turn takes one of them
DONE = ("turn.done", "keeper.recovering", "turn.skipped")


@pytest.fixture
def dsn() -> Iterator[str]:
    """A store of its own for each test: the worlds of two tests have the same chain and the same key."""
    pytest.importorskip("asyncpg", reason="the extra 'ha' is not installed")
    with postgres() as dsn:
        yield dsn


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 50) as scene:
        yield scene


def host(scene: Scene, dsn: str, name: str, *sets: str) -> Process:
    """A keeper with a state folder of its own, as on a machine of its own."""
    folder = scene.config.parent
    store = folder / "store"
    store.touch(mode=0o600)
    store.write_text(dsn)
    plain = (
        "record.enabled=false",
        "chains.local.confirmations=2",
        f"keeper.name={name}",
        f"keeper.state={folder / name}",
        f"ha.lease={round(LEASE * 1000)}ms",
        *sets,
    )
    config = folder / f"{name}.toml"
    config.write_text(f'{scene.config.read_text()}\n[ha]\nstore = {{ file = "{store}" }}\n')
    return Process("run", "-c", config, "--live", *(f"--set={one}" for one in plain))


async def paced(scene: Scene, keeper: Process, blocks: int) -> None:
    for _ in range(blocks):
        await keeper.heard(*DONE, block=scene.step().number)


async def acting(scene: Scene, keeper: Process) -> None:
    """Until it has signed something, and a little longer."""
    for _ in range(12):
        if keeper.has("tx.signed"):
            break
        await paced(scene, keeper, 1)
    assert keeper.has("tx.signed")


def signed(folder: Path) -> list[tuple[int, bytes]]:
    """Epoch and hash of everything that one host has in its journal."""
    with closing(sqlite3.connect(folder / "local.live.db")) as db:
        return db.execute("SELECT epoch, hash FROM term ORDER BY epoch").fetchall()


@pytest.mark.fault("C27", "C28", "C31", "C33")
@pytest.mark.parametrize("end", [SIGKILL, SIGSTOP])
async def test_the_other_host_goes_on_with_what_the_first_began(
    end: int, scene: Scene, dsn: str, tmp_path: Path
) -> None:
    async with host(scene, dsn, "one") as one:
        await one.heard("lease.taken")
        async with host(scene, dsn, "two") as two:
            await two.heard("keeper.ready", "keeper.recovering", "turn.skipped")
            await acting(scene, one)
            os.kill(one.pid, end)
            await two.heard("lease.taken")
            await paced(scene, two, 5)
            assert two.has("tx.taken_over")
            if end == SIGSTOP:
                await resumed(scene, one, two, tmp_path / "one")
            two.send(SIGTERM)
            assert await two.ended() == 0
    done = await settled(scene, dsn, tmp_path)
    assert_once(done)
    assert len(done) > 2


async def resumed(scene: Scene, one: Process, two: Process, folder: Path) -> None:
    """The frozen host wakes up, finds that its term is over, and signs nothing in it."""
    before = {epoch for epoch, _ in signed(folder)}
    os.kill(one.pid, SIGCONT)
    await one.heard("lease.lost")
    await paced(scene, two, 3)
    assert {epoch for epoch, _ in signed(folder)} == before
    one.send(SIGTERM)
    assert await one.ended() == 0


async def settled(scene: Scene, dsn: str, folder: Path) -> list[Wish]:
    """A third host, which wants nothing itself, brings everything to its end."""
    journal = folder / "three" / "local.live.db"
    async with host(scene, dsn, "three", *CONTENT) as three:
        await three.heard("lease.taken")
        await three.heard(*DONE)
        for _ in range(24):
            await paced(scene, three, 1)
            if not open_in(journal):
                break
        three.send(SIGTERM)
        assert await three.ended() == 0
    return wishes(scene, journal)


def open_in(journal: Path) -> list[str]:
    """States of intents that have not ended."""
    with closing(sqlite3.connect(journal)) as db:
        states = [row[0] for row in db.execute("SELECT state FROM intent")]
    return [state for state in states if state not in ENDS]


@pytest.mark.fault("C29")
async def test_without_the_store_a_leader_watches_and_signs_nothing(scene: Scene, dsn: str, tmp_path: Path) -> None:
    store = Path(dsn.split("host=")[1].split("&")[0])
    async with Partition(store, tmp_path / "link") as link, host(scene, link.dsn, "one") as one:
        await one.heard("lease.taken")
        await acting(scene, one)
        link.cut()
        await one.heard("lease.trouble", leads=False)
        before = signed(tmp_path / "one")
        await paced(scene, one, 4)
        assert signed(tmp_path / "one") == before
        one.send(SIGTERM)
        assert await one.ended() == 0


class Partition:
    """A way to the store that can be cut: a socket in another folder."""

    def __init__(self, store: Path, folder: Path) -> None:
        self._store, self._folder = store / ".s.PGSQL.5432", folder
        self.dsn = f"postgresql:///postgres?host={folder}&user=keeper"
        self._writers: list[asyncio.StreamWriter] = []
        self._whole = True

    async def __aenter__(self) -> Partition:
        self._folder.mkdir()
        self._server = await asyncio.start_unix_server(self._joined, self._folder / ".s.PGSQL.5432")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        self._whole = False
        for writer in self._writers:
            writer.transport.abort()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if not self._whole:
            writer.transport.abort()
            return
        there, back = await asyncio.open_unix_connection(self._store)
        self._writers.append(back)
        await asyncio.gather(_copied(reader, back), _copied(there, writer), return_exceptions=True)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
    writer.transport.abort()

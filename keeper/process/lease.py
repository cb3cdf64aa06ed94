"""One key, several hosts: a lease in PostgreSQL says whose turn it is, and its epoch fences off whoever had it before.

    standby ──the lease is free──► leader (epoch + 1) ──renewed──► leader
       ▲                               │ not renewed within half of it, by our own monotonic clock
       └──────── at least one lease ───┴──► fenced

The database's clock alone judges when a lease ends; ours only ends it sooner, and counts time in which the machine
sleeps. ``check`` asks nothing and nobody, so it stands before every signature and every send. ``commit`` keeps the
signed bytes for those who come after us, in one transaction with the row of the lease: an older epoch cannot commit,
however long its process was frozen. Bytes that leak after all are of a nonce that the successor knows.

What left our journal for its archive is deleted here too (``forget``), once every journal has it: each host notes how
far it has read, those that wait for a term as well, and one that was not seen for a month is not waited for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from keeper.errors import Broken, Fenced, Misconfigured, Stop

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keeper_term (
    subject text PRIMARY KEY,      -- chain id, genesis, address
    epoch   bigint NOT NULL,
    holder  text NOT NULL,
    ends    timestamptz NOT NULL   -- by the clock of this database
);
CREATE TABLE IF NOT EXISTS keeper_line (
    seq     bigserial PRIMARY KEY,
    subject text NOT NULL,
    epoch   bigint NOT NULL,
    line    bytea NOT NULL         -- a signed attempt; see keeper/tx/rows.py
);
CREATE INDEX IF NOT EXISTS keeper_line_subject ON keeper_line (subject, seq);
CREATE TABLE IF NOT EXISTS keeper_reader (
    subject text NOT NULL,
    journal text NOT NULL,         -- whose: host and file
    seq     bigint NOT NULL,       -- it has every line up to here
    seen    timestamptz NOT NULL,
    PRIMARY KEY (subject, journal)
);
"""
TAKE: Final = """
INSERT INTO keeper_term AS held VALUES ($1, 1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (subject) DO UPDATE SET epoch = held.epoch + 1, holder = excluded.holder, ends = excluded.ends
WHERE held.ends < clock_timestamp() RETURNING epoch
"""
RENEW: Final = """
UPDATE keeper_term SET ends = clock_timestamp() + make_interval(secs => $3)
WHERE subject = $1 AND epoch = $2 AND ends > clock_timestamp() RETURNING epoch
"""
OURS: Final = "SELECT 1 FROM keeper_term WHERE subject = $1 AND epoch = $2 FOR UPDATE"
KEEP: Final = "INSERT INTO keeper_line (subject, epoch, line) VALUES ($1, $2, $3)"
LINES: Final = "SELECT seq, line FROM keeper_line WHERE subject = $1 ORDER BY seq"
NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM keeper_line WHERE subject = $1"
HAVE: Final = """
INSERT INTO keeper_reader AS had VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (subject, journal) DO UPDATE SET seq = greatest(had.seq, excluded.seq), seen = excluded.seen
"""
HAD_BY_ALL: Final = """
SELECT seq, line FROM keeper_line WHERE subject = $1 AND seq <= (
    SELECT min(seq) FROM keeper_reader WHERE subject = $1 AND seen > clock_timestamp() - make_interval(days => $2)
) ORDER BY seq LIMIT $3
"""
FORGET: Final = "DELETE FROM keeper_line WHERE subject = $1 AND seq = ANY($2)"
RELEASE: Final = "UPDATE keeper_term SET ends = clock_timestamp() WHERE subject = $1 AND epoch = $2"

PATIENT: Final = 2.0  # seconds for the store to answer, at least; a term is counted from the question
NEVER: Final = -1  # the epoch of a host that had no term yet
GONE: Final = 30  # days without a sign from a journal, after which nothing is kept for it
AT_ONCE: Final = 1_000  # lines looked at when old ones are deleted
log = structlog.get_logger("keeper")


def awake() -> float:
    """Seconds that also pass while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """Implements ``ports.Fence``. ``hold`` must run for as long as the keeper does."""

    def __init__(
        self,
        dsn: str,
        subject: str,
        holder: str,
        seconds: float,
        *,
        floor: int = 0,
        journal: str = "",
        now: Callable[[], float] = awake,
    ) -> None:
        """``floor``: the highest epoch in our own journal; a store that knows only lower ones was rolled back.
        ``journal``: what it is called among those of all hosts."""
        self.subject, self.holder, self.seconds = subject, holder, seconds
        self.epoch = NEVER
        self._dsn, self._floor, self._now = dsn, floor, now
        self._until = float("-inf")  # by our own clock
        self._held = False  # as far as we know: it may have ended without our notice
        self._rest_until = float("-inf")  # after a term was lost
        self._journal, self._read = journal or holder, 0  # the last line that we were given
        self._pool: Any = None
        self._made = False  # whether the tables are there
        self._trouble = "", False  # what was said last, and whether we led

    # ─── ports.Fence ───

    @property
    def leads(self) -> bool:
        return self._now() < self._until

    def check(self) -> None:
        if not self.leads:
            raise Fenced(f"the lease on {self.subject} is not ours (epoch {self.epoch})")

    async def commit(self, line: bytes) -> None:
        self.check()
        epoch = self.epoch
        try:
            async with (
                asyncio.timeout(max(PATIENT, self.seconds / 2)),
                (await self._store()).acquire() as db,
                db.transaction(),
            ):
                if await db.fetchval(OURS, self.subject, epoch) is None:
                    raise self._lost(epoch, "another host has taken over")
                await db.execute(KEEP, self.subject, epoch, line)
        except Exception as error:  # asyncpg's errors have no one root
            if not isinstance(error, Fenced):  # it may be written or not: only a new term, which reads it, is safe
                error = self._lost(epoch, f"a commit failed: {type(error).__name__}")
            raise error from None

    async def lines(self) -> Sequence[bytes]:
        try:
            async with asyncio.timeout(self.seconds * 2), (await self._store()).acquire() as db:
                rows = await db.fetch(LINES, self.subject)
        except Exception as error:
            raise _fenced(error) from None
        self._read = max(self._read, rows[-1][0] if rows else 0)
        return [line for _, line in rows]

    async def forget(self, term: int | None, gone: Callable[[bytes], bool]) -> int:
        """Delete what is ``gone`` and in the journal of every host; only within ``term``. How many lines.

        Our own journal has what we were given, and in our term everything. Trouble with the store leaves all as it is.
        """
        try:
            async with (
                asyncio.timeout(max(PATIENT, self.seconds / 2)),
                (await self._store()).acquire() as db,
                db.transaction(),
            ):
                leads = self.leads and term == self.epoch and await db.fetchval(OURS, self.subject, term) is not None
                known = await db.fetchval(NEWEST, self.subject) if leads else self._read
                await db.execute(HAVE, self.subject, self._journal, known)
                rows = await db.fetch(HAD_BY_ALL, self.subject, GONE, AT_ONCE) if leads else []
                old = [seq for seq, line in rows if gone(line)]
                await db.execute(FORGET, self.subject, old)
                return len(old)
        except Exception as error:
            log.warning("lease.trouble", error=type(error).__name__, leads=self.leads)
            return 0

    # ─── having it ───

    async def hold(self) -> None:
        """For ever: take the lease when it is free, renew it three times in each half of it."""
        while True:
            await self.step()
            await asyncio.sleep(self.seconds / 6 * random.uniform(0.8, 1.0))  # noqa: S311  so that hosts do not march in step

    async def step(self) -> None:
        """One try. Trouble with the store leaves things as they are: a term that is not renewed ends by itself."""
        try:
            async with asyncio.timeout(max(PATIENT, self.seconds / 2)):
                await (self._renew() if self._held else self._take())
            trouble = ""
        except Stop:
            raise
        except Exception as error:
            trouble = type(error).__name__
        if trouble and (trouble, self.leads) != self._trouble:  # said when it changes, and not at every try
            log.warning("lease.trouble", error=trouble, leads=self.leads)
        self._trouble = trouble, self.leads

    async def close(self) -> None:
        """Give the lease back, so that the next host need not wait for its end."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(1.0):
                if self._held:
                    self._held, self._until = False, float("-inf")
                    await self._pool.execute(RELEASE, self.subject, self.epoch)
        except Exception as error:
            log.warning("lease.trouble", error=type(error).__name__, leads=False)
        self._pool.terminate()
        self._pool = None

    async def _take(self) -> None:
        asked = self._now()
        if asked < self._rest_until:
            return
        if not self._made:
            await (await self._store()).execute(SCHEMA)
            self._made = True
        epoch = await (await self._store()).fetchval(TAKE, self.subject, self.holder, self.seconds)
        if epoch is None:
            return
        if epoch <= self._floor:
            raise Broken(
                f"the lease store is at epoch {epoch}, the journal at {self._floor}: the store was rolled back",
                help="stop every keeper of this key, and start them with a new store only when nothing is open",
            )
        self._floor = self.epoch = epoch
        self._held = True
        self._until = asked + self.seconds / 2
        log.info("lease.taken", subject=self.subject, epoch=epoch, holder=self.holder)

    async def _renew(self) -> None:
        asked = self._now()
        if await (await self._store()).fetchval(RENEW, self.subject, self.epoch, self.seconds) is None:
            raise self._lost(self.epoch, "it could not be renewed")
        self._until = asked + self.seconds / 2

    def _lost(self, epoch: int, why: str) -> Fenced:
        """Our term is over, and for a whole lease somebody else may have theirs."""
        self._held, self._until = False, float("-inf")
        self._rest_until = self._now() + self.seconds
        log.warning("lease.lost", subject=self.subject, epoch=epoch, why=why)
        return Fenced(f"epoch {epoch} is over: {why}")

    async def _store(self) -> Any:
        """Connections are made when they are needed, and made anew when they break."""
        if self._pool is None:
            try:
                import asyncpg
            except ImportError:
                raise Misconfigured("several hosts need asyncpg", help="pip install 'keeper[ha]'") from None
            self._pool = await asyncpg.create_pool(
                self._dsn, min_size=0, max_size=3, timeout=max(PATIENT, self.seconds / 2)
            )
        return self._pool


def _fenced(error: Exception) -> Fenced:
    return error if isinstance(error, Fenced) else Fenced(f"the lease store: {type(error).__name__}")

"""``keeper …`` as a process of its own, whose log is read as it speaks."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

PATIENCE = 120.0  # seconds for anything that must happen, on a machine that is busy with ten other things


class Spent(NamedTuple):
    """What a process did with its time, in seconds: its main thread, without what it waited for a processor."""

    ran: float
    slept: float


@dataclass(frozen=True)
class Clock:
    """Seconds: of everybody, and those in which a thread ran, and waited to."""

    wall: float
    ran: float
    queued: float

    def __sub__(self, before: Clock | None) -> Spent:
        assert before is not None, "it had ended already"
        ran, queued = self.ran - before.ran, self.queued - before.queued
        return Spent(ran, self.wall - before.wall - ran - queued)


class Process:
    """``async with Process("run", "-c", file) as keeper``. Whatever happens, it does not outlive the block."""

    def __init__(self, *arguments: object, cwd: Path | None = None) -> None:
        self._arguments = [*map(str, arguments), "-v", "--log-format", "json"]
        self._cwd = cwd
        self.events: list[dict[str, Any]] = []  # what it logged
        self.said = ""  # what else it printed on stderr
        self._seen = 0
        self._more = asyncio.Condition()

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "keeper", *self._arguments]
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, cwd=self._cwd, stdout=pipe, stderr=pipe)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def heard(self, *wanted: str, **fields: Any) -> dict[str, Any]:
        """The next line of the log about one of these events, with these fields; AssertionError if there is none."""
        try:
            async with asyncio.timeout(PATIENCE), self._more:
                while True:
                    for at, line in enumerate(self.events[self._seen :], self._seen + 1):
                        if line["event"] in wanted and fields.items() <= line.items():
                            self._seen = at
                            return line
                    assert not self._reader.done(), f"ended without {wanted}: {self.said or self.events[-3:]}"
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted} {fields}, but {self.events[self._seen :][-9:]}") from None

    def has(self, event: str) -> bool:
        return any(line["event"] == event for line in self.events)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def to_the_end(self) -> Spent:
        """What it does with the time from now to its end. A machine that is busy with others changes little in it."""
        since, spent = self.clock(), Spent(0, 0)
        while not self._reader.done() and (now := self.clock()) is not None:
            spent = now - since
            await asyncio.wait([self._reader], timeout=0.02)
        return spent

    def clock(self) -> Clock | None:
        """Its own; None once it has ended."""
        try:
            task = Path(f"/proc/{self.pid}/task/{self.pid}")
            if (task / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return None
            ran, queued, _ = map(int, (task / "schedstat").read_text().split())
        except OSError:
            return None
        return Clock(time.monotonic(), ran / 1e9, queued / 1e9)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> int:
        """Its exit code, when all it said has been read."""
        async with asyncio.timeout(PATIENCE):
            await self._reader
            return await self._process.wait()

    @property
    def stdout(self) -> str:
        """Once it has ended."""
        return self._out

    async def _read(self) -> None:
        out, err = self._process.stdout, self._process.stderr
        assert out is not None and err is not None
        printed = asyncio.create_task(out.read())
        async for line in err:
            self._take(line.decode())
            async with self._more:
                self._more.notify_all()
        self._out = (await printed).decode()
        async with self._more:
            self._more.notify_all()

    def _take(self, line: str) -> None:
        try:
            self.events.append(json.loads(line))
        except json.JSONDecodeError:
            self.said += line

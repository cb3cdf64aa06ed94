"""A log that never holds the keeper up: a thread renders and writes what the loop has said.

It lets ``PAUSE`` pass first, because rendering a line takes about as long as deciding does, and by then the first sends
of a turn have left. A pipe whose reader sleeps, or a full disk, blocks the thread and nobody else. Then lines wait, up
to ``ROOM`` of them; what comes after is dropped, counted, and said as soon as somebody listens again.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

ROOM: Final = 10_000  # lines
PAUSE: Final = 0.02  # seconds


class Outlet:
    """Stands where a text stream stands."""

    def __init__(self, stream: TextIO, room: int = ROOM) -> None:
        self._stream = stream
        self._lines = queue.Queue[Callable[[], str]](room)
        self._dropped = 0
        self._hurry = threading.Event()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        self.say(lambda: text)
        return len(text)

    def say(self, rendered: Callable[[], str]) -> None:
        """A line that is yet to be rendered, by the thread."""
        try:
            self._lines.put_nowait(rendered)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Whoever must know that it is out asks ``drain``."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def drain(self, seconds: float) -> None:
        """Wait until everything is written, or for so long."""
        self._hurry.set()
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, seconds)

    def _write(self) -> None:
        while True:
            first = self._lines.get()
            self._hurry.wait(PAUSE)
            self._put(first)
            for _ in range(self._lines.qsize()):
                self._put(self._lines.get())

    def _put(self, rendered: Callable[[], str]) -> None:
        with suppress(OSError, ValueError):  # nobody there any more: nothing can be said, to anyone
            self._stream.write(rendered() + self._lost())
            self._stream.flush()
        self._lines.task_done()

    def _lost(self) -> str:
        lost, self._dropped = self._dropped, 0
        return json.dumps({"event": "log.dropped", "lines": lost}) + "\n" if lost else ""

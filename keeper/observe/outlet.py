"""A log that never holds the keeper up: a thread writes what the loop has said.

A pipe whose reader sleeps, or a full disk, blocks the thread and nobody else. Then lines wait, up to ``ROOM`` of them;
what comes after is dropped, counted, and said as soon as somebody listens again.
"""

from __future__ import annotations

import json
import queue
import threading
from contextlib import suppress
from typing import Final, TextIO

ROOM: Final = 10_000  # lines


class Outlet:
    """Stands where a text stream stands."""

    def __init__(self, stream: TextIO, room: int = ROOM) -> None:
        self._stream = stream
        self._lines = queue.Queue[str](room)
        self._dropped = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._dropped += 1
        return len(text)

    def flush(self) -> None:
        """Whoever must know that it is out asks ``drain``."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def drain(self, seconds: float) -> None:
        """Wait until everything is written, or for so long."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, seconds)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            with suppress(OSError, ValueError):  # nobody there any more: nothing can be said, to anyone
                self._stream.write(line + self._lost())
                self._stream.flush()
            self._lines.task_done()

    def _lost(self) -> str:
        lost, self._dropped = self._dropped, 0
        return json.dumps({"event": "log.dropped", "lines": lost}) + "\n" if lost else ""

"""systemd's notification protocol: one datagram to the socket in ``NOTIFY_SOCKET`` (sd_notify(3)).

READY=1       once, when the first block has been dealt with: recovery is over
WATCHDOG=1    twice per ``WATCHDOG_USEC``, as long as everything beats; silence makes systemd restart us
STATUS=…      with it: the head, its age, and why we are not ready
STOPPING=1    when asked to end
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from keeper.ports import Clock
from keeper.process.vitals import Vitals


class Systemd:
    """Silent where nobody listens."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path, interval = environ.get("NOTIFY_SOCKET", ""), environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.every = int(interval) / 2e6 if interval.isdecimal() and ours else 0.0  # seconds; 0: no watchdog

    def tell(self, *lines: str) -> None:
        """Never raises and never waits: a supervisor that does not listen must not stop us."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.setblocking(False)
            speaker.sendto("\n".join(lines).encode(), self._address)

    async def watch(self, vitals: Vitals, clock: Clock) -> None:
        """For ever: feed the watchdog while everything beats, or at least say how it goes."""
        while True:
            alive = ("WATCHDOG=1",) if self.every and vitals.alive else ()
            self.tell(*alive, f"STATUS={status(vitals)}")
            await clock.sleep(self.every or 5.0)


def status(vitals: Vitals) -> str:
    head = f"block {vitals.head.number}, {vitals.head_age:.0f} s ago" if vitals.head else "catching up"
    return f"{head}; {', '.join(vitals.unready()) or 'ready'}"

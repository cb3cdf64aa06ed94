"""Everything that runs beside the daemon to look after it, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from keeper.ports import Clock
from keeper.process.http import Gauges, serve
from keeper.process.notify import Systemd
from keeper.process.vitals import Vitals


class Care:
    def __init__(self, clock: Clock, max_head_age: float, *, earthly: bool = False) -> None:
        self.vitals = Vitals(clock, max_head_age, earthly=earthly)
        self.systemd = Systemd()
        self._clock = clock
        self.vitals.on_ready = lambda: self.systemd.tell("READY=1")

    def stopping(self) -> None:
        """We were asked to end: no longer ready, and systemd knows."""
        self.vitals.stopping = True
        self.systemd.tell("STOPPING=1")

    def tasks(self, listen: tuple[str, int] | None, gauges: Gauges) -> list[Callable[[], Awaitable[None]]]:
        """What must run for as long as the daemon; ``listen``: host and port, None: no HTTP."""
        always: list[Callable[[], Awaitable[None]]] = [
            self.vitals.feel,
            lambda: self.systemd.watch(self.vitals, self._clock),
        ]
        return [*always, lambda: serve(self.vitals, gauges, *listen)] if listen else always

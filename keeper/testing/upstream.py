"""A proxy's own connection to a node: JSON lines over a unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

Json = dict[str, Any]
LINE: Final = 2**28  # bytes


class Gone(ConnectionError):
    """The node is not there."""


class Upstream:
    """``ask`` may be called by several at once; notifications go to ``pushed``."""

    def __init__(self, socket: Path, pushed: Callable[[Json], None] = lambda notice: None) -> None:
        self.alive = False
        self._socket, self._pushed = socket, pushed
        self._asked: dict[int, asyncio.Future[Json]] = {}
        self._next = 1

    async def open(self) -> Self:
        try:
            self._in, self._out = await asyncio.open_unix_connection(self._socket, limit=LINE)
        except OSError as error:
            raise Gone(str(error)) from error
        self.alive = True
        self._reader = asyncio.create_task(self._read())
        return self

    async def ask(self, method: str, *params: Any) -> Json:
        """The whole answer, with an id of ours. Raises Gone."""
        if not self.alive:
            raise Gone(method)
        id, self._next = self._next, self._next + 1
        waiting: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._asked[id] = waiting
        self._out.write(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n")
        return await waiting

    async def result(self, method: str, *params: Any) -> Any:
        """The result alone; KeyError when the node refuses."""
        return (await self.ask(method, *params))["result"]

    def close(self) -> None:
        """At once. Whoever still waits is told."""
        if self.alive:
            self.alive = False
            self._out.transport.abort()

    async def _read(self) -> None:
        try:
            async for line in self._in:
                message = json.loads(line)
                waiting = self._asked.pop(message.get("id"), None)
                if waiting is None:
                    self._pushed(message)
                elif not waiting.done():
                    waiting.set_result(message)
        except OSError:
            pass
        finally:
            self.alive = False
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(Gone("hung up"))
                    waiting.exception()  # nobody may be waiting any more


@asynccontextmanager
async def asking(socket: Path) -> AsyncIterator[Upstream]:
    """A connection to the node for a question of the proxy's own."""
    node = await Upstream(socket).open()
    try:
        yield node
    finally:
        node.close()

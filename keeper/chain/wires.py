"""The three ways to a node. A wire carries frames and knows nothing of what they say.

Errors of asyncio, sockets and aiohttp end here, in ``_guard``: they may quote the URL, so they do not pass,
not even as the context of ours.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from keeper.chain.endpoint import Endpoint
from keeper.errors import KeeperError, NodeUnavailable, RateLimited

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

GOODBYE_SECONDS: Final = 0.5  # how long a WebSocket waits for the other side to take leave


class Listener(Protocol):
    """Who gets the frames: an ``Rpc``."""

    endpoint: Endpoint
    ping: float  # seconds
    answer_bytes: int  # the most that one frame may hold

    def heard(self, frame: bytes | str) -> None: ...

    def lost(self, wire: Wire, why: str) -> None:
        """The connection ended; may be told twice."""
        ...


class Wire(Protocol):
    """One connection."""

    alive: bool
    whole: bool  # the answer to a frame has been heard when its ``send`` returns

    async def open(self) -> None: ...

    async def send(self, frame: bytes) -> None: ...

    async def close(self) -> None: ...


class UnixSocket(asyncio.Protocol):
    """Newline separated JSON. A protocol, not streams: no task stands between the socket and the answer."""

    alive = False
    whole = False

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parts: list[bytes] = []  # of a line that has not ended
        self._size = 0

    async def open(self) -> None:
        endpoint = self._listener.endpoint
        dial = asyncio.get_running_loop().create_unix_connection(lambda: self, endpoint.socket)
        self._transport, _ = await _guard(endpoint, dial)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.alive = True

    def data_received(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._parts, lines[0]))
            self._parts, self._size = [], 0
        self._parts.append(rest)
        self._size += len(rest)
        for line in filter(None, lines):
            self._listener.heard(line)
        if self._size > self._listener.answer_bytes:
            self._listener.lost(self, f"an answer of more than {self._listener.answer_bytes} bytes")
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self._listener.lost(self, "connection closed")

    async def send(self, frame: bytes) -> None:
        self._transport.write(frame + b"\n")

    async def close(self) -> None:
        self._transport.abort()


class WebSocket:
    alive = False
    whole = False

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def open(self) -> None:
        self._session = _session(self._listener.endpoint)
        try:
            self._ws = await _guard(self._listener.endpoint, self._dial())
        except BaseException:
            await self._session.close()
            raise
        self.alive = True
        self._reader = asyncio.create_task(self._read(), name=f"read {self._listener.endpoint}")

    async def _dial(self) -> aiohttp.ClientWebSocketResponse:
        from aiohttp import ClientWSTimeout

        return await self._session.ws_connect(
            self._listener.endpoint.url,
            heartbeat=self._listener.ping,
            max_msg_size=self._listener.answer_bytes,
            timeout=ClientWSTimeout(ws_close=GOODBYE_SECONDS),
        )

    async def _read(self) -> None:
        from aiohttp import WSMsgType

        try:
            async for message in self._ws:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                self._acknowledge()
                self._listener.heard(message.data)
        finally:
            self.alive = False
            await self._hang_up()
            self._listener.lost(self, f"connection closed ({self._ws.close_code})")

    def _acknowledge(self) -> None:
        """Undo delayed acknowledgement, which with Nagle at the node holds the next message back for 40 ms."""
        connection = self._ws.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_QUICKACK"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def send(self, frame: bytes) -> None:
        await _guard(self._listener.endpoint, self._ws.send_str(frame.decode()))

    async def close(self) -> None:
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader
        await self._hang_up()  # again, in case the reader never got to it

    async def _hang_up(self) -> None:
        await self._ws.close()
        await self._session.close()


class Http:
    alive = False
    whole = True

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def open(self) -> None:
        self._session = _session(self._listener.endpoint)
        self.alive = True

    async def send(self, frame: bytes) -> None:
        self._listener.heard(await _guard(self._listener.endpoint, self._post(frame)))

    async def _post(self, frame: bytes) -> bytes:
        endpoint, limit, body = self._listener.endpoint, self._listener.answer_bytes, bytearray()
        headers = {"Content-Type": "application/json"}
        async with self._session.post(endpoint.url, data=frame, headers=headers) as response:
            if response.status != 200:
                raise _refused(endpoint, response.status, response.headers.get("Retry-After", ""))
            async for part in response.content.iter_any():
                body += part
                if len(body) > limit:
                    raise NodeUnavailable(f"{endpoint}: an answer of more than {limit} bytes")
        return bytes(body)

    async def close(self) -> None:
        self.alive = False
        await self._session.close()


WIRES: Final[dict[str, Callable[[Listener], Wire]]] = {
    "ipc": UnixSocket,
    "ws": WebSocket,
    "wss": WebSocket,
    "http": Http,
    "https": Http,
}


def _session(endpoint: Endpoint) -> aiohttp.ClientSession:
    """Takes nothing from the environment, keeps no cookies, follows no redirect (``ws_connect`` has no switch)."""
    import aiohttp

    async def refuse(*_: Any) -> None:
        raise NodeUnavailable(f"{endpoint}: it redirects, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return aiohttp.ClientSession(
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # each call has its own deadline
        trace_configs=[trace],
    )


async def _guard(endpoint: Endpoint, step: Awaitable[T]) -> T:
    """Await a step of a library; whatever it raises becomes NodeUnavailable or RateLimited."""
    try:
        return await step
    except KeeperError:
        raise
    except Exception as error:  # aiohttp's errors have no one root
        trouble = _trouble(endpoint, error)
    raise trouble


def _trouble(endpoint: Endpoint, error: Exception) -> KeeperError:
    if status := getattr(error, "status", None):  # of a WebSocket handshake
        return _refused(endpoint, status)
    words = getattr(error, "strerror", None) or type(error).__name__
    return NodeUnavailable(f"{endpoint}: {endpoint.scrub(words)}")


def _refused(endpoint: Endpoint, status: int, after: str = "") -> KeeperError:
    """``after``: a Retry-After header; a date in it is passed over."""
    if status == 429 or (status == 503 and after):
        return RateLimited(f"{endpoint}: HTTP {status}", float(after) if after.isdecimal() else 0.0)
    return NodeUnavailable(f"{endpoint}: HTTP {status}")

"""A JSON-RPC server on loopback that says exactly what a test tells it to, over each of the three transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

Frames = bytes | Iterable[bytes]
Reply = Callable[[Any], Frames]

STREAMS = ("ipc", "ws")
ALL = (*STREAMS, "http")


def result(request: dict[str, Any], value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()


def error(request: dict[str, Any], code: Any, message: Any, **more: Any) -> bytes:
    return json.dumps(
        {"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message, **more}}
    ).encode()


def notice(subscription: str, payload: Any) -> bytes:
    params = {"subscription": subscription, "result": payload}
    return json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params}).encode()


def echo(request: Any) -> bytes:
    """The first parameter as the result; of a batch, in reverse order."""
    if isinstance(request, list):
        return b"[" + b",".join(echo(each) for each in reversed(request)) + b"]"
    return result(request, request["params"][0] if request["params"] else request["method"])


class Server:
    """``reply`` turns each request into the frames to answer with; none means silence."""

    def __init__(self, scheme: str, folder: Path) -> None:
        self.scheme = scheme
        self.reply: Reply = echo
        self.requests: list[Any] = []
        self.connections = 0  # accepted, except over HTTP
        self.paths: list[str] = []  # of HTTP requests and WebSocket handshakes
        self.status = 200  # of HTTP answers and WebSocket handshakes
        self.headers: dict[str, str] = {}
        self.pongs = True
        self._socket = folder / "node.ipc"
        self._peers: list[asyncio.StreamWriter | web.WebSocketResponse] = []
        self._silence = asyncio.Event()
        self._served: set[asyncio.Task[Any]] = set()

    async def start(self) -> Server:
        if self.scheme == "ipc":
            self._unix = await asyncio.start_unix_server(self._ipc, self._socket)
        else:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._ws if self.scheme == "ws" else self._http)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    @property
    def url(self) -> str:
        return str(self._socket) if self.scheme == "ipc" else f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._runner.addresses[0][1])

    async def push(self, *frames: bytes) -> None:
        for peer in self._peers:
            if isinstance(peer, web.WebSocketResponse):
                for frame in frames:
                    await peer.send_bytes(frame)
            else:
                peer.write(b"".join(frame + b"\n" for frame in frames))

    async def cut(self) -> None:
        """Every connection ends without a good-bye."""
        peers, self._peers = self._peers, []
        for peer in peers:
            if isinstance(peer, web.WebSocketResponse):
                transport = peer._req.transport if peer._req else None
                if transport is not None:
                    transport.abort()
            else:
                peer.transport.abort()

    async def stop(self) -> None:
        self._silence.set()
        await self.cut()
        if self.scheme == "ipc":
            self._unix.close()
            await asyncio.gather(*self._served)
        else:
            await self._runner.cleanup()

    def _frames(self, body: bytes | str) -> list[bytes]:
        request = json.loads(body)
        self.requests.append(request)
        frames = self.reply(request)
        return [frames] if isinstance(frames, bytes) else list(frames)

    async def _ipc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._peers.append(writer)
        if task := asyncio.current_task():
            self._served.add(task)
        try:
            async for line in reader:
                writer.writelines(frame + b"\n" for frame in self._frames(line))
        except ConnectionError:
            pass
        writer.close()

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        if self.status != 200:
            return web.Response(status=self.status, headers=self.headers)
        peer = web.WebSocketResponse(autoping=self.pongs, max_msg_size=0)
        await peer.prepare(request)
        self.connections += 1
        self._peers.append(peer)
        async for message in peer:
            for frame in self._frames(message.data) if message.type is WSMsgType.TEXT else ():
                await peer.send_bytes(frame)
        return peer

    async def _http(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        body = b"".join(self._frames(await request.read() or b"null"))
        if not body:
            await self._silence.wait()
        return web.Response(status=self.status, headers=self.headers, body=body)

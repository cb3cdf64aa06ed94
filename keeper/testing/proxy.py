"""A node that misbehaves on command: Anvil behind a proxy, over HTTP, WebSocket and a unix socket.

    async with Proxy(anvil.ipc, folder, pool=GethPool()) as proxy:
        proxy.on("eth_sendRawTransaction", cut_after(), times=1)
        keeper = Process("run", …, f"--set=chains.local.rpc={proxy.ws}")
        proxy.freeze()                  # the head stays, for those who ask here
        proxy.pushes = twice            # every notification comes twice
        proxy.upstream = other.ipc      # another node behind the same name
        await proxy.hang_up()           # every connection, without a good-bye
        await proxy.leave()             # nobody listens any more, until ``return_``

``faults.py`` has the words for single requests. ``pool`` stands for the transaction pool of a real client, because
Anvil's own lets everything through (``transactions.md`` 4.1).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Protocol, Self

from aiohttp import WSCloseCode, WSMsgType, web

from keeper.testing.faults import End, Fault, Reply, answer, passed
from keeper.testing.upstream import LINE, Gone, Json, Upstream, asking

Pushes = Callable[[Json], Sequence[Json]]  # a notification of the node -> what the client gets
AT_HEAD: Final = {  # where a method names its block
    "eth_getBlockByNumber": 0,
    "eth_getTransactionCount": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_call": 1,
    "eth_feeHistory": 1,
}


def as_they_come(notice: Json) -> Sequence[Json]:
    return [notice]


def muted(notice: Json) -> Sequence[Json]:
    return []


def twice(notice: Json) -> Sequence[Json]:
    return [notice, notice]


class Pool(Protocol):
    """Stands before ``eth_sendRawTransaction``."""

    async def send(self, node: Upstream, raw: bytes) -> Json:
        """An answer without id: ``{"result": …}`` or ``{"error": …}``."""
        ...


@dataclass
class Rule:
    pattern: str
    fault: Fault
    skip: int
    times: int | None  # None: for ever

    def takes(self, method: str) -> bool:
        if self.times == 0 or not fnmatchcase(method, self.pattern):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times = None if self.times is None else self.times - 1
        return True


@dataclass
class _Exchange:
    """Implements ``faults.Exchange``."""

    request: Json
    proxy: Proxy
    node: Upstream

    async def forward(self) -> Json:
        return {**await self.proxy.ask(self.node, self.request), "id": self.request["id"]}


class Proxy:
    def __init__(self, upstream: Path, folder: Path, pool: Pool | None = None) -> None:
        """``folder`` gets the unix socket."""
        self.upstream, self.pool = upstream, pool
        self.pushes: Pushes = as_they_come
        self.pongs = True  # whether WebSocket pings are answered
        self.calls = Counter[str]()  # by method, those of batches too
        self.sent: list[bytes] = []  # raw transactions, as they came
        self.connections = 0  # accepted so far, requests over HTTP not counted
        self.http = self.ws = ""
        self.ipc = folder / "faulty.ipc"
        self.listening = False
        self._rules: list[Rule] = []
        self._frozen: int | None = None
        self._doors: list[_Door] = []
        self._port = 0

    # ─── what a test says ───

    def on(self, pattern: str, fault: Fault, *, times: int | None = None, skip: int = 0) -> None:
        """From now on, for methods like ``pattern``; the newest rule that fits is the one that counts."""
        self._rules.insert(0, Rule(pattern, fault, skip, times))

    def behave(self) -> None:
        """Forget every rule, filter and frozen head."""
        self._rules.clear()
        self._frozen, self.pushes, self.pongs = None, as_they_come, True

    async def freeze(self, behind: int = 0) -> None:
        """This node's head stays where it is, or so many blocks below; nothing newer is known here."""
        async with asking(self.upstream) as node:
            self._frozen = int(await node.result("eth_blockNumber"), 16) - behind
        self.pushes = muted

    async def hang_up(self, code: int | None = None) -> None:
        """Every connection ends: WebSockets with this code, or all without a word."""
        for door in list(self._doors):
            await door.close(code)

    async def leave(self) -> None:
        if not self.listening:
            return
        self.listening = False
        await self._site.stop()
        self._unix.close()
        await self.hang_up()
        for idle in self._runner.server.connections if self._runner.server else ():
            if idle.transport is not None:
                idle.transport.abort()

    async def return_(self) -> None:
        """Listen again, at the same addresses."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = int(self._runner.addresses[0][1])
        self.ipc.unlink(missing_ok=True)
        self._unix = await asyncio.start_unix_server(self._at_socket, self.ipc, limit=LINE)
        self.listening = True

    # ─── life ───

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=LINE)
        app.router.add_route("*", "/{path:.*}", self._at_port)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.return_()
        self.http, self.ws = (f"{scheme}://127.0.0.1:{self._port}" for scheme in ("http", "ws"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
        await self._runner.cleanup()

    # ─── one request ───

    async def reply(self, node: Upstream, body: bytes | str) -> Reply:
        """What the client gets; of a batch, one reply for all."""
        request = json.loads(body)
        if not isinstance(request, list):
            return await self._one(node, request)
        parts = [await self._one(node, each) for each in request]
        odd = next((part for part in parts if part.end is not End.DONE or part.status != 200), None)
        return odd or Reply(b"[" + b",".join(part.body for part in parts) + b"]")

    async def _one(self, node: Upstream, request: Json) -> Reply:
        method = request["method"]
        self.calls[method] += 1
        if method == "eth_sendRawTransaction":
            self.sent.append(bytes.fromhex(request["params"][0][2:]))
        fault = next((rule.fault for rule in self._rules if rule.takes(method)), passed)
        return await fault(_Exchange(request, self, node))

    async def ask(self, node: Upstream, request: Json) -> Json:
        """What the node says, behind its pool and up to its frozen head."""
        method, params = request["method"], list(request.get("params", ()))
        if self.pool is not None and method == "eth_sendRawTransaction":
            return {"jsonrpc": "2.0", **await self.pool.send(node, bytes.fromhex(params[0][2:]))}
        if self._frozen is None:
            return await node.ask(method, *params)
        return self._old(method, await node.ask(method, *self._held_back(method, params, self._frozen)), self._frozen)

    def _held_back(self, method: str, params: list[Any], head: int) -> list[Any]:
        place = AT_HEAD.get(method)
        if place is not None and len(params) > place and params[place] in ("latest", "pending"):
            params[place] = hex(head)
        return params

    def _old(self, method: str, said: Json, head: int) -> Json:
        """Without what is newer than the frozen head."""
        found = said.get("result")
        if method == "eth_blockNumber":
            return {**said, "result": hex(head)}
        number = found.get("blockNumber", found.get("number")) if isinstance(found, dict) else None
        return {**said, "result": None} if isinstance(number, str) and int(number, 16) > head else said

    # ─── the three doors ───

    async def _at_port(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _WebSocket(self, request).serve()
        return await _Http(self, request).serve()

    async def _at_socket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Socket(self, reader, writer).serve()

    def opened(self, door: _Door) -> None:
        self._doors.append(door)

    def closed(self, door: _Door) -> None:
        if door in self._doors:
            self._doors.remove(door)


class _Door:
    """One client, with a connection to the node of its own."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._node = Upstream(proxy.upstream, self._pushed)
        self._out = asyncio.Queue[bytes]()
        self._tasks = set[asyncio.Task[None]]()

    async def serve_frames(self) -> None:
        """Until the client goes: requests at the same time, replies as they come."""
        self._proxy.connections += 1
        self._proxy.opened(self)
        self._start(self._write())
        try:
            await self._node.open()
            await self._listen()
        except (Gone, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            await self._end()

    async def _end(self) -> None:
        self._proxy.closed(self)
        self._node.close()
        await self.close(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def heard(self, frame: bytes | str) -> None:
        self._start(self._answer(frame))

    async def _answer(self, frame: bytes | str) -> None:
        try:
            reply = await self._proxy.reply(self._node, frame)
        except Gone:
            reply = Reply(end=End.CUT)
        if reply.end is End.CUT or reply.status != 200:
            await self.close(None)
        elif reply.end is End.DONE and reply.pace:
            await self._drip(reply)
        elif reply.end is End.DONE:
            self._out.put_nowait(reply.body)

    def _pushed(self, notice: Json) -> None:
        for each in self._proxy.pushes(notice):
            self._out.put_nowait(answer(each).body)

    async def _write(self) -> None:
        while True:
            await self.put(await self._out.get())

    async def _drip(self, reply: Reply) -> None:
        self._out.put_nowait(reply.body)

    async def _listen(self) -> None:
        raise NotImplementedError

    async def put(self, frame: bytes) -> None:
        raise NotImplementedError

    async def close(self, code: int | None) -> None:
        raise NotImplementedError


class _Socket(_Door):
    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(proxy)
        self._reader, self._writer = reader, writer

    async def serve(self) -> None:
        await self.serve_frames()

    async def _listen(self) -> None:
        async for line in self._reader:
            self.heard(line)

    async def put(self, frame: bytes) -> None:
        self._writer.write(frame + b"\n")

    async def _drip(self, reply: Reply) -> None:
        for byte in reply.body:
            self._writer.write(bytes([byte]))
            await asyncio.sleep(reply.pace)

    async def close(self, code: int | None) -> None:
        self._writer.transport.abort()


class _WebSocket(_Door):
    def __init__(self, proxy: Proxy, request: web.Request) -> None:
        super().__init__(proxy)
        self._request = request
        self._ws = web.WebSocketResponse(autoping=False, max_msg_size=0)

    async def serve(self) -> web.StreamResponse:
        await self._ws.prepare(self._request)
        await self.serve_frames()
        return self._ws

    async def _listen(self) -> None:
        async for message in self._ws:
            if message.type is WSMsgType.PING and self._proxy.pongs:
                await self._ws.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.heard(message.data)

    async def put(self, frame: bytes) -> None:
        await self._ws.send_bytes(frame)

    async def close(self, code: int | None) -> None:
        if code is not None:
            await self._ws.close(code=WSCloseCode(code))
        elif (transport := self._request.transport) is not None:
            transport.abort()


class _Http(_Door):
    """A request over HTTP; it has nothing pushed to it."""

    def __init__(self, proxy: Proxy, request: web.Request) -> None:
        super().__init__(proxy)
        self._request = request

    async def serve(self) -> web.StreamResponse:
        self._proxy.opened(self)
        try:
            await self._node.open()
            reply = await self._proxy.reply(self._node, await self._request.read())
        except Gone:
            reply = Reply(b"no upstream", 502)
        finally:
            self._proxy.closed(self)
            self._node.close()
        return await self._said(reply)

    async def _said(self, reply: Reply) -> web.StreamResponse:
        if reply.end is End.SILENCE:
            self._proxy.opened(self)
            try:
                await asyncio.Event().wait()
            finally:
                self._proxy.closed(self)
        if reply.end is End.CUT:
            await self.close(None)
        if reply.pace:
            return await self._dripped(reply)
        return web.Response(body=reply.body, status=reply.status, headers=reply.headers)

    async def _dripped(self, reply: Reply) -> web.StreamResponse:
        slow = web.StreamResponse(status=reply.status, headers=reply.headers)
        await slow.prepare(self._request)
        for byte in reply.body:
            await slow.write(bytes([byte]))
            await asyncio.sleep(reply.pace)
        return slow

    async def close(self, code: int | None) -> None:
        if (transport := self._request.transport) is not None:
            transport.abort()

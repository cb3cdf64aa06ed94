"""What a bad node does to one request: the words in which a test scripts ``proxy.Proxy``.

    proxy.on("eth_sendRawTransaction", cut_after(), times=1)     # taken, and the answer never comes
    proxy.on("eth_chainId", result(None))
    proxy.on("*", late(0.5))

A fault gets the request on its way to the node and returns what the client gets to see.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

Json = dict[str, Any]


class End(StrEnum):
    """What follows the body of a reply."""

    DONE = "done"
    SILENCE = "silence"  # nothing: the connection stays open and nothing is said
    CUT = "cut"  # the connection is torn down without a good-bye


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes = b""
    status: int = 200  # over HTTP
    headers: Mapping[str, str] = field(default_factory=dict)
    end: End = End.DONE
    pace: float = 0.0  # seconds from one byte to the next, over HTTP and a unix socket


class Exchange(Protocol):
    """One request on its way."""

    request: Json

    async def forward(self) -> Json:
        """What the node says to it."""
        ...


Fault = Callable[[Exchange], Awaitable[Reply]]


def answer(message: Any) -> Reply:
    return Reply(json.dumps(message).encode())


def to(exchange: Exchange, **fields: Any) -> Reply:
    """An answer that fits the request."""
    return answer({"jsonrpc": "2.0", "id": exchange.request["id"], **fields})


# ─── the node says it, but how ────────────────────────────────────────────────────────────────────


async def passed(exchange: Exchange) -> Reply:
    return answer(await exchange.forward())


def late(seconds: float) -> Fault:
    """The node has it at once, its answer takes a while."""

    async def fault(exchange: Exchange) -> Reply:
        said = await exchange.forward()
        await asyncio.sleep(seconds)
        return answer(said)

    return fault


def slow(seconds: float) -> Fault:
    """The request takes a while to get there."""

    async def fault(exchange: Exchange) -> Reply:
        await asyncio.sleep(seconds)
        return answer(await exchange.forward())

    return fault


def cut_before() -> Fault:
    """The connection breaks, and the node never saw it."""
    return _always(Reply(end=End.CUT))


def cut_after() -> Fault:
    """The node has it, and the connection breaks before the answer."""

    async def fault(exchange: Exchange) -> Reply:
        await exchange.forward()
        return Reply(end=End.CUT)

    return fault


def dripping(seconds: float) -> Fault:
    """The answer, byte by byte: something always comes, and it takes for ever."""

    async def fault(exchange: Exchange) -> Reply:
        return Reply(json.dumps(await exchange.forward()).encode(), pace=seconds)

    return fault


def packed(body: bytes, method: str = "gzip") -> Fault:
    """Few bytes that a client over HTTP unpacks into many."""
    import gzip

    return _always(Reply(gzip.compress(body), headers={"Content-Encoding": method}))


def silent() -> Fault:
    return _always(Reply(end=End.SILENCE))


def truncated(share: float = 0.5) -> Fault:
    async def fault(exchange: Exchange) -> Reply:
        body = json.dumps(await exchange.forward()).encode()
        return Reply(body[: int(len(body) * share)])

    return fault


def changed(change: Callable[[Any], Any]) -> Fault:
    """The node's result, altered; errors pass."""

    async def fault(exchange: Exchange) -> Reply:
        said = await exchange.forward()
        return answer({**said, "result": change(said["result"])} if "result" in said else said)

    return fault


def failing(code: int, message: str) -> Fault:
    """The node takes it and says that it did not."""

    async def fault(exchange: Exchange) -> Reply:
        await exchange.forward()
        return to(exchange, error={"code": code, "message": message})

    return fault


# ─── the node never hears of it ───────────────────────────────────────────────────────────────────


def result(value: Any) -> Fault:
    async def fault(exchange: Exchange) -> Reply:
        return to(exchange, result=value)

    return fault


def error(code: int, message: str, data: Any = None) -> Fault:
    async def fault(exchange: Exchange) -> Reply:
        return to(exchange, error={"code": code, "message": message, "data": data})

    return fault


def swallowed() -> Fault:
    """The hash of a transaction as if it had been accepted."""

    async def fault(exchange: Exchange) -> Reply:
        from eth_hash.auto import keccak

        raw = bytes.fromhex(exchange.request["params"][0][2:])
        return to(exchange, result="0x" + keccak(raw).hex())

    return fault


def refused(status: int, **headers: str) -> Fault:
    """An HTTP status; elsewhere a broken connection."""
    return _always(Reply(b"no", status, {name.replace("_", "-"): value for name, value in headers.items()}))


def saying(body: bytes) -> Fault:
    """These bytes, whatever was asked."""
    return _always(Reply(body))


def renumbered(id: Any) -> Fault:
    """The right answer with the wrong id."""

    async def fault(exchange: Exchange) -> Reply:
        return answer({**await exchange.forward(), "id": id})

    return fault


def _always(reply: Reply) -> Fault:
    async def fault(exchange: Exchange) -> Reply:
        return reply

    return fault

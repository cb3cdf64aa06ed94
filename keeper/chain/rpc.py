"""One JSON-RPC endpoint, over a unix socket, WebSocket or HTTP.

    connect(url) ─► Rpc ─── call · batch · subscribe ───► wire ─► node
                     ▲                                      │
                     └──── heard(frame) · lost(why) ◄───────┘

No call is ever repeated here: whoever asked knows whether asking twice is safe. A broken connection fails
what waits on it with NodeUnavailable and the next call dials again; subscriptions end with their connection.

What nodes call an error becomes one of ours here; what libraries raise does so in ``wires``. No text that
leaves the two holds more of the endpoint's URL than ``scheme://host``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from keeper.chain.endpoint import Endpoint
from keeper.chain.wires import WIRES, Wire
from keeper.errors import KeeperError, NodeUnavailable, RateLimited, StaleRead

Request = tuple[str, Sequence[Any]]  # method, params
Handler = Callable[[Any], None]  # takes each payload, and None once when the connection is gone; never raises

CALL_SECONDS: Final = 10.0
PING_SECONDS: Final = 10.0  # a half-open WebSocket is noticed within 1.5 of these
AT_ONCE: Final = 64  # requests that wait for their answer; more wait for their turn
ANSWER_BYTES: Final = 32 * 2**20  # 1 MB of revert data is 8.4 MB of JSON on Anvil

# Wording of nodes and providers, in lower case; codes are too ambiguous to decide alone.
RATE: Final = ("rate limit", "request rate", "too many requests", "request limit", "units per second", "throttled")
STALE: Final = (
    "unknown block",  # geth, anvil: logs of a block that was reorganised away
    "header not found",  # geth
    "header for hash not found",  # geth, newer
    "resource not found",  # anvil: state of such a block
    "block not found",  # erigon, nethermind, besu
    "blockoutofrange",  # anvil: a block above its head
)


def _plain_dumps(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


_loads: Callable[[bytes | str], Any] = json.loads
_dumps: Callable[[Any], bytes] = _plain_dumps
try:
    import orjson
except ImportError:  # the optional extra "fast" is not installed
    pass
else:
    _loads, _dumps = orjson.loads, orjson.dumps


class RpcError(KeeperError):
    """The node understood and refused. ``message`` is redacted, ``data`` is what a revert carries."""

    code = "KE010"

    def __init__(self, endpoint: str, number: int, message: str, data: bytes = b"") -> None:
        super().__init__(f"{endpoint}: {message} ({number})")
        self.number = number  # JSON-RPC error code
        self.message = message
        self.data = data


class _Asked:
    """The answers to one request, in the order of its calls."""

    __slots__ = ("answers", "done", "failure", "missing", "then")

    def __init__(self, size: int, then: Callable[[Any], None] | None) -> None:
        self.answers: list[Any] = [None] * size
        self.missing = size
        self.failure: KeeperError | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.then = then  # told of each result, before the next frame is read

    def put(self, place: int, answer: Any) -> None:
        self.answers[place] = answer
        self.missing -= 1
        if self.then and not isinstance(answer, KeeperError):
            self.then(answer)
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def fail(self, why: KeeperError) -> None:
        if not self.done.done():
            self.failure = why
            self.done.set_result(None)


class Rpc:
    """Made by ``connect``. Several callers may share one."""

    def __init__(self, endpoint: Endpoint, *, ping: float, answer_bytes: int) -> None:
        self.endpoint = endpoint
        self.ping, self.answer_bytes = ping, answer_bytes
        self.pushes = endpoint.scheme not in ("http", "https")  # whether it can be subscribed to
        self.session = 1  # numbers the connection that is in use, or that the next call will make
        self.dropped = 0  # frames that made no sense, and answers that nobody waited for
        self._wire: Wire | None = None
        self._dialling = asyncio.Lock()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._closed = False
        self._next_id = 1
        self._pending: dict[int, tuple[_Asked, int]] = {}
        self._handlers: dict[str, Handler] = {}

    def __repr__(self) -> str:
        return f"Rpc({self.endpoint})"

    # ── asking ──

    async def call(self, method: str, *params: Any, timeout: float = CALL_SECONDS) -> Any:  # noqa: ASYNC109
        """The result. Raises RpcError, StaleRead, RateLimited or NodeUnavailable; the last may mean "done, unheard"."""
        (answer,) = await self._ask([(method, params)], timeout, single=True)
        if isinstance(answer, KeeperError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[Request], timeout: float = CALL_SECONDS) -> list[Any]:  # noqa: ASYNC109
        """All results of one JSON-RPC batch, in order; in place of a refused one stands its error, not raised."""
        return await self._ask(calls, timeout) if calls else []

    async def subscribe(self, kind: str, handler: Handler, *params: Any) -> str:
        """Have ``handler`` called with each payload, until the connection ends and it is called with None. Its name."""

        def register(subscription: Any) -> None:
            self._handlers[str(subscription)] = handler

        (answer,) = await self._ask([("eth_subscribe", (kind, *params))], CALL_SECONDS, single=True, then=register)
        if isinstance(answer, KeeperError):
            raise answer
        return str(answer)

    async def unsubscribe(self, name: str) -> None:
        """What still comes of it is forgotten."""
        if self._handlers.pop(name, None) is not None:
            await self.call("eth_unsubscribe", name)

    async def _ask(
        self, calls: Sequence[Request], seconds: float, *, single: bool = False, then: Handler | None = None
    ) -> list[Any]:
        ids = range(self._next_id, self._next_id + len(calls))
        self._next_id = ids.stop
        asked = _Asked(len(calls), then)
        body = [{"jsonrpc": "2.0", "id": i, "method": m, "params": p} for i, (m, p) in zip(ids, calls, strict=True)]
        late = False
        try:
            async with asyncio.timeout(seconds), self._room:
                await self._exchange(asked, ids, _dumps(body[0] if single else body))
        except TimeoutError:
            late = True
        finally:
            for i in ids:
                self._pending.pop(i, None)
        if late:
            raise self._unavailable(f"no answer to {calls[0][0]} within {seconds:g} s")
        if asked.failure:
            raise asked.failure
        return asked.answers

    async def _exchange(self, asked: _Asked, ids: range, frame: bytes) -> None:
        wire = await self._connected()
        self._pending.update((i, (asked, place)) for place, i in enumerate(ids))
        await wire.send(frame)
        if wire.whole and not asked.done.done():
            raise self._unavailable("the answer does not fit the request")
        await asked.done

    # ── the connection ──

    async def _connected(self) -> Wire:
        if self._wire is not None:
            return self._wire
        async with self._dialling:
            if self._wire is None:
                if self._closed:
                    raise self._unavailable("closed by us")
                wire = WIRES[self.endpoint.scheme](self)
                await wire.open()
                if self._closed or not wire.alive:  # in the meantime
                    await wire.close()
                    raise self._unavailable("closed while dialling")
                self._wire = wire
            return self._wire

    def lost(self, wire: Wire, why: str) -> None:
        """Fail what waits, and end the subscriptions, if ``wire`` is the present one."""
        if wire is not self._wire:
            return
        self._wire = None
        self.session += 1
        for asked, _ in list(self._pending.values()):
            asked.fail(self._unavailable(why))
        handlers, self._handlers = self._handlers, {}
        for handler in handlers.values():
            handler(None)

    async def reset(self) -> None:
        """Hang up; the next call dials again."""
        if wire := self._wire:
            self.lost(wire, "connection was reset by us")
            await wire.close()

    async def close(self) -> None:
        self._closed = True
        await self.reset()

    def _unavailable(self, why: str) -> NodeUnavailable:
        return NodeUnavailable(f"{self.endpoint}: {why}")

    # ── hearing ──

    def heard(self, frame: bytes | str) -> None:
        """Sort one frame out. Whatever makes no sense is counted and forgotten."""
        try:
            message = _loads(frame)
        except (ValueError, RecursionError):
            self.dropped += 1
            return
        for part in message if isinstance(message, list) else (message,):
            if not (isinstance(part, dict) and (self._answer(part) or self._notice(part))):
                self.dropped += 1

    def _answer(self, message: dict[str, Any]) -> bool:
        number = message.get("id")
        slot = self._pending.pop(number, None) if type(number) is int else None  # True and 1.0 equal 1
        if slot is None:
            return False
        asked, place = slot
        if (error := message.get("error")) is not None:
            asked.put(place, self._translate(error))
        elif "result" in message:
            asked.put(place, message["result"])
        else:
            asked.put(place, self._unavailable("an answer with neither result nor error"))
        return True

    def _notice(self, message: dict[str, Any]) -> bool:
        params = message.get("params")
        if not isinstance(params, dict):
            return False
        handler, payload = self._handlers.get(str(params.get("subscription"))), params.get("result")
        if handler is None or payload is None:
            return False
        handler(payload)
        return True

    def _translate(self, error: Any) -> KeeperError:
        if not isinstance(error, dict):
            return self._unavailable("a malformed error")
        code = error.get("code")
        number = code if isinstance(code, int) else 0
        message = self.endpoint.scrub(str(error.get("message", "")))
        kind = _kind(number, message.lower())
        if kind is RpcError:
            return RpcError(str(self.endpoint), number, message, _hex(error.get("data")))
        return kind(f"{self.endpoint}: {message}")


def _kind(number: int, words: str) -> Callable[..., KeeperError]:
    if number == 3 or words.startswith("execution reverted"):
        return RpcError  # what follows was worded by a contract: it must not pass for the node's word
    if number == 429 or any(phrase in words for phrase in RATE):
        return RateLimited
    return StaleRead if any(phrase in words for phrase in STALE) else RpcError


def _hex(data: Any) -> bytes:
    """Revert data; empty for the other things that nodes put there."""
    try:
        return bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b""
    except ValueError:
        return b""


def connect(url: str, *, ping: float = PING_SECONDS, answer_bytes: int = ANSWER_BYTES) -> Rpc:
    """A client for ``url``: a socket path, ``ipc:path``, ``ws(s)://`` or ``http(s)://``. Dials at the first call."""
    return Rpc(Endpoint(url), ping=ping, answer_bytes=answer_bytes)

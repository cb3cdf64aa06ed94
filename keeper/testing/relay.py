"""A relay that takes transactions for builders, and includes, ignores, forgets, leaks or refuses them on command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_hash.auto import keccak

from keeper.model import Address, Hash


class Mood(Enum):
    """What becomes of what it is given."""

    KEEP = "it is held for the builders: see ``held``"
    LEAK = "it also goes to ``public``, at once"
    DEAF = "it says that it cancels, and does not"
    FORGET = "it says that it has it, and has not"
    REFUSE = "it answers with an error"
    DOWN = "it answers 503"
    HANG = "it never answers"
    LIE = "it answers with another hash"


@dataclass
class Asked:
    """One request, with who signed it."""

    method: str
    params: dict[str, Any]
    signer: Address


@dataclass
class FakeRelay:
    """``async with FakeRelay() as relay:`` listens on ``relay.url``."""

    public: Callable[[bytes], Awaitable[object]] | None = None
    mood: Mood = Mood.KEEP
    asked: list[Asked] = field(default_factory=list)
    held: dict[Hash, tuple[bytes, int]] = field(default_factory=dict)  # hash -> raw, last block
    fates: dict[Hash, str] = field(default_factory=dict)  # what it says became of one, in place of the truth
    looked: list[Hash] = field(default_factory=list)  # whose fate was asked for
    stats: dict[tuple[str, int], Any] = field(default_factory=dict)  # bundle, block -> its statistics
    url: str = ""
    _ends: dict[Hash, str] = field(default_factory=dict)
    _never: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._serve)
        app.router.add_get("/tx/{hash}", self._tell)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._never.set()
        await self._runner.cleanup()

    def due(self, block: int) -> list[bytes]:
        """What a builder of this block would include, in the order it came; the rest of it is too late for ever."""
        ready = [raw for raw, last in self.held.values() if block <= last]
        self._ends.update({hash: "FAILED" for hash, held in self.held.items() if block >= held[1]})
        self.held = {hash: held for hash, held in self.held.items() if block < held[1]}
        return ready

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = json.loads(body)
        params = call["params"][0]
        self.asked.append(Asked(call["method"], params, _signer(request.headers["X-Flashbots-Signature"], body)))
        if self.mood is Mood.HANG:
            await self._never.wait()
        if self.mood is Mood.DOWN:
            return web.Response(status=503, text="overloaded")
        answer = {"jsonrpc": "2.0", "id": call["id"]}
        if self.mood is Mood.REFUSE:
            return web.json_response({**answer, "error": {"code": -32000, "message": "no, not from you"}})
        return web.json_response({**answer, "result": await self._result(call["method"], params)})

    @property
    def status(self) -> str:
        """Where it tells what became of a transaction."""
        return f"{self.url}tx"

    async def _tell(self, request: web.Request) -> web.StreamResponse:
        hash = _bytes(request.match_info["hash"])
        self.looked.append(hash)
        if self.mood is Mood.DOWN:
            return web.Response(status=503, text="overloaded")
        truth = "PENDING" if hash in self.held else self._ends.get(hash, "UNKNOWN")
        return web.json_response({"status": self.fates.get(hash, truth), "hash": _hex(hash)})

    async def _result(self, method: str, params: dict[str, Any]) -> Any:
        if method == "eth_cancelPrivateTransaction":
            if self.mood is Mood.DEAF:
                return True
            found = self.held.pop(_bytes(params["txHash"]), None) is not None
            if found:
                self._ends[_bytes(params["txHash"])] = "CANCELLED"
            return found
        if method == "flashbots_getBundleStatsV2":
            return self.stats.get((params["bundleHash"], int(params["blockNumber"], 16)), {"isSimulated": False})
        bundle = method == "eth_sendBundle"
        raws = [_bytes(raw) for raw in (params["txs"] if bundle else [params["tx"]])]
        last = int(params["blockNumber" if bundle else "maxBlockNumber"], 16)
        for raw in raws:
            await self._take(raw, last)
        name = keccak(raws[0]) if self.mood is not Mood.LIE else bytes(32)
        return {"bundleHash": _hex(name)} if bundle else _hex(name)

    async def _take(self, raw: bytes, last: int) -> None:
        if self.mood is not Mood.FORGET:
            self.held[keccak(raw)] = raw, last
        if self.mood is Mood.LEAK and self.public is not None:
            await self.public(raw)


def _signer(header: str, body: bytes) -> Address:
    """Whose signature the header bears. ValueError when that is not who it names."""
    claimed, signature = header.split(":")
    message = encode_defunct(text=_hex(keccak(body)))
    found = Account.recover_message(message, signature=signature)
    if str(found).lower() != claimed:
        raise ValueError("signed by somebody else")
    return _bytes(claimed)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _hex(data: bytes) -> str:
    return "0x" + data.hex()

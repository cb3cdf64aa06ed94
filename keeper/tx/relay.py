"""Sending by a private relay: the transaction is shown to block builders only, for some blocks.

Nothing here is believed. A relay may leak what it was given, forget it, or say that it has it; so every transaction is
safe in the open, the receipt on our own node is the only proof, and what it does not get in is sent on or cancelled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
from eth_hash.auto import keccak

from keeper.model import Address, Hash
from keeper.observe import redact

Method = Literal["eth_sendPrivateTransaction", "eth_sendBundle"]
Curve = Callable[[bytes], bytes]  # 32-byte digest -> r (32), s (32), parity (1)

MOST_BYTES: Final = 65_536  # of an answer
TEXT: Final = 256  # characters of a refusal that are kept


@dataclass(frozen=True, slots=True)
class Answered:
    """Implements ``ports.Sent``."""

    accepted: bool
    error: str = ""


class Fate(StrEnum):
    """What a relay says became of a transaction."""

    PENDING = "pending"
    INCLUDED = "included"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # it says so, or nothing that we understand


class Relay:
    def __init__(
        self,
        url: str,
        address: Address,
        curve: Curve,
        method: Method = "eth_sendPrivateTransaction",
        seconds: float = 2,
        status: str | None = None,
    ) -> None:
        """``address`` and ``curve``: the key of our reputation there, which is never a key that holds money.

        ``status``: where it tells what became of a transaction, as ``{status}/{hash}``; None: nowhere.
        """
        self.tells = status is not None
        self._status = status
        self.address = address
        self._url, self._curve, self._method = url, curve, method
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._ids = count(1)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Relay({urlsplit(self._url).hostname}, {self._method})"

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, raw: bytes, block: int, last: int) -> Answered:
        """For inclusion in blocks ``block`` to ``last``; a bundle is for ``block`` only, and sent anew for each."""
        if self._method == "eth_sendBundle":
            return await self._asked(self._method, {"txs": [_hex(raw)], "blockNumber": hex(block)}, None)
        return await self._asked(self._method, {"tx": _hex(raw), "maxBlockNumber": hex(last)}, _hex(keccak(raw)))

    async def cancel(self, tx_hash: Hash) -> Answered:
        """A request, no more: the no-op at the same nonce is what cancels."""
        return await self._asked("eth_cancelPrivateTransaction", {"txHash": _hex(tx_hash)}, None)

    async def fate(self, tx_hash: Hash) -> Fate:
        """What it says became of it; trouble is UNKNOWN."""
        try:
            answer = json.loads(await self._got(f"{str(self._status).rstrip('/')}/{_hex(tx_hash)}"))
            return Fate(str(answer["status"]).lower())
        except (TimeoutError, aiohttp.ClientError, ValueError, RecursionError, KeyError, TypeError):
            return Fate.UNKNOWN

    async def _asked(self, method: str, params: dict[str, Any], expected: str | None) -> Answered:
        number = next(self._ids)
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": [params]}).encode()
        try:
            answer = json.loads(await self._post(body))
        except (TimeoutError, aiohttp.ClientError, ValueError, RecursionError) as error:
            return Answered(False, f"transport: relay: {type(error).__name__.lower()}")
        if not isinstance(answer, dict) or answer.get("id") != number:
            return Answered(False, "transport: relay: an answer to something else")
        return _read(answer, expected)

    async def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "X-Flashbots-Signature": self._signed(body)}
        async with self._open().post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            return await _text(answer)

    async def _got(self, url: str) -> bytes:
        async with self._open().get(url, allow_redirects=False) as answer:
            return await _text(answer)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        return self._session

    def _signed(self, body: bytes) -> str:
        """``address:signature``, EIP-191 over the hexadecimal text of the body's hash."""
        said = _hex(keccak(body)).encode()
        digest = keccak(b"\x19Ethereum Signed Message:\n%d" % len(said) + said)
        signature = self._curve(digest)
        return f"{_hex(self.address)}:{_hex(signature[:64] + bytes([27 + signature[64]]))}"


async def _text(answer: aiohttp.ClientResponse) -> bytes:
    """The body of an answer that is in order. ValueError when it is not."""
    text = b""
    async for part in answer.content.iter_any():
        text += part
        if len(text) > MOST_BYTES:
            break
    if answer.status != 200 or len(text) > MOST_BYTES:
        raise ValueError(f"status {answer.status}")
    return text


def _read(answer: dict[str, Any], expected: str | None) -> Answered:
    error = answer.get("error")
    if error is not None:
        text = error.get("message", "") if isinstance(error, dict) else error
        return Answered(False, redact.text(str(text))[:TEXT].lower())
    if expected is not None and answer.get("result") != expected:
        return Answered(False, "transport: relay: the hash of something else")
    return Answered(answer.get("result") is not None, "")


def _hex(data: bytes) -> str:
    return "0x" + data.hex()

"""Sending by a private relay: the transaction is shown to block builders only, for some blocks.

Nothing here is believed. A relay may leak what it was given, forget it, or say that it has it; so every transaction is
safe in the open, the receipt on our own node is the only proof, and what it does not get in is sent on or cancelled.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import structlog
from eth_hash.auto import keccak

from keeper.model import Address, Hash
from keeper.observe import redact

Method = Literal["eth_sendPrivateTransaction", "eth_sendBundle"]
Curve = Callable[[bytes], bytes]  # 32-byte digest -> r (32), s (32), parity (1)

MOST_BYTES: Final = 65_536  # of an answer
TEXT: Final = 256  # characters of a refusal that are kept
KEPT: Final = 25  # blocks that the name of a bundle is known for

log = structlog.get_logger("keeper")


@dataclass(frozen=True, slots=True)
class Answered:
    """Implements ``ports.Sent``."""

    accepted: bool
    error: str = ""


class Bundle(NamedTuple):
    """As the relay calls it, and the one block that it was for."""

    name: str
    block: int


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
        self._bundles = dict[Hash, Bundle]()  # the last with each transaction
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
            answered, _ = await asyncio.gather(self._bundled(raw, block), self._tell(keccak(raw)))
            return answered
        params = {"tx": _hex(raw), "maxBlockNumber": hex(last)}
        return _read(await self._asked(self._method, params), _hex(keccak(raw)))

    async def cancel(self, tx_hash: Hash) -> Answered:
        """A request, no more: the no-op at the same nonce is what cancels."""
        return _read(await self._asked("eth_cancelPrivateTransaction", {"txHash": _hex(tx_hash)}), None)

    async def _bundled(self, raw: bytes, block: int) -> Answered:
        answer = await self._asked(self._method, {"txs": [_hex(raw)], "blockNumber": hex(block)})
        result = answer.get("result")
        if isinstance(result, dict) and isinstance(name := result.get("bundleHash"), str):
            self._bundles = {tx: sent for tx, sent in self._bundles.items() if sent.block >= block - KEPT}
            self._bundles[keccak(raw)] = Bundle(name[:TEXT], block)
        return _read(answer, None)

    async def _tell(self, tx_hash: Hash) -> None:
        """Log what the relay says became of the last bundle with this transaction, which was not included."""
        sent = self._bundles.pop(tx_hash, None)
        if sent is None:
            return
        params = {"bundleHash": sent.name, "blockNumber": hex(sent.block)}
        result = (await self._asked("flashbots_getBundleStatsV2", params)).get("result")
        if isinstance(result, dict):
            builders = (result.get(key) for key in ("consideredByBuildersAt", "sealedByBuildersAt"))
            considered, sealed = (len(each) if isinstance(each, list) else 0 for each in builders)
            simulated = result.get("isSimulated") is True
            told = {"simulated": simulated, "considered": considered, "sealed": sealed}
            log.info("relay.bundle", hash=_hex(tx_hash), block=sent.block, **told)

    async def fate(self, tx_hash: Hash) -> Fate:
        """What it says became of it; trouble is UNKNOWN."""
        try:
            answer = json.loads(await self._got(f"{str(self._status).rstrip('/')}/{_hex(tx_hash)}"))
            return Fate(str(answer["status"]).lower())
        except (TimeoutError, aiohttp.ClientError, ValueError, RecursionError, KeyError, TypeError):
            return Fate.UNKNOWN

    async def _asked(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """What it says; trouble on the way as an error of its own."""
        number = next(self._ids)
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": [params]}).encode()
        try:
            answer = json.loads(await self._post(body))
        except (TimeoutError, aiohttp.ClientError, ValueError, RecursionError) as error:
            return {"error": f"transport: relay: {type(error).__name__.lower()}"}
        if not isinstance(answer, dict) or answer.get("id") != number:
            return {"error": "transport: relay: an answer to something else"}
        return answer

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

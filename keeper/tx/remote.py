"""A signer elsewhere: web3signer, Clef, or whatever answers ``eth_signTransaction`` in front of a KMS.

What comes back is used only if it is, byte for byte, the transaction that was asked for with a signature of our key: a
signer that was broken into, or is simply wrong, can refuse but not redirect. Our own guard reads the bytes before they
are sent there, so the limits hold even where the signer has none. A time-out means "not signed": nothing was sent.
"""

from __future__ import annotations

import json
import ssl
from itertools import count
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import aiohttp
from eth_hash.auto import keccak

from keeper.errors import Broken, Misconfigured, NodeUnavailable, WrongChain
from keeper.model import Address, Call, Hash
from keeper.tx import rlp
from keeper.tx.guard import Guard
from keeper.tx.keys import ORDER
from keeper.tx.signer import encoded, sealed

MOST_BYTES: Final = 262_144  # of an answer


class Substituted(Broken):
    """The signer returned something else than it was asked for."""


def mutual_tls(certificate: Path, key: Path, authority: Path | None = None) -> ssl.SSLContext:
    """Both sides show who they are; TLS 1.3 only. Raises Misconfigured."""
    try:
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"cannot use the certificate {certificate}: {error}", help="PEM files, mode 0600") from None
    return context


class RemoteSigner:
    def __init__(
        self,
        url: str,
        address: Address,
        chain_id: int,
        guard: Guard,
        tls: ssl.SSLContext | None = None,
        seconds: float = 2,
    ) -> None:
        self.address = address
        self.chain_id = chain_id
        self.guard = guard
        self._url, self._tls = url, tls
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._ids = count(1)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"RemoteSigner(0x{self.address.hex()}, chain {self.chain_id}, at {urlsplit(self._url).hostname})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer cannot be copied or pickled")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def sign(self, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int) -> tuple[bytes, Hash]:
        """As ``Signer.sign``. NodeUnavailable when it cannot be had; Substituted when it is not what was asked for."""
        if chain_id != self.chain_id:
            raise WrongChain(f"asked to sign for chain {chain_id}; this signer is for chain {self.chain_id}")
        fields = encoded(rlp.number(chain_id), nonce, call, gas, max_fee, tip)
        payload = b"\x02" + rlp.sequence(fields)
        self.guard.check(payload)
        wanted = {
            "from": _hex(self.address), "to": _hex(call.target), "gas": hex(gas), "value": hex(call.value),
            "data": _hex(call.data), "nonce": hex(nonce), "chainId": hex(chain_id), "type": "0x2",
            "maxFeePerGas": hex(max_fee), "maxPriorityFeePerGas": hex(tip),
        }  # fmt: skip
        return proven(await self._asked(wanted), fields, keccak(payload), self.address)

    async def _asked(self, wanted: dict[str, Any]) -> bytes:
        number = next(self._ids)
        body = {"jsonrpc": "2.0", "id": number, "method": "eth_signTransaction", "params": [wanted]}
        try:
            answer = json.loads(await self._post(json.dumps(body).encode()))
            if answer["id"] != number or answer.get("error") is not None:
                raise NodeUnavailable("the remote signer refused to sign")
            result = answer["result"]
            return bytes.fromhex((result["raw"] if isinstance(result, dict) else result).removeprefix("0x"))
        except (TimeoutError, aiohttp.ClientError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise NodeUnavailable(f"the remote signer did not answer: {type(error).__name__}") from None

    async def _post(self, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        secured: Any = True if self._tls is None else self._tls
        headers = {"Content-Type": "application/json"}
        post = self._session.post(self._url, data=body, headers=headers, ssl=secured, allow_redirects=False)
        async with post as answer:
            text = b""
            async for part in answer.content.iter_any():
                text += part
                if len(text) > MOST_BYTES:
                    raise ValueError("too long")
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            return text


def proven(raw: bytes, fields: bytes, digest: Hash, address: Address) -> tuple[bytes, Hash]:
    """``raw`` and its hash, if it is ``fields`` with a low-s signature of ``address`` over ``digest``, and no more."""
    try:
        *_, parity, r, s = rlp.items(raw[1:])
    except ValueError:
        raise Substituted("the remote signer returned something that is no transaction") from None
    if len(r) > 32 or len(s) > 32 or parity not in (b"", b"\1") or not 0 < int.from_bytes(s) <= ORDER // 2:
        raise Substituted("the remote signer returned a signature that is not in order, or not low-s")
    signature = r.rjust(32, b"\0") + s.rjust(32, b"\0") + bytes([len(parity)])
    made, hash = sealed(fields, signature)
    if made != raw:
        raise Substituted("the remote signer returned another transaction than it was asked for")
    if _signed_by(signature, digest) != address:
        raise Substituted(f"the remote signer signed with another key than 0x{address.hex()}")
    return raw, hash


def _signed_by(signature: bytes, digest: Hash) -> Address | None:
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature

    try:
        return bytes(Signature(signature).recover_public_key_from_msg_hash(digest).to_canonical_address())
    except BadSignature:
        return None


def _hex(data: bytes) -> str:
    return "0x" + data.hex()

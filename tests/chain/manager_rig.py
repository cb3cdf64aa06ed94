"""A plain client for one Anvil, as the transaction manager needs it: JSON lines over its socket, one call at a time."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeper.model import Address, BlockRef, Call, Hash, Moment, Receipt


@dataclass
class Sent:
    accepted: bool
    error: str = ""


@dataclass
class Simulated:
    ok: bool
    data: bytes
    gas_used: int = 0


class Refused(Exception):
    """An error answer."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.data = error.get("data") or "0x"


class LineNode:
    """Implements ``StateReader`` and ``Executor``."""

    def __init__(self, ipc: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(ipc))
        self._answers = self._socket.makefile("rb")

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def rpc(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._answers.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def block(self, at: str = "latest") -> BlockRef:
        method = "eth_getBlockByHash" if len(at) == 66 else "eth_getBlockByNumber"
        return _ref(self.rpc(method, at, False))

    def mine(self) -> BlockRef:
        """One block, 12 seconds after the last."""
        self.rpc("evm_mine", {"timestamp": self.block().timestamp + 12})
        return self.block()

    async def send(self, raw: bytes) -> Sent:
        try:
            self.rpc("eth_sendRawTransaction", _hex(raw))
        except Refused as error:
            return Sent(False, str(error).lower())
        return Sent(True)

    async def receipt(self, tx_hash: Hash) -> Receipt | None:
        found = self.rpc("eth_getTransactionReceipt", _hex(tx_hash))
        if found is None:
            return None
        used, price = int(found["gasUsed"], 16), int(found["effectiveGasPrice"], 16)
        return Receipt(tx_hash, self.block(found["blockHash"]), found["status"] == "0x1", used, price)

    async def nonce(self, address: Address) -> int:
        return int(self.rpc("eth_getTransactionCount", _hex(address), "latest"), 16)

    async def balance(self, address: Address) -> int:
        return int(self.rpc("eth_getBalance", _hex(address), "latest"), 16)

    async def call(self, call: Call, sender: Address, block: Hash | None, *, at: Moment | None = None) -> Simulated:
        tx = {"from": _hex(sender), "to": _hex(call.target), "data": _hex(call.data), "value": hex(call.value)}
        overrides = ({}, _overrides(at)) if at else ()
        try:
            result = self.rpc("eth_call", tx, "pending" if block is None else {"blockHash": _hex(block)}, *overrides)
        except Refused as error:
            return Simulated(False, bytes.fromhex(error.data[2:]))
        return Simulated(True, bytes.fromhex(result[2:]))


def _ref(block: dict[str, Any]) -> BlockRef:
    numbers = (int(block[name], 16) for name in ("timestamp", "baseFeePerGas", "gasUsed", "gasLimit"))
    return BlockRef(
        int(block["number"], 16), bytes.fromhex(block["hash"][2:]), bytes.fromhex(block["parentHash"][2:]), *numbers
    )


def _overrides(at: Moment) -> dict[str, str]:
    return {"number": hex(at.number), "time": hex(at.timestamp), "baseFeePerGas": hex(at.base_fee)}


def _hex(data: bytes) -> str:
    return "0x" + data.hex()

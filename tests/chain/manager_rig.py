"""A plain client for one Anvil, as the transaction manager needs it: JSON lines over its socket, one call at a time."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keeper.model import Address, BlockRef, Call, Hash, Moment, Receipt

BATCH: Final = 100  # calls


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

    def batch(self, method: str, wanted: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results of one batch, in their order."""
        asked = [{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, params in enumerate(wanted)]
        self._socket.sendall(json.dumps(asked).encode() + b"\n")
        answers = {answer["id"]: answer["result"] for answer in json.loads(self._answers.readline())}
        return [answers[n] for n in range(len(wanted))]

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
        return (await self.receipts([tx_hash]))[0]

    async def receipts(self, hashes: Sequence[Hash]) -> list[Receipt | None]:
        found = list[Any]()
        for at in range(0, len(hashes), BATCH):
            asked = [(_hex(hash),) for hash in hashes[at : at + BATCH]]
            found += self.batch("eth_getTransactionReceipt", asked)
        blocks = {one["blockHash"]: self.block(one["blockHash"]) for one in found if one}
        return [one and _receipt(one, blocks[one["blockHash"]]) for one in found]

    async def nonce(self, address: Address) -> int:
        return int(self.rpc("eth_getTransactionCount", _hex(address), "latest"), 16)

    async def balance(self, address: Address) -> int:
        return int(self.rpc("eth_getBalance", _hex(address), "latest"), 16)

    async def call(
        self, call: Call, sender: Address, block: Hash | None, *, at: Moment | None = None, gas: int | None = None
    ) -> Simulated:
        tx = {"from": _hex(sender), "to": _hex(call.target), "data": _hex(call.data), "value": hex(call.value)}
        tx |= {"gas": hex(gas)} if gas else {}
        overrides = ({}, _overrides(at)) if at else ()
        try:
            result = self.rpc("eth_call", tx, "pending" if block is None else {"blockHash": _hex(block)}, *overrides)
        except Refused as error:
            return Simulated(False, bytes.fromhex(error.data[2:]))
        return Simulated(True, bytes.fromhex(result[2:]))


def _receipt(raw: dict[str, Any], block: BlockRef) -> Receipt:
    used, price = int(raw["gasUsed"], 16), int(raw["effectiveGasPrice"], 16)
    return Receipt(bytes.fromhex(raw["transactionHash"][2:]), block, raw["status"] == "0x1", used, price)


def _ref(block: dict[str, Any]) -> BlockRef:
    numbers = (int(block[name], 16) for name in ("timestamp", "baseFeePerGas", "gasUsed", "gasLimit"))
    return BlockRef(
        int(block["number"], 16), bytes.fromhex(block["hash"][2:]), bytes.fromhex(block["parentHash"][2:]), *numbers
    )


def _overrides(at: Moment) -> dict[str, str]:
    return {"number": hex(at.number), "time": hex(at.timestamp), "baseFeePerGas": hex(at.base_fee)}


def _hex(data: bytes) -> str:
    return "0x" + data.hex()

"""A server that answers like a node, by method."""

from typing import Any

from keeper.chain import bloom
from keeper.chain.rpc import RpcError
from keeper.model import BlockRef, Log
from tests.unit.rpc_server import Server, error, result

POOL, OTHER, SENDER = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20
TOPIC, WHO = b"\x0a" * 32, b"\x0b" * 32
BLOCK, PARENT, TX = b"\x10" * 32, b"\x0f" * 32, b"\x20" * 32
LOG = Log(POOL, (TOPIC, WHO), b"\x05", TX, 1)
FOREIGN = Log(OTHER, (TOPIC,), b"", TX, 0)
RAW = b"\x02signed"


def word(data: bytes) -> str:
    return "0x" + data.hex()


def block(logs: tuple[Log, ...] = (), **changes: Any) -> dict[str, Any]:
    fields = {
        "number": "0x7",
        "hash": word(BLOCK),
        "parentHash": word(PARENT),
        "timestamp": "0x65",
        "baseFeePerGas": "0x9",
        "gasUsed": "0x5208",
        "gasLimit": "0x1c9c380",
        "logsBloom": word(bloom.of(logs).to_bytes(256, "big")),
    }
    return fields | changes


def on_wire(log: Log, number: int = 7, **changes: Any) -> dict[str, Any]:
    fields = {
        "address": word(log.address),
        "topics": [word(topic) for topic in log.topics],
        "data": word(log.data),
        "transactionHash": word(log.tx_hash),
        "logIndex": hex(log.index),
        "blockNumber": hex(number),
        "blockHash": word(BLOCK),
        "removed": False,
    }
    return fields | changes


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


class Script:
    """A server that answers by method: with a result, with an error to raise, or with a function of the parameters."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: dict[str, Any] = {}
        server.reply = self.reply

    @property
    def asked(self) -> list[tuple[str, Any]]:
        flat = [
            each for request in self.server.requests for each in (request if isinstance(request, list) else [request])
        ]
        return [(each["method"], each["params"]) for each in flat]

    def reply(self, request: Any) -> bytes:
        if isinstance(request, list):
            return b"[" + b",".join(map(self.reply, request)) + b"]"
        answer = self.answers[request["method"]]
        answer = answer(*request["params"]) if callable(answer) else answer
        if isinstance(answer, RpcError):
            return error(request, answer.number, answer.message, data=word(answer.data))
        return result(request, answer)


def refusal(number: int, message: str, data: bytes = b"") -> RpcError:
    return RpcError("", number, message, data)


REF = BlockRef(7, BLOCK, PARENT, 101, 9, 21_000, 30_000_000)

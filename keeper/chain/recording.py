"""A recording: the state a run began with, and every block after it, exactly.

    manifest.json     schema, chain id, first and last block, how the base state is held, the run's configuration
    base.json.gz      accounts and blocks up to the first block, as Anvil dumps them (absent: fork the chain at `first`)
    blocks.jsonl.gz   one line a block: what fixes it (header fields, raw transactions) and what it must give (hash)

Raw signed transactions and header fields are enough: replayed on the base state they give the same block hashes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from keeper.chain.rpc import RpcError
from keeper.errors import Misconfigured, NotFound
from keeper.model import BlockRef, Hash

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    chain_id: int
    first: int  # the block whose state is the base; recording begins after it
    last: int
    base: str  # "dump" or "fork"
    config: Mapping[str, Any]  # what a keeper needs to run on it; no secrets
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class RecordedTx:
    hash: str
    sender: str
    raw: str


@dataclass(frozen=True, slots=True)
class RecordedBlock:
    """Quantities as the node writes them, 0x hex."""

    number: int
    hash: str
    timestamp: int
    base_fee: str
    miner: str
    gas_limit: str
    txs: tuple[RecordedTx, ...]


class Caller(Protocol):
    """What recording asks of a node; see ``rpc.Rpc``."""

    async def call(self, method: str, *params: Any) -> Any: ...
    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]: ...


async def fetch(rpc: Caller, block: Hash) -> RecordedBlock:
    """One block with its raw transactions."""
    b = await rpc.call("eth_getBlockByHash", "0x" + block.hex(), True)
    raws = await rpc.batch([("eth_getRawTransactionByHash", (tx["hash"],)) for tx in b["transactions"]])
    return RecordedBlock(
        number=int(b["number"], 16),
        hash=b["hash"],
        timestamp=int(b["timestamp"], 16),
        base_fee=b["baseFeePerGas"],
        miner=b["miner"],
        gas_limit=b["gasLimit"],
        txs=tuple(RecordedTx(tx["hash"], tx["from"], raw) for tx, raw in zip(b["transactions"], raws, strict=True)),
    )


class Recorder:
    """Writes one recording. The base must be taken before the first block is added."""

    def __init__(self, folder: Path, chain_id: int, config: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._chain_id, self._config = folder, chain_id, config
        self._blocks = gzip.open(folder / "blocks.jsonl.gz", "wt", encoding="ascii")  # noqa: SIM115
        self._first = self._last = -1
        self._base = "fork"

    async def begin(self, rpc: Caller, at: BlockRef) -> None:
        """Take the base: a dump where the node gives one, else only the block to fork at."""
        self._first = self._last = at.number
        try:
            dump = bytes.fromhex((await rpc.call("anvil_dumpState"))[2:])
        except RpcError:
            return
        (self._folder / "base.json.gz").write_bytes(dump)
        self._base = "dump"

    async def add(self, rpc: Caller, ref: BlockRef) -> None:
        """One more canonical block. After a reorg, give the new blocks: a reader keeps the last of each number."""
        if ref.number > self._first:
            block = await fetch(rpc, ref.hash)
            self._blocks.write(json.dumps(asdict(block), separators=(",", ":")) + "\n")
            self._last = ref.number

    def close(self) -> None:
        self._blocks.close()
        manifest = Manifest(self._chain_id, self._first, self._last, self._base, self._config)
        (self._folder / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1, default=str) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Recording:
    """Reads one. NotFound when there is none, Misconfigured when it is not whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            raw = json.loads((folder / "manifest.json").read_text())
        except FileNotFoundError as error:
            raise NotFound(f"no recording in {folder}", help="make one with `keeper record`") from error
        if raw.get("schema") != SCHEMA:
            raise Misconfigured(f"the recording in {folder} has schema {raw.get('schema')}, this keeper reads {SCHEMA}")
        self.manifest = Manifest(**raw)

    def base(self) -> bytes | None:
        """The dump; None when the base is a fork."""
        return (self.folder / "base.json.gz").read_bytes() if self.manifest.base == "dump" else None

    def blocks(self) -> Iterator[RecordedBlock]:
        """In order and without gaps; of a height that was recorded twice, the last."""
        by_number: dict[int, RecordedBlock] = {}
        with gzip.open(self.folder / "blocks.jsonl.gz", "rt", encoding="ascii") as lines:
            for line in lines:
                raw = json.loads(line)
                raw["txs"] = tuple(RecordedTx(**tx) for tx in raw["txs"])
                by_number[raw["number"]] = RecordedBlock(**raw)
        for number in range(self.manifest.first + 1, self.manifest.last + 1):
            if number not in by_number:
                raise Misconfigured(f"the recording in {self.folder} lacks block {number}", help="record it again")
            yield by_number[number]

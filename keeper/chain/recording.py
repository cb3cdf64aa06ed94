"""A recording: the state a run began with, and every block after it, exactly.

    manifest.json     schema, chain id, first and last block, how the base state is held
    config-0.toml …   the configuration of the run, as its files stood
    decisions.jsonl   what the keeper decided, if it was a keeper's own run that was recorded
    base.json.gz      accounts and blocks up to the first block, as Anvil dumps them (absent: fork the chain at `first`)
    blocks.jsonl.gz   one line a block: header fields, raw transactions, and the receipts they must give

Raw signed transactions and header fields are enough: replayed on the base state they give the same receipts. Block
and state hashes may differ, because Anvil draws ``prevrandao`` itself and cannot be told it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from keeper.chain.rpc import RpcError
from keeper.errors import Misconfigured, NotFound
from keeper.model import BlockRef, Hash

SCHEMA: Final = 1
DECISIONS: Final = "decisions.jsonl"


@dataclass(frozen=True, slots=True)
class Manifest:
    chain_id: int
    first: int  # the block whose state is the base; recording begins after it
    last: int
    timestamp: int  # of the block ``first``
    base: str  # "dump" or "fork"
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
    receipts_root: str
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
        receipts_root=b["receiptsRoot"],
        timestamp=int(b["timestamp"], 16),
        base_fee=b["baseFeePerGas"],
        miner=b["miner"],
        gas_limit=b["gasLimit"],
        txs=tuple(RecordedTx(tx["hash"], tx["from"], raw) for tx, raw in zip(b["transactions"], raws, strict=True)),
    )


class Recorder:
    """Writes one recording. The base must be taken before the first block is added."""

    def __init__(self, folder: Path, chain_id: int, configs: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("config-*.toml"):
            old.unlink()
        for i, text in enumerate(configs):
            (folder / f"config-{i}.toml").write_text(text)
        self._folder, self._chain_id = folder, chain_id
        self._blocks = gzip.open(folder / "blocks.jsonl.gz", "wt", encoding="ascii")  # noqa: SIM115
        self._first = self._last = self._timestamp = -1
        self._base = "fork"

    async def begin(self, rpc: Caller) -> int:
        """Take the base at the head: a dump where the node gives one, else only the block to fork at. The block."""
        while True:
            at = int(await rpc.call("eth_blockNumber"), 16)
            dump = await self._dump(rpc)
            if at == int(await rpc.call("eth_blockNumber"), 16):  # else a block came in between
                break
        if dump is not None:
            (self._folder / "base.json.gz").write_bytes(dump)
        self._first = self._last = at
        self._timestamp = int((await rpc.call("eth_getBlockByNumber", hex(at), False))["timestamp"], 16)
        self._base = "fork" if dump is None else "dump"
        return at

    async def _dump(self, rpc: Caller) -> bytes | None:
        try:
            return bytes.fromhex((await rpc.call("anvil_dumpState"))[2:])
        except RpcError:
            return None

    async def add(self, rpc: Caller, ref: BlockRef) -> None:
        """One more canonical block. After a reorg, give the new blocks: a reader keeps the last of each number."""
        if ref.number > self._first:
            block = await fetch(rpc, ref.hash)
            self._blocks.write(json.dumps(asdict(block), separators=(",", ":")) + "\n")
            self._last = ref.number

    def close(self) -> None:
        self._blocks.close()
        manifest = Manifest(self._chain_id, self._first, self._last, self._timestamp, self._base)
        (self._folder / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1) + "\n")

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

    @property
    def configs(self) -> list[Path]:
        """The configuration files of the run, the weakest first."""
        return sorted(self.folder.glob("config-*.toml"))

    @property
    def decisions(self) -> Path | None:
        """What the recorded keeper decided."""
        path = self.folder / DECISIONS
        return path if path.exists() else None

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

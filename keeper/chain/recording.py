"""A recording: the state a run began with, and every block after it, exactly.

    manifest.json     schema, chain id, where it begins, how the base state is held
    config-0.toml …   the configuration of the run, as its files stood
    decisions.jsonl   what the keeper decided, if it was a keeper's own run that was recorded
    base.json.gz      accounts and blocks up to the first block, as Anvil dumps them (absent: fork the chain at `first`)
    blocks.jsonl.gz   one line a block: header fields, raw transactions, the receipts they must give, and the calls that
                      the keeper saw before they were mined

Raw signed transactions and header fields are enough: replayed on the base state they give the same receipts. Block
and state hashes may differ, because Anvil draws ``prevrandao`` itself and cannot be told it.

Every line is on disk when the next block comes, so a recording whose writer was killed is good up to its last line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from keeper.chain.rpc import RpcError
from keeper.errors import ChainLost, KeeperError, Misconfigured, NotFound, StaleRead
from keeper.model import BlockRef, Effect, Hash, Pending, Seen, Turn

SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
DECISIONS: Final = "decisions.jsonl"
BLOCKS: Final = "blocks.jsonl.gz"
BASE: Final = "base.json.gz"
DEPTH: Final = 512  # blocks written last that a reorg may replace
BATCH: Final = 100  # calls
AGAIN: Final = "record it again"


@dataclass(frozen=True, slots=True)
class Manifest:
    chain_id: int
    first: int  # the block whose state is the base; recording begins after it
    timestamp: int  # of the block ``first``
    base: str  # "dump" or "fork"
    begins: int  # the first block at which there is something to decide
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
    decided: bool = True  # False: the recorded keeper let it pass, because a newer one was known or the node failed
    between: tuple[tuple[Pending, ...], ...] = ()  # calls it heard after the last block it decided on, as it heard them
    looked: tuple[Pending, ...] = ()  # pending calls that it saw with this one


class Foresight(NamedTuple):
    """What was seen before it was mined: between two decisions, and with the later one."""

    between: tuple[tuple[Pending, ...], ...] = ()
    looked: tuple[Pending, ...] = ()

    def and_(self, seen: Seen) -> Foresight:
        if seen.between:
            return self._replace(between=(*self.between, seen.calls))
        return self._replace(looked=(*self.looked, *seen.calls))


class Fetched(NamedTuple):
    hash: str
    parent: str
    block: RecordedBlock


class Caller(Protocol):
    """What recording asks of a node; see ``rpc.Rpc``."""

    async def call(self, method: str, *params: Any) -> Any: ...
    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]: ...


async def fetch(rpc: Caller, block: str) -> Fetched:
    """One block, by its hash, with its raw transactions. StaleRead when the node does not have all of it."""
    b = await rpc.call("eth_getBlockByHash", block, True)
    if b is None:
        raise StaleRead(f"the node has no block {block}")
    raws = await _raws(rpc, [tx["hash"] for tx in b["transactions"]])
    recorded = RecordedBlock(
        number=int(b["number"], 16),
        receipts_root=b["receiptsRoot"],
        timestamp=int(b["timestamp"], 16),
        base_fee=b["baseFeePerGas"],
        miner=b["miner"],
        gas_limit=b["gasLimit"],
        txs=tuple(RecordedTx(tx["hash"], tx["from"], raw) for tx, raw in zip(b["transactions"], raws, strict=True)),
    )
    return Fetched(b["hash"], b["parentHash"], recorded)


async def _raws(rpc: Caller, hashes: Sequence[str]) -> list[str]:
    raws = list[Any]()
    for at in range(0, len(hashes), BATCH):
        raws += await rpc.batch([("eth_getRawTransactionByHash", (tx,)) for tx in hashes[at : at + BATCH]])
    for tx, raw in zip(hashes, raws, strict=True):
        if isinstance(raw, KeeperError):
            raise raw
        if raw is None:
            raise StaleRead(f"the node lacks transaction {tx}")
    return raws


def fresh(folder: Path) -> Path:
    """``folder``, or ``folder-2``, ``folder-3`` …: the first without a recording, for none is ever overwritten."""
    names = (folder if n == 1 else folder.with_name(f"{folder.name}-{n}") for n in count(1))
    return next(name for name in names if not (name / MANIFEST).exists())


# ─── writing ──────────────────────────────────────────────────────────────────────────────────────


class Recorder:
    """Writes one recording. The base must be taken before the first block is added.

    Implements ``ports.Watcher``: what a keeper decides upon is marked, so that a replay decides at the same blocks.
    """

    def __init__(self, folder: Path, chain_id: int, configs: Sequence[str], *, marks: bool = False) -> None:
        """``marks``: a keeper's own run, which this watches; else every block counts as decided upon."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("config-*.toml"), folder / MANIFEST, folder / BASE):
            old.unlink(missing_ok=True)
        for i, text in enumerate(configs):
            (folder / f"config-{i}.toml").write_text(text)
        self._folder, self._chain_id, self._marks = folder, chain_id, marks
        self._blocks = gzip.open(folder / BLOCKS, "wb")  # noqa: SIM115
        self._manifest: Manifest | None = None
        self._hashes: dict[int, str] = {}  # number -> the block last written
        self._decided = dict[str, Foresight]()
        self._foresight = Foresight()  # since the last decision
        self._began = False

    async def begin(self, rpc: Caller) -> int:
        """Take the base at the head: a dump where the node gives one, else only the block to fork at. The block."""
        while True:
            head = await rpc.call("eth_getBlockByNumber", "latest", False)
            dump = await self._dump(rpc)
            if head["hash"] == (await rpc.call("eth_getBlockByNumber", "latest", False))["hash"]:
                break  # else a block came in between
        if dump is not None:
            (self._folder / BASE).write_bytes(dump)
        first, held = int(head["number"], 16), "fork" if dump is None else "dump"
        self._hashes[first] = head["hash"]
        self._describe(Manifest(self._chain_id, first, int(head["timestamp"], 16), held, begins=first))
        return first

    async def _dump(self, rpc: Caller) -> bytes | None:
        try:
            return bytes.fromhex((await rpc.call("anvil_dumpState"))[2:])
        except RpcError:
            return None

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Seen):
            self._foresight = self._foresight.and_(effect)

    def turn(self, turn: Turn) -> None:
        self._decided[_hex(turn.ref.hash)], self._foresight = self._foresight, Foresight()
        if not self._began and self._manifest is not None:
            self._began = True
            self._describe(replace(self._manifest, begins=turn.ref.number))

    async def add(self, rpc: Caller, ref: BlockRef) -> None:
        """Everything up to ``ref``: blocks that were passed over too, and after a reorg those that replace others.

        Nothing is written unless all of it could be fetched. ChainLost when the base itself is no longer canonical.
        """
        branch, at = list[Fetched](), _hex(ref.hash)
        while at != self._hashes.get(number := ref.number - len(branch)):
            if number <= min(self._hashes):
                raise ChainLost(f"the chain was reorganised at block {number}, below the recording", help=AGAIN)
            branch.append(await fetch(rpc, at))
            at = branch[-1].parent
        for each in reversed(branch):
            self._write(each)
        self._blocks.flush()

    def _write(self, fetched: Fetched) -> None:
        seen = self._decided.pop(fetched.hash, None)
        line = asdict(replace(fetched.block, decided=not self._marks or seen is not None))
        told = {"between": [_written(calls) for calls in seen.between], "looked": _written(seen.looked)} if seen else {}
        line |= {name: told.get(name) for name in ("between", "looked")}
        line = {name: value for name, value in line.items() if value or name not in ("between", "looked")}
        self._blocks.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._hashes[fetched.block.number] = fetched.hash
        self._hashes.pop(fetched.block.number - DEPTH, None)

    def _describe(self, manifest: Manifest) -> None:
        self._manifest = manifest
        (self._folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")

    def close(self) -> None:
        self._blocks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _hex(block: Hash) -> str:
    return "0x" + block.hex()


def _written(calls: Sequence[Pending]) -> list[list[str]]:
    return [[call.target.hex(), call.data.hex(), call.sender.hex()] for call in calls]


def _calls(written: Sequence[Sequence[str]]) -> tuple[Pending, ...]:
    return tuple(Pending(*map(bytes.fromhex, call)) for call in written)


# ─── reading ──────────────────────────────────────────────────────────────────────────────────────


class Recording:
    """Reads one, all of it at once. NotFound when there is none, Misconfigured, with its place, when it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _manifest(folder / MANIFEST)
        self.blocks = _canonical(self.manifest, folder / BLOCKS)

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
        return _read(self.folder / BASE) if self.manifest.base == "dump" else None


def _manifest(path: Path) -> Manifest:
    if not path.is_file():
        raise NotFound(f"no recording in {path.parent}", help="make one with `keeper record`")
    raw = _object(path.read_bytes(), str(path))
    if raw.get("schema") != SCHEMA:
        raise Misconfigured(f"{path}: schema {raw.get('schema')}, and this keeper reads {SCHEMA}", help=AGAIN)
    try:
        return Manifest(**raw)
    except TypeError as error:
        raise _damaged(str(path), "a field is missing or unknown") from error


def _canonical(manifest: Manifest, path: Path) -> tuple[RecordedBlock, ...]:
    """In order and without gaps: of a height that was recorded twice, the last, up to the block written last."""
    last, by_number = manifest.first, dict[int, RecordedBlock]()
    for line, text in enumerate(_lines(path), 1):
        block = _block(text, f"{path}:{line}")
        if not manifest.first < block.number <= last + 1:
            raise _damaged(f"{path}:{line}", f"block {block.number} comes after block {last}")
        by_number[block.number], last = block, block.number
    return tuple(by_number[number] for number in range(manifest.first + 1, last + 1))


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines; a last one that was cut off with its writer is left out."""
    try:
        text = zlib.decompressobj(wbits=31).decompress(_read(path))  # 31: gzip
    except zlib.error as error:
        raise _damaged(str(path), str(error)) from error
    return iter(text.split(b"\n")[:-1])


def _block(text: bytes, place: str) -> RecordedBlock:
    raw = _object(text, place)
    try:
        more = {
            "txs": tuple(RecordedTx(**tx) for tx in raw["txs"]),
            "between": tuple(_calls(calls) for calls in raw.get("between", ())),
            "looked": _calls(raw.get("looked", ())),
        }
        return RecordedBlock(**{**raw, **more})
    except (TypeError, LookupError, ValueError) as error:
        raise _damaged(place, "a field is missing or unknown") from error


def _object(text: bytes, place: str) -> dict[str, Any]:
    with suppress(ValueError):
        if isinstance(found := json.loads(text), dict):
            return found
    raise _damaged(place, "not JSON")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(str(path), error.strerror or "cannot be read") from error


def _damaged(place: str, what: str) -> Misconfigured:
    return Misconfigured(f"{place}: the recording is damaged: {what}", help=AGAIN)

"""Recorded blocks on a node of our own, with the keeper's new transactions among them.

The keeper's sends are held back and enter a later block: a transaction that the recording has too at its recorded
place, any other in the next block, after all recorded ones. So as long as the keeper does what it did, all receipts
are equal; from the first difference on, the recorded transactions of others run on a state that is ours.

A keeper that followed a moving chain passed over blocks when it was busy. So a step plays up to the next block at which
the recorded keeper decided, and only that one is a head.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from eth_utils.crypto import keccak

from keeper.chain.node import Answer
from keeper.chain.recording import RecordedBlock, Recording
from keeper.errors import Broken
from keeper.model import Address, BlockBatch, BlockRef, ChainEvent, Pending
from keeper.ports import ChainSource
from keeper.simulation.node import Anvil  # arrow: the node that replays is a node of ours


def replaying(recording: Recording, fork_url: str | None = None) -> Anvil:
    """A node with the base state, not yet started."""
    m = recording.manifest
    if m.base == "dump":
        return Anvil(chain_id=m.chain_id, state=recording.base(), timestamp=m.timestamp)
    return Anvil(chain_id=m.chain_id, fork_url=fork_url, fork_block=m.first)


class Held:
    """Implements ``ports.Executor``: accepts every send and keeps it for a block to come."""

    def __init__(self) -> None:
        self.raws: dict[str, bytes] = {}  # hash ->

    async def send(self, raw: bytes) -> Answer:
        self.raws["0x" + keccak(raw).hex()] = raw
        return Answer(True)


@dataclass
class Replay:
    """``step`` makes recorded blocks; False when there is nothing left to decide."""

    anvil: Anvil
    recording: Recording
    own: Address  # the keeper's signer: its recorded transactions are left out unless it sends them again
    held: dict[str, bytes]
    equal: int = 0  # blocks whose receipts are the recorded ones
    differs: int | None = None  # first block whose receipts are not
    refused: int = 0  # transactions that our node would not take
    head: int = field(init=False)  # the newest block
    _left: list[RecordedBlock] = field(init=False)  # the next one last
    _looked: Sequence[Pending] = field(default=(), init=False)
    _places: dict[str, int] = field(init=False)  # own recorded transactions -> block

    def __post_init__(self) -> None:
        m, blocks = self.recording.manifest, self.recording.blocks
        self.head = m.first
        self._left = list(reversed(blocks))
        self._places = {tx.hash: b.number for b in blocks for tx in b.txs if self._is_own(tx.sender)}
        while self.head < m.begins and self._left:
            self._play(self._left.pop())

    @property
    def between(self) -> Sequence[Sequence[Pending]]:
        """What the recorded keeper heard after the newest block, until it decided again."""
        return next((block.between for block in reversed(self._left) if block.decided), ())

    def looked(self, ref: BlockRef) -> Sequence[Pending]:
        """What it saw with this block, the newest."""
        return self._looked if ref.number == self.head else ()

    async def step(self, ref: BlockRef) -> bool:
        """To be called when the keeper has dealt with the head ``ref``."""
        if not any(block.decided for block in self._left):
            return False
        while not self._play(self._left.pop()).decided:
            pass
        return True

    def _play(self, block: RecordedBlock) -> RecordedBlock:
        for raw in self._transactions(block):
            self._send(raw)
        self.anvil.batch(
            [
                ("anvil_setNextBlockBaseFeePerGas", block.base_fee),
                ("anvil_setCoinbase", block.miner),
                ("evm_setBlockGasLimit", block.gas_limit),
            ]
        )
        self.head, self._looked = self.anvil.mine(block.timestamp).number, block.looked
        if self.anvil.rpc("eth_getBlockByNumber", hex(self.head), False)["receiptsRoot"] == block.receipts_root:
            self.equal += 1
        elif self.differs is None:
            self.differs = self.head
        return block

    def _send(self, raw: bytes) -> None:
        try:
            self.anvil.rpc("eth_sendRawTransaction", raw)
        except Broken:  # sent twice, or worthless since the runs parted; the keeper sees no receipt and copes
            self.refused += 1

    def _transactions(self, block: RecordedBlock) -> Iterator[bytes]:
        for tx in block.txs:
            if not self._is_own(tx.sender):
                yield bytes.fromhex(tx.raw[2:])
            elif (raw := self.held.pop(tx.hash, None)) is not None:
                yield raw
        for new in [tx for tx in self.held if self._places.get(tx, 0) <= block.number]:
            yield self.held.pop(new)

    def _is_own(self, sender: str) -> bool:
        return bytes.fromhex(sender[2:]) == self.own


class Paced:
    """Implements ``ports.ChainSource``: of a replayed chain only the newest block is a head, however fast we look."""

    def __init__(self, source: ChainSource, replay: Replay) -> None:
        self._source, self._replay = source, replay

    async def events(self, start: int) -> AsyncIterator[ChainEvent]:
        async for event in self._source.events(start):
            if isinstance(event, BlockBatch):
                event = replace(event, head=event.ref.number == self._replay.head)
            yield event

"""Recorded blocks on a node of our own, with the keeper's new transactions among them.

The keeper's sends are held back and enter the next block: a transaction that the recording has too at its recorded
place, any other after all recorded ones. So as long as the keeper does what it did, all receipts are equal; from
the first difference on, the recorded transactions of others run on a state that is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from eth_utils.crypto import keccak

from keeper.chain.node import Answer, Node
from keeper.chain.recording import RecordedBlock, Recording
from keeper.model import Address, BlockRef
from keeper.simulation.node import Anvil  # arrow: the node that replays is a node of ours


def replaying(recording: Recording, fork_url: str | None = None) -> Anvil:
    """A node with the base state, not yet started."""
    m = recording.manifest
    if m.base == "dump":
        return Anvil(chain_id=m.chain_id, state=recording.base(), timestamp=m.timestamp)
    return Anvil(chain_id=m.chain_id, fork_url=fork_url, fork_block=m.first)


class Held:
    """Implements ``ports.Executor``: accepts every send and keeps it for the next block."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.raws: dict[str, bytes] = {}  # hash ->

    async def send(self, raw: bytes) -> Answer:
        self.raws["0x" + keccak(raw).hex()] = raw
        return Answer(True)


@dataclass
class Replay:
    """``step`` makes the next recorded block; False when there is none."""

    anvil: Anvil
    recording: Recording
    own: Address  # the keeper's signer: its recorded transactions are left out unless it sends them again
    held: dict[str, bytes]
    equal: int = 0  # blocks whose receipts are the recorded ones
    differs: int | None = None  # first block whose receipts are not
    _blocks: Iterator[RecordedBlock] = field(init=False)

    def __post_init__(self) -> None:
        self._blocks = self.recording.blocks()

    async def step(self, ref: BlockRef) -> bool:
        """To be called when the keeper has dealt with the head ``ref``."""
        block = next(self._blocks, None)
        if block is None:
            return False
        for raw in self._transactions(block):
            self.anvil.rpc("eth_sendRawTransaction", raw)
        self.anvil.batch(
            [
                ("anvil_setNextBlockBaseFeePerGas", block.base_fee),
                ("anvil_setCoinbase", block.miner),
                ("evm_setBlockGasLimit", block.gas_limit),
            ]
        )
        head = self.anvil.mine(block.timestamp)
        if self.anvil.rpc("eth_getBlockByNumber", hex(head.number), False)["receiptsRoot"] == block.receipts_root:
            self.equal += 1
        elif self.differs is None:
            self.differs = head.number
        return True

    def _transactions(self, block: RecordedBlock) -> Iterator[bytes]:
        for tx in block.txs:
            if bytes.fromhex(tx.sender[2:]) != self.own:
                yield bytes.fromhex(tx.raw[2:])
            elif (raw := self.held.pop(tx.hash, None)) is not None:
                yield raw
        yield from self.held.values()
        self.held.clear()

"""A node for one account with geth's pool rules, which drops, lies and reorganises on command."""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import rlp  # type: ignore[import-untyped]
from eth_hash.auto import keccak

from keeper.errors import NodeUnavailable
from keeper.model import Address, BlockRef, Call, Hash, Moment, Receipt
from keeper.units import GWEI


@dataclass
class Sent:
    accepted: bool
    error: str = ""


@dataclass
class Simulated:
    ok: bool = True
    data: bytes = b""
    gas_used: int = 0


class Trick(Enum):
    LOST_BEFORE = "the connection breaks before the node has it"
    LOST_AFTER = "the connection breaks after the node took it"
    FALSE_SUCCESS = "the node answers with a hash and forgets it"


class Tx(NamedTuple):
    hash: Hash
    nonce: int
    tip: int
    max_fee: int
    gas: int
    to: Address
    value: int


def decode(raw: bytes) -> Tx:
    _, nonce, tip, max_fee, gas, to, value, *_ = rlp.decode(raw[1:])
    number = int.from_bytes
    return Tx(keccak(raw), number(nonce), number(tip), number(max_fee), number(gas), to, number(value))


class Chain:
    """Implements ``StateReader`` and ``Executor``."""

    def __init__(self, base_fee: int = 10 * GWEI) -> None:
        self.base_fee = base_fee  # of the blocks to come
        self.blocks: list[tuple[BlockRef, list[Tx]]] = []
        self.pool: dict[int, Tx] = {}
        self.sent: list[Tx] = []  # everything that was ever sent, in order
        self.script: deque[str | Trick | None] = deque()  # for the next sends; None behaves
        self.simulated = Simulated()
        self.simulated_at: Moment | None = None  # of the last simulation
        self.simulated_gas: int | None = None
        self.funds = 10**21
        self.down = False
        self.skipped = 0  # seconds without a block
        self._salt = 0
        self._append([])

    # ── ports ──

    async def send(self, raw: bytes) -> Sent:
        tx = decode(raw)
        self.sent.append(tx)
        trick = self.script.popleft() if self.script else None
        if isinstance(trick, str):
            return Sent(False, trick)
        if trick is Trick.FALSE_SUCCESS:
            return Sent(True)
        if trick is Trick.LOST_BEFORE:
            raise NodeUnavailable("connection refused")
        answer = self._admit(tx)
        if trick is Trick.LOST_AFTER:
            raise NodeUnavailable("connection reset")
        return answer

    def _admit(self, tx: Tx) -> Sent:
        held = self.pool.get(tx.nonce)
        if held == tx:
            return Sent(False, "already known")
        if tx.nonce < len(self.mined):
            return Sent(False, f"nonce too low: next nonce {len(self.mined)}, tx nonce {tx.nonce}")
        if held and not (_beats(tx.tip, held.tip) and _beats(tx.max_fee, held.max_fee)):
            return Sent(False, "replacement transaction underpriced")
        self.pool[tx.nonce] = tx
        return Sent(True)

    async def receipt(self, tx_hash: Hash) -> Receipt | None:
        self._reachable()
        for ref, txs in self.blocks:
            for tx in txs:
                if tx.hash == tx_hash:
                    return Receipt(tx_hash, ref, True, tx.gas, min(tx.max_fee, ref.base_fee + tx.tip))
        return None

    async def receipts(self, hashes: Sequence[Hash]) -> list[Receipt | None]:
        self._reachable()
        return [await self.receipt(hash) for hash in hashes]

    async def nonce(self, address: Address) -> int:
        self._reachable()
        return len(self.mined)

    async def balance(self, address: Address) -> int:
        self._reachable()
        return self.funds

    async def call(
        self, call: Call, sender: Address, block: Hash | None, *, at: Moment | None = None, gas: int | None = None
    ) -> Simulated:
        self.simulated_at, self.simulated_gas = at, gas
        self._reachable()
        return self.simulated

    def _reachable(self) -> None:
        if self.down:
            raise NodeUnavailable("connection refused")

    # ── what happens to it ──

    @property
    def head(self) -> BlockRef:
        return self.blocks[-1][0]

    @property
    def mined(self) -> list[Tx]:
        return [tx for _, txs in self.blocks for tx in txs]

    def effects(self, target: Address) -> int:
        return sum(tx.to == target for tx in self.mined)

    def mine(self, blocks: int = 1, *, base_fee: int | None = None, skip: bool = False) -> BlockRef:
        """``skip``: a block without room for us."""
        self.base_fee = self.base_fee if base_fee is None else base_fee
        for _ in range(blocks):
            self._append([] if skip else self._take())
        return self.head

    def skip(self, seconds: int) -> None:
        """No block for a while."""
        self.skipped += seconds

    def _take(self) -> list[Tx]:
        count = len(self.mined)
        taken: list[Tx] = []
        while (tx := self.pool.get(count + len(taken))) and tx.max_fee >= self.base_fee:
            taken.append(self.pool.pop(tx.nonce))
        return taken

    def foreign(self) -> None:
        """Somebody else uses the next nonce of our account."""
        nonce = len(self.mined)
        self.pool.pop(nonce, None)
        self._append([Tx(b"\xee" * 32, nonce, 0, 0, 21_000, b"\xee" * 20, 1)])

    def undo(self, depth: int, *, keep: bool = False) -> list[Tx]:
        """Forget blocks; their transactions vanish (Anvil) or, with ``keep``, return to the pool (geth)."""
        depth = min(depth, len(self.blocks) - 1)
        gone = [tx for _, txs in self.blocks[len(self.blocks) - depth :] for tx in txs]
        del self.blocks[len(self.blocks) - depth :]
        self.pool.update({tx.nonce: tx for tx in gone if keep})
        return gone

    def _append(self, txs: list[Tx]) -> None:
        self._salt += 1
        number = len(self.blocks)
        parent = self.head.hash if self.blocks else b"\0" * 32
        hash = hashlib.sha256(parent + bytes(str(self._salt), "ascii")).digest()
        ref = BlockRef(
            number, hash, parent, 12 * number + self.skipped, self.base_fee, gas_used=15_000_000, gas_limit=30_000_000
        )
        self.blocks.append((ref, txs))


def _beats(new: int, old: int) -> bool:
    return new > old and new >= old * 110 // 100

"""The transaction pool of a real client, before Anvil's own.

Anvil 1.7.1 takes a replacement at one wei more, forgets for ever what is invalid for a moment, returns nothing to the
pool after a reorg, and checks neither what is queued nor what no client would take. Tests of fees and replacements that
run against it prove little. ``GethPool`` has geth's rules (core/txpool/legacypool, txpool/validation): a transaction
that was taken stays until its nonce is used, and is offered to Anvil again whenever ``offer`` is called.

    answer                                          when
    already known                                   the same bytes are held
    nonce too low: next nonce N, tx nonce M         its nonce is mined
    replacement transaction underpriced             tip or cap below 110 % of the held one's, rounded down, or not above
    insufficient funds for gas * price + value      balance below its worst cost and that of all others held
    intrinsic gas too low, transaction gas limit too high, max priority fee per gas higher than max fee per gas
    tx fee (…) exceeds the configured cap           cap times limit above one coin
    in-flight transaction limit reached             the sender has code, and something in flight
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keeper.testing.upstream import Json, Upstream

BUMP: Final = 110  # percent
FEE_CAP: Final = 10**18  # wei; geth's --rpc.txfeecap
GAS_CAP: Final = 2**24  # EIP-7825
DELEGATED: Final = "0xef0100"  # EIP-7702


class Refused(Exception):
    """In geth's words."""


@dataclass(frozen=True, slots=True)
class Held:
    raw: bytes
    hash: str
    sender: str
    nonce: int
    tip: int  # wei per gas
    cap: int  # wei per gas
    gas: int
    value: int  # wei
    data: bytes

    @property
    def worst(self) -> int:
        return self.gas * self.cap + self.value


class GethPool:
    """Implements ``proxy.Pool``. ``dialect`` gives the refusals other words; see ``DIALECTS``."""

    def __init__(self, dialect: Mapping[str, str] | None = None) -> None:
        self.held: dict[tuple[str, int], Held] = {}  # by sender and nonce
        self.gone: set[tuple[str, int]] = set()  # dropped on a test's order: not offered again
        self.dialect = dialect or {}
        self.room: int | None = None  # transactions that fit; None: any number

    async def send(self, node: Upstream, raw: bytes) -> Json:
        try:
            tx = decoded(raw)
            await self._check(node, tx)
        except Refused as why:
            return {"error": {"code": -32000, "message": translated(str(why), self.dialect)}}
        self.held[tx.sender, tx.nonce] = tx
        self.gone.discard((tx.sender, tx.nonce))
        await node.ask("eth_sendRawTransaction", "0x" + raw.hex())  # what Anvil makes of it does not matter
        return {"result": tx.hash}

    async def offer(self, node: Upstream) -> None:
        """Whatever is not mined, in order of nonces: what was evicted, or lost in a reorg, is back."""
        mined = dict[str, int]()
        for place in sorted(self.held.keys() - self.gone):
            sender, nonce = place
            if sender not in mined:
                mined[sender] = await _count(node, sender)
            if nonce >= mined[sender]:
                await node.ask("eth_sendRawTransaction", "0x" + self.held[place].raw.hex())

    async def drop(self, node: Upstream, sender: str, nonce: int) -> None:
        """Forget one, as when a pool is full or a node restarts."""
        self.gone.add((sender, nonce))
        await node.ask("anvil_dropTransaction", self.held[sender, nonce].hash)

    async def _check(self, node: Upstream, tx: Held) -> None:
        place = tx.sender, tx.nonce
        old = self.held.get(place) if place not in self.gone else None
        if old is not None and old.raw == tx.raw and tx.nonce >= await _count(node, tx.sender):
            raise Refused("already known")
        _valid(tx)
        mined = await _count(node, tx.sender)
        if tx.nonce < mined:
            raise Refused(f"nonce too low: next nonce {mined}, tx nonce {tx.nonce}")
        open_ = [each for at, each in self._open(tx.sender, mined) if at != place]
        await self._affordable(node, tx, open_)
        if old is not None and not outbids(tx, old):
            raise Refused("replacement transaction underpriced")
        if old is None and self.room is not None and len(self.held) >= self.room:
            raise Refused("txpool is full")
        code = await node.result("eth_getCode", tx.sender, "latest")
        if open_ and old is None and str(code).startswith(DELEGATED):
            raise Refused("in-flight transaction limit reached for delegated accounts")

    def _open(self, sender: str, mined: int) -> list[tuple[tuple[str, int], Held]]:
        live = self.held.keys() - self.gone
        return [(at, self.held[at]) for at in live if at[0] == sender and at[1] >= mined]

    async def _affordable(self, node: Upstream, tx: Held, others: list[Held]) -> None:
        balance = int(await node.result("eth_getBalance", tx.sender, "latest"), 16)
        queued = sum(each.worst for each in others)
        if balance < tx.worst + queued:
            over = tx.worst + queued - balance
            raise Refused(
                "insufficient funds for gas * price + value: "
                f"balance {balance}, queued cost {queued}, tx cost {tx.worst}, overshot {over}"
            )


def outbids(new: Held, old: Held) -> bool:
    """geth's rule: both fields above the old ones, and at least 110 % of them, rounded down."""
    enough = new.tip >= old.tip * BUMP // 100 and new.cap >= old.cap * BUMP // 100
    return enough and new.tip > old.tip and new.cap > old.cap


def _valid(tx: Held) -> None:
    intrinsic = 21_000 + sum(16 if byte else 4 for byte in tx.data)
    if tx.gas > GAS_CAP:
        raise Refused(f"transaction gas limit too high (cap: {GAS_CAP}, tx: {tx.gas})")
    if tx.gas < intrinsic:
        raise Refused(f"intrinsic gas too low: gas {tx.gas}, minimum needed {intrinsic}")
    if tx.tip > tx.cap:
        raise Refused("max priority fee per gas higher than max fee per gas")
    if tx.gas * tx.cap > FEE_CAP:
        raise Refused(f"tx fee ({tx.gas * tx.cap / 1e18:.2f} ether) exceeds the configured cap (1.00 ether)")


def decoded(raw: bytes) -> Held:
    """A signed transaction of type 2. Raises Refused."""
    from eth_account import Account
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from eth_hash.auto import keccak
    from hexbytes import HexBytes

    if not raw or raw[0] != 2:
        raise Refused("transaction type not supported")
    try:
        tx = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        sender = str(Account.recover_transaction(raw)).lower()
    except Exception as error:  # of three libraries, with no common root
        raise Refused(f"rlp: {type(error).__name__}") from error
    names = ("nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "value")
    nonce, tip, cap, gas, value = (int(tx[name]) for name in names)
    return Held(raw, "0x" + keccak(raw).hex(), sender, nonce, tip, cap, gas, value, bytes(tx["data"]))


async def _count(node: Upstream, address: str) -> int:
    return int(await node.result("eth_getTransactionCount", address, "latest"), 16)


# ─── other clients, other words (transactions.md 1.8) ─────────────────────────────────────────────

DIALECTS: Final[Mapping[str, Mapping[str, str]]] = {
    "geth": {},
    "erigon": {
        "already known": "existing txn with same hash",
        "nonce too low": "nonce too low",
        "replacement transaction underpriced": "could not replace existing tx",
        "txpool is full": "pending sub-pool is full",
        "transaction gas limit too high": "gas limit is too high",
    },
    "nethermind": {
        "already known": "AlreadyKnown",
        "nonce too low": "OldNonce",
        "replacement transaction underpriced": "ReplacementNotAllowed",
        "txpool is full": "FeeTooLowToCompete",
        "insufficient funds": "InsufficientFunds",
        "transaction gas limit too high": "GasLimitExceeded",
    },
    "besu": {
        "already known": "Known transaction",
        "nonce too low": "Nonce too low",
        "replacement transaction underpriced": "Replacement transaction underpriced",
        "insufficient funds": "Upfront cost exceeds account balance",
    },
    "reth": {"insufficient funds": "insufficient funds for gas * price + value: have 1 want 2"},
}


def translated(words: str, dialect: Mapping[str, str]) -> str:
    return next((said for start, said in dialect.items() if words.startswith(start)), words)

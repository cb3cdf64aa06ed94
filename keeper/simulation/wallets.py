"""Participants of a local world who send signed transactions of their own."""

from __future__ import annotations

from dataclasses import dataclass, field

from keeper.model import Address, Call, Hash
from keeper.simulation.deploy import actor
from keeper.simulation.node import CHAIN_ID, Anvil
from keeper.tx.keys import Key  # arrow: a participant signs as an operator does
from keeper.tx.signer import LocalSigner, local_signer  # arrow: the same

TIP = 10**9  # wei per gas
MAX_FEE = 10**12  # wei per gas; far above any base fee of a local world
GAS = 4_000_000


@dataclass
class Wallet:
    """Keeps its own nonce; nothing it sends is ever replaced."""

    name: str
    seed: int
    nonce: int = 0
    address: Address = field(init=False)
    key: bytes = field(init=False, repr=False)
    _signer: LocalSigner = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.key, self.address = actor(self.name, self.seed)
        self._signer = local_signer(Key(self.key), CHAIN_ID)

    @property
    def account(self) -> int:
        """Its account in the clearing house, sub-account 0."""
        return int.from_bytes(self.address)

    def send(self, node: Anvil, call: Call, gas: int = GAS) -> Hash:
        raw, hash_ = self._signer.sign(self.nonce, call, gas, MAX_FEE, TIP, CHAIN_ID)
        node.rpc("eth_sendRawTransaction", raw)
        self.nonce += 1
        return hash_

"""A manager on a scripted chain, that can be restarted like a process."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keeper.model import Call, Hash, Reason, TxEvent, TxIntent, TxState
from keeper.tx.budget import Budget
from keeper.tx.fees import Policy
from keeper.tx.journal import Binding, Journal
from keeper.tx.keys import Key
from keeper.tx.manager import Manager
from keeper.tx.settings import Limits, Settings
from keeper.tx.signer import LocalSigner, local_signer
from keeper.units import GWEI
from tests.unit.tx_chain import Chain

KEY = Key(b"\x46" * 32)
SIGNER = local_signer(KEY, 31337)
BINDING = Binding(31337, b"\x0a" * 32, SIGNER.address, "test")
SETTINGS = Settings(Policy(hard_cap=100 * GWEI, tip_floor=GWEI, tip_cap=5 * GWEI), confirmations=3, finality=8)
S = TxState


def target(n: int) -> bytes:
    return bytes([n]) * 20


def intent(n: int = 1, **fields: Any) -> TxIntent:
    made = TxIntent(n.to_bytes(32), Call(target(n), b"", 1), 50_000, 10**17, 10**6, f"pay {n}")
    return replace(made, **fields)


class Rig:
    """A manager on a scripted chain, that can be restarted like a process."""

    def __init__(self, path: Path, settings: Settings = SETTINGS, **parts: Any) -> None:
        """``parts``: what else the manager is given."""
        self.path = path
        self.chain = Chain()
        self.settings = settings
        self.parts = parts
        self.signed: list[int] = []
        self.journal = Journal(path, BINDING)
        self.manager = self._manager()

    def __del__(self) -> None:
        self.journal.close()

    def _manager(self) -> Manager:
        self.budget = Budget(self.settings.limits, wall=None)
        signer = local_signer(KEY, 31337, None, self.budget)
        counting = Counting(signer, self.signed)
        return Manager(self.chain, self.journal, counting, self.settings, budget=self.budget, **self.parts)

    async def restart(self, **settings: Any) -> Sequence[TxEvent]:
        self.journal.close()
        self.journal = Journal(self.path, BINDING)
        self.settings = replace(self.settings, **settings)
        self.manager = self._manager()
        return await self.manager.recover()

    async def submit(self, intent: TxIntent) -> Sequence[TxEvent]:
        return await self.manager.submit(intent, self.chain.head)

    async def see(self) -> list[tuple[TxState, Reason | None]]:
        return brief(await self.manager.on_block(self.chain.head))

    async def mine(self, blocks: int = 1, **how: Any) -> list[tuple[TxState, Reason | None]]:
        """Mine and look at each block."""
        seen = []
        for _ in range(blocks):
            self.chain.mine(**how)
            seen += await self.see()
        return seen


async def guarded(folder: Path, settings: Settings = SETTINGS, parts: Any = None, **limits: Any) -> Rig:
    """A rig with limits, and more parts, that has recovered."""
    rig = Rig(folder / "journal.db", replace(settings, limits=Limits(**limits)), **(parts or {}))
    await rig.manager.recover()
    return rig


class Counting:
    """A signer that notes the nonces it signed."""

    def __init__(self, signer: LocalSigner, signed: list[int]) -> None:
        self.address, self.chain_id = signer.address, signer.chain_id
        self._signer, self._signed = signer, signed

    def sign(self, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int) -> tuple[bytes, Hash]:
        made = self._signer.sign(nonce, call, gas, max_fee, tip, chain_id)
        self._signed.append(nonce)
        return made


def brief(events: Sequence[TxEvent]) -> list[tuple[TxState, Reason | None]]:
    return [(event.state, event.why) for event in events]


async def refused(rig: Rig, intent: TxIntent) -> TxEvent:
    before = len(rig.signed)
    [event] = await rig.submit(intent)
    assert event.state is S.ABANDONED
    assert len(rig.signed) == before
    return event

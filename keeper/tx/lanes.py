"""Several keys as one: each a lane with a journal and nonces of its own, so that one that is stuck holds up no other.

What must be one is one: an intent or a subject that one lane has, no other takes, and all lanes draw on one budget.
Housekeeping goes to the last lane as long as that has room, which leaves the others to what is urgent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from keeper.errors import Broken, RiskHalt
from keeper.model import Address, BlockRef, Reason, TxEvent, TxIntent, TxState
from keeper.ports import StateReader
from keeper.tx.manager import Manager

log = structlog.get_logger()

# The lane's own trouble, and not the intent's: another lane may take it.
BUSY: Final = frozenset(
    {Reason.RISK_TX_LIMIT, Reason.NONCE_GAP, Reason.INVENTORY_SHORT, Reason.RPC_DEGRADED, Reason.PAUSED}
)


class Lanes:
    """Implements ``ports.Transactions`` for several keys on one chain."""

    def __init__(self, managers: Sequence[Manager]) -> None:
        if not managers:
            raise Broken("no key to sign with")
        self._lanes = list(managers)  # those whose key is not halted
        self._untold: list[TxEvent] = []  # by lanes whose node did not fail when another's did

    async def recover(self) -> Sequence[TxEvent]:
        return await self._each(lambda manager: manager.recover(), [])

    async def prepare(self, intents: Sequence[TxIntent], head: BlockRef) -> None:
        """By the lane that will be asked first for what is urgent."""
        chosen = min(self._lanes, key=_busy)
        for manager in self._lanes:
            await manager.prepare(intents if manager is chosen else (), head)

    @property
    def ready(self) -> bool:
        return any(manager.ready for manager in self._lanes)

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        left = list[TxIntent]()
        for manager in self._lanes:
            free = [each for each in intents if self._known(each) is None and not self._taken(each)]
            left += await manager.hurry(free, head)
        return left

    def notice(self, head: BlockRef) -> None:
        for manager in self._lanes:
            manager.notice(head)

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        await self._each(lambda manager: manager.on_block(head), self._untold)
        told, self._untold = self._untold, []
        return told

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        """By the lane that has it signed, else by the first that has room for it, the least busy first."""
        for manager in self._lanes:
            if manager.hurried(intent):
                return await manager.submit(intent, head)
        if (known := self._known(intent)) is not None:
            return [TxEvent(intent.id, known, why=Reason.INFLIGHT_DUPLICATE)]
        if self._taken(intent):
            return [TxEvent(intent.id, TxState.ABANDONED, why=Reason.INFLIGHT_DUPLICATE, detail=intent.subject)]
        events: Sequence[TxEvent] = ()
        for manager in sorted(self._order(intent), key=lambda manager: not manager.holds(intent, head)):
            events = await manager.submit(intent, head)
            if events[-1].state is not TxState.ABANDONED or events[-1].why not in BUSY:
                break
        return events

    def _known(self, intent: TxIntent) -> TxState | None:
        """What any lane has made of it."""
        states = (manager.lane.journal.state_of(intent.id) for manager in self._lanes)
        return next((state for state in states if state is not None), None)

    def _taken(self, intent: TxIntent) -> bool:
        open = (flight for manager in self._lanes for flight in manager.lane.unmined())
        return bool(intent.subject) and any(flight.intent.subject == intent.subject for flight in open)

    def _order(self, intent: TxIntent) -> list[Manager]:
        lanes = self._lanes if intent.urgent else self._lanes[::-1]
        return sorted(lanes, key=_busy) if intent.urgent else list(lanes)

    async def _each(
        self, act: Callable[[Manager], Awaitable[Sequence[TxEvent]]], events: list[TxEvent]
    ) -> list[TxEvent]:
        """All lanes, side by side: their events behind these. A halted key leaves; the last takes the keeper with it.

        Whatever it raises, the events of the lanes that did not are among them.
        """
        lanes = list(self._lanes)
        results = await asyncio.gather(*(act(manager) for manager in lanes), return_exceptions=True)
        failed: BaseException | None = None
        for manager, result in zip(lanes, results, strict=True):
            if isinstance(result, RiskHalt) and len(self._lanes) > 1:
                log.error("tx.lane_halted", address=f"0x{manager.lane.signer.address.hex()}", why=str(result))
                self._lanes.remove(manager)
            elif isinstance(result, BaseException):
                failed = failed or result
            else:
                events += result
        if failed is not None:
            raise failed
        return events


def _busy(manager: Manager) -> int:
    return len(list(manager.lane.unmined()))


class Purse:
    """What several keys have, as if it were one: for the ledger."""

    def __init__(self, reader: StateReader, addresses: Sequence[Address]) -> None:
        self.call, self.receipt = reader.call, reader.receipt
        self._reader, self._addresses = reader, addresses

    async def nonce(self, address: Address) -> int:
        """Transactions of all keys."""
        return sum(await asyncio.gather(*map(self._reader.nonce, self._addresses)))

    async def balance(self, address: Address) -> int:
        """Wei of all keys."""
        return sum(await asyncio.gather(*map(self._reader.balance, self._addresses)))

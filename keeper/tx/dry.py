"""A dry run: what would be sent is simulated and said, and nothing is signed."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from keeper.model import Address, BlockRef, Reason, TxEvent, TxIntent, TxState
from keeper.ports import StateReader
from keeper.tx.trial import trial

log = structlog.get_logger("tx")


class DryRun:
    """Implements ``ports.Transactions`` without a key."""

    ready = False  # nothing is ever prepared

    def __init__(self, reader: StateReader, sender: Address) -> None:
        self._reader, self._sender = reader, sender

    async def recover(self) -> Sequence[TxEvent]:
        return ()

    async def prepare(self, intents: Sequence[TxIntent], head: BlockRef) -> None: ...

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        return []

    def notice(self, head: BlockRef) -> None: ...

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        return ()

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        done = await trial(self._reader, intent, self._sender, intent.at, head)
        log.info(
            "tx.would_send", purpose=intent.purpose, succeeds=done.ok, revert=done.data.hex() if not done.ok else ""
        )
        why = Reason.NOT_ARMED if done.ok else Reason.SIM_REVERTED
        return [TxEvent(intent.id, TxState.ABANDONED, why=why, detail="" if done.ok else f"0x{done.data.hex()}")]

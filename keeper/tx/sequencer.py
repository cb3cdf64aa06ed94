"""On a rollup whose sequencer was down nobody could act, and prices are old: we wait until others could defend.

A Chainlink uptime feed says whether it is up, and since when (``latestRoundData``: answer 0 is up, startedAt). No new
intent is taken while it is down, for a grace after it came up, and when the feed says nothing that can be read. What is
open goes on: that was decided before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keeper.errors import KeeperError
from keeper.model import Address, BlockRef, Call, Reason, TxEvent, TxIntent, TxState
from keeper.ports import StateReader, Transactions
from keeper.tx.lane import log

LATEST: Final = bytes.fromhex("feaf968c")  # latestRoundData() -> roundId, answer, startedAt, updatedAt, answeredInRound


class Sequenced:
    """Implements ``ports.Transactions`` in front of another."""

    def __init__(self, behind: Transactions, reader: StateReader, feed: Address, grace: int) -> None:
        """``grace``: chain seconds."""
        self.recover, self.notice, self.on_block = behind.recover, behind.notice, behind.on_block
        self.prepare = behind.prepare
        self._behind, self._reader, self._feed, self._grace = behind, reader, feed, grace
        self._asked: BlockRef | None = None
        self._why = ""

    @property
    def ready(self) -> bool:
        return self._behind.ready

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        if not intents or await self._trouble(head):
            return []
        return await self._behind.hurry(intents, head)

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        if why := await self._trouble(head):
            log.warning("tx.refused", intent=f"0x{intent.id.hex()}", why=Reason.GRACE_PERIOD, detail=why)
            return [TxEvent(intent.id, TxState.ABANDONED, why=Reason.GRACE_PERIOD, detail=why)]
        return await self._behind.submit(intent, head)

    async def _trouble(self, head: BlockRef) -> str:
        """Why nothing may begin at this head; asked once for each."""
        if self._asked != head:
            self._why = await self._look(head)
            self._asked = head
        return self._why

    async def _look(self, head: BlockRef) -> str:
        try:
            said = await self._reader.call(Call(self._feed, LATEST), bytes(20), head.hash)
        except KeeperError as error:
            return f"the sequencer's feed cannot be read: {error}"
        if not said.ok or len(said.data) < 96:
            return "the sequencer's feed says nothing"
        answer, since = (int.from_bytes(said.data[at : at + 32]) for at in (32, 64))
        if answer != 0:
            return "the sequencer is down"
        if since == 0 or head.timestamp - since < self._grace:
            return f"the sequencer came up {head.timestamp - since} s ago" if since else "its feed has no round yet"
        return ""

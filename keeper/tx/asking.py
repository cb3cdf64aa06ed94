"""What is asked of the node once for each head: all at once, as soon as the head is noticed.

A question that nobody needs an answer to may fail unheard; a failure is raised by whoever waits for the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, Self, TypeVar

from keeper.model import Address, BlockRef, Hash, Receipt

T = TypeVar("T")


class Asked(Protocol):
    """See ``lane.Node``."""

    async def nonce(self, address: Address) -> int: ...
    async def balance(self, address: Address) -> int: ...
    async def receipts(self, hashes: Sequence[Hash]) -> Sequence[Receipt | None]: ...


class Questions:
    """Those of one key at one head."""

    def __init__(
        self,
        node: Asked,
        address: Address,
        rewards: Callable[[BlockRef], Awaitable[Sequence[int]]],
        head: BlockRef,
        hashes: Collection[Hash],
    ) -> None:
        """``hashes``: whose receipts are wanted."""
        self.head, self._node, self._address, self._rewards = head, node, address, rewards
        self._nonce = _begun(node.nonce(address))  # before the receipts: they may only be newer
        self._told = dict[Hash, Receipt | None]()
        self._receipts = _begun(self._receive(list(hashes)))
        self._balance: asyncio.Future[int] | None = None
        self._tips: asyncio.Future[Sequence[int]] | None = None

    @property
    def sound(self) -> bool:
        """Whether no answer that every turn needs is known to be missing."""
        return not _failed(self._nonce) and not _failed(self._receipts)

    def early(self) -> Self:
        """Ask also for what only a new intent needs; again, where that failed."""
        self._asked_balance()
        self._asked_tips()
        return self

    def _asked_balance(self) -> asyncio.Future[int]:
        if self._balance is None or _failed(self._balance):
            self._balance = _begun(self._node.balance(self._address))
        return self._balance

    def _asked_tips(self) -> asyncio.Future[Sequence[int]]:
        if self._tips is None or _failed(self._tips):
            self._tips = _begun(self._rewards(self.head))
        return self._tips

    async def mined(self) -> int:
        """How many transactions of this key are mined."""
        return await self._nonce

    async def receipts(self, hashes: Collection[Hash]) -> Mapping[Hash, Receipt | None]:
        """Of these attempts; what was not asked for in the beginning is asked now."""
        await self._receipts
        await self._receive([hash for hash in hashes if hash not in self._told])
        return self._told

    async def balance(self) -> int:
        """Wei."""
        return await self._asked_balance()

    async def tips(self) -> Sequence[int]:
        """Paid in the blocks up to this head, wei per gas."""
        return await self._asked_tips()

    async def _receive(self, hashes: Sequence[Hash]) -> None:
        if hashes:
            self._told |= zip(hashes, await self._node.receipts(hashes), strict=True)


def _begun(question: Awaitable[T]) -> asyncio.Future[T]:
    begun = asyncio.ensure_future(question)
    begun.add_done_callback(lambda done: done.cancelled() or done.exception())  # heard, if by nobody else
    return begun


def _failed(question: asyncio.Future[T]) -> bool:
    return question.done() and (question.cancelled() or question.exception() is not None)

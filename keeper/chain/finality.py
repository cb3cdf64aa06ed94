"""What a node called final stays for ever, on a sound chain."""

from __future__ import annotations

from typing import Final, Protocol

from keeper.chain.codec import Header
from keeper.chain.rpc import RpcError
from keeper.errors import ChainLost, StaleRead
from keeper.model import BlockRef

FINAL_EVERY: Final = 32  # blocks between questions for the final block


class Asked(Protocol):
    @property
    def endpoint(self) -> str: ...

    async def header(self, at: str, /) -> Header: ...


class Finality:
    """Remembers the highest block that the node called final: on a sound chain it stays for ever."""

    def __init__(self, node: Asked) -> None:
        self._node = node
        self._top = -1  # number of the highest final block
        self._next = 0  # head at which to ask again

    async def advance(self, head: int) -> None:
        """Ask once in so many blocks. Nodes that know of no finality are believed to have none."""
        if head < self._next:
            return
        self._next = head + FINAL_EVERY
        try:
            self._top = max(self._top, (await self._node.header("finalized")).ref.number)
        except (RpcError, StaleRead):
            return

    def allow(self, to: BlockRef) -> None:
        """Raises ChainLost when the chain takes back what was final."""
        if to.number < self._top:
            raise ChainLost(
                f"{self._node.endpoint}: the chain went back to block {to.number}, and block {self._top} was final",
                help="do not go on with this chain before you know what happened to it",
            )

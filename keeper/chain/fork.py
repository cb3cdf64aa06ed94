"""A fork of a chain on a node of our own: real execution, and nothing that could reach the original.

The fork has its own chain id, so that what is signed for it is worthless upstream; the keeper is given the fork's
socket and no other endpoint; and the fork makes its own blocks, because it does not follow the original.
"""

from __future__ import annotations

from keeper.model import BlockRef
from keeper.simulation.node import Anvil  # arrow: the forked node is a node of ours


def forked(url: str, block: int | None) -> Anvil:
    """The node, not yet started. ``block`` None: the upstream's head."""
    return Anvil(fork_url=url, fork_block=block)


class Blocks:
    """Makes the fork's next block when the keeper has dealt with the last one."""

    def __init__(self, anvil: Anvil, block_time: int) -> None:
        self._anvil, self._block_time = anvil, block_time

    async def step(self, ref: BlockRef) -> bool:
        self._anvil.mine(ref.timestamp + self._block_time)
        return True

"""The blocks that the follower has shown, as far as they are known to hang together."""

from typing import Final

from keeper.model import BlockRef, Hash

DEPTH: Final = 256


class Heads:
    """Tells a canonical receipt from one that another node, or an older chain, believes in."""

    def __init__(self) -> None:
        self.top = -1  # number of the newest block; -1 before the first
        self._hashes: dict[int, Hash] = {}

    def follow(self, head: BlockRef) -> None:
        """Take a new head. What no longer hangs together with it is forgotten."""
        if self._hashes.get(head.number - 1) != head.parent:
            self._hashes.clear()
        kept = {n: hash for n, hash in self._hashes.items() if head.number - DEPTH < n < head.number}
        self._hashes = {**kept, head.number - 1: head.parent, head.number: head.hash}
        self.top = head.number

    def agree(self, block: BlockRef) -> bool:
        """Whether ``block`` is known to be canonical, or at least not known to be otherwise."""
        if self.top < 0:
            return True
        return block.number <= self.top and self._hashes.get(block.number, block.hash) == block.hash

    def holds(self, block: BlockRef) -> bool:
        """Whether ``block`` is one of the heads that hang together: what it holds need not be asked for again."""
        return self._hashes.get(block.number) == block.hash

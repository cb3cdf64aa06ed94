"""The blocks that were delivered last."""

from __future__ import annotations

from typing import Final

from keeper.model import BlockRef, Hash

RING: Final = 256  # delivered blocks that can be rolled back to; the book can undo as many


class Ring:
    """The blocks delivered last, oldest first. Far from the head they are not neighbours."""

    def __init__(self) -> None:
        self._refs: dict[Hash, BlockRef] = {}

    def __contains__(self, block: Hash) -> bool:
        return block in self._refs

    def __len__(self) -> int:
        return len(self._refs)

    def get(self, block: Hash) -> BlockRef:
        return self._refs[block]

    @property
    def tip(self) -> BlockRef:
        return next(reversed(self._refs.values()))

    @property
    def oldest(self) -> BlockRef:
        return next(iter(self._refs.values()))

    def push(self, ref: BlockRef) -> None:
        self._refs[ref.hash] = ref
        if len(self._refs) > RING:
            del self._refs[self.oldest.hash]

    def pop(self) -> None:
        self._refs.popitem()

    def back_to(self, block: Hash) -> BlockRef:
        """Forget what lies above ``block``, which must be here."""
        while self.tip.hash != block:
            self._refs.popitem()
        return self.tip

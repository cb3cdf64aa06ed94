"""What was loaded before the first block is left alone by the garbage collector."""

from __future__ import annotations

import gc
from weakref import ref

from keeper.cli.running import ALL_AFTER, Calm
from keeper.model import BlockRef, Turn

TURN = Turn(BlockRef(1, bytes(32), bytes(32), 0, 0, 0, 1), 0.0, None)


def test_once_and_not_again() -> None:
    gc.unfreeze()
    try:
        calm = Calm()
        calm.turn(TURN)
        frozen = gc.get_freeze_count()
        kept = [[n] for n in range(100)]
        calm.turn(TURN)
        assert frozen > 1_000
        assert gc.get_freeze_count() <= frozen
        assert len(kept) == 100
        assert sum(gc.get_count()[:2]) < 50, "what a turn has left is looked at when it is over"
    finally:
        gc.unfreeze()


class Round:
    """Refers to itself, so that counting references does not free it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_kept_for_long_is_let_go_in_the_end() -> None:
    gc.unfreeze()
    try:
        calm = Calm()
        calm.turn(TURN)
        kept = [Round()]
        gone = ref(kept[0])
        for turn in range(1, ALL_AFTER):
            calm.turn(TURN)
            if turn == 2:
                kept.clear()
            assert turn < ALL_AFTER - 1 or gone() is None
    finally:
        gc.unfreeze()

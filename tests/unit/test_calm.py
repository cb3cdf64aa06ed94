"""What was loaded before the first block is left alone by the garbage collector."""

from __future__ import annotations

import gc

from keeper.cli.running import Calm
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
    finally:
        gc.unfreeze()

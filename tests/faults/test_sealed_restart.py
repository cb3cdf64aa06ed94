"""kill -9 between commit and reveal (K4): another process, on the same key, opens the bids of the first."""

from __future__ import annotations

from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from keeper.protocols.options.records import SealedBid
from tests.faults.test_life_killed import DONE, run
from tests.worlds.market import Scene, crash

pytestmark = pytest.mark.chain


def mine(scene: Scene) -> dict[int, SealedBid]:
    """The keeper's sealed bids in running auctions that have a stage, by account."""
    state, own, found = scene.world.state, int.from_bytes(scene.world.desk), dict[int, SealedBid]()
    for key in state.view.keys("auction"):
        running = state.auction(key.id)
        bids = state.sealed(key.id, running.flagged_at) if running and running.flagged_at else ()
        for bid in bids if len(bids) > 1 else ():
            if bid.bidder == own:
                found[key.id] = bid
    return found


async def test_bids_are_opened_after_a_kill_between_commit_and_reveal(tmp_path: Path) -> None:
    with crash(tmp_path, 44, rivals=1) as scene:
        async with run(scene) as keeper:
            await keeper.heard("run.started")
            for _ in range(40):
                await keeper.heard(*DONE, block=scene.step().number)
                if any(e["event"] == "decision.bid" and e.get("kind") == "commit" for e in keeper.events):
                    break
            keeper.send(SIGKILL)
            assert await keeper.ended() == -SIGKILL
        scene.step()
        hidden = mine(scene)
        assert hidden and all(bid.hash and not bid.most for bid in hidden.values())
        async with run(scene) as keeper:
            await keeper.heard("run.started")
            await keeper.heard(*DONE, block=scene.node.head().number)
            scene.step()
            keeper.send(SIGTERM)
            assert await keeper.ended() == 0
        opened = mine(scene)
        assert set(opened) == set(hidden)
        assert all(not bid.hash and bid.most for bid in opened.values())

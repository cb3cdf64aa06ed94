"""A reorg in the middle of a run leaves everything as if the lost blocks had never been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keeper import bootstrap
from keeper.model import BlockRef, Effect, Outcome, Record, Turn
from keeper.settings import Settings
from keeper.units import WAD
from tests.faults.wishes import assert_once, wishes
from tests.worlds.market import CONTENT, Scene, clean, crash, known, unequal

pytestmark = pytest.mark.chain

DEPTH = 3
AWHILE, REST = 120, 60  # chain seconds in which the keeper wants something, and in which it does not


@dataclass
class Witness:
    outcomes: list[Outcome] = field(default_factory=list)
    facts: list[Record] = field(default_factory=list)
    rollbacks: int = 0

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Outcome):
            self.outcomes.append(effect)
        elif isinstance(effect, Record):
            self.facts += [effect] * (effect.event == "chain.fact")
            self.rollbacks += effect.event == "block.rolled_back"

    def turn(self, turn: Turn) -> None: ...


def replaced(scene: Scene) -> None:
    """The last blocks become others, empty, at the same heights; subscribers are told."""
    scene.node.rpc("anvil_reorg", DEPTH, [])
    scene.returned(DEPTH)


def undone(scene: Scene) -> None:
    """The last blocks are gone, nobody is told, and others follow."""
    scene.node.rpc("anvil_rollback", DEPTH)
    scene.returned(DEPTH)
    scene.step(DEPTH + 1)


@dataclass
class Story:
    """A run in which blocks are taken back, three times, after the keeper acted in them."""

    scene: Scene
    reorg: Callable[[Scene], None]
    witness: Witness = field(default_factory=Witness)
    lost: int = 0  # own transactions in blocks that were taken back
    quiet: int = 0  # blocks since the last time

    def __post_init__(self) -> None:
        self.until = self.scene.world.now + AWHILE

    def settings(self, *overrides: str) -> Settings:
        return self.scene.settings(
            "record.enabled=false",
            "strategies.dutch.use=tests.worlds.sated:Sated",
            f"strategies.dutch.options.until={self.until}",
            *CONTENT[1:],
            *overrides,
        )

    async def step(self, ref: BlockRef) -> bool:
        self.quiet += 1
        recent = self.scene.sent(ref.number - DEPTH + 1)
        if recent and self.quiet > DEPTH and self.witness.rollbacks < 3:
            self.lost, self.quiet = self.lost + len(recent), 0
            self.reorg(self.scene)
        elif self.scene.world.now < self.until + REST:
            self.scene.step()
        else:
            return False
        return True


@pytest.mark.fault("S12", "S13", "S14", "S16", "S18", "S21")
@pytest.mark.parametrize(("reorg", "confirmations"), [(replaced, 5), (undone, 5), (replaced, 1)])
async def test_lost_blocks_leave_no_trace_and_lost_transactions_are_sent_again(
    reorg: Callable[[Scene], None], confirmations: int, tmp_path: Path
) -> None:
    with crash(tmp_path, 52) as scene:
        story = Story(scene, reorg)
        settings, witness = story.settings(f"chains.local.confirmations={confirmations}"), Witness()
        async with bootstrap.keeper(settings, bootstrap.Live(), [story.witness], story.step) as keeper:
            await keeper.daemon.run()
            assert known(keeper.kernel) == await clean(settings, witness)
            assert await unequal(keeper, scene.world) == []
        done = wishes(scene, tmp_path / "state" / "local.live.db")
    assert story.witness.rollbacks == 3
    assert story.lost > 3
    assert_once(done)
    if confirmations > DEPTH:
        assert sorted(o.won for o in story.witness.outcomes) == sorted(wish.worked for wish in done)
        assert sum(o.gain for o in story.witness.outcomes) == bought(scene, witness.facts)


def bought(scene: Scene, facts: list[Record]) -> int:
    """What our purchases brought, by the events of the chain as it is now; usd, wad."""
    sales = (fact.fields for fact in facts if fact.fields["name"] == "sold")
    ours = [f for f in sales if f["bidder"] == scene.world.settings.account]
    return sum(f["equity"] * f["fraction"] // WAD - f["price"] - f["fee"] for f in ours)


async def test_a_reorg_below_the_block_at_which_it_started_leaves_the_ledger_right(tmp_path: Path) -> None:
    with crash(tmp_path, 52) as scene:
        story, stepped = Story(scene, replaced), 0

        async def step(ref: BlockRef) -> bool:
            nonlocal stepped
            stepped += 1
            (replaced(scene) if stepped == 2 else scene.step())
            return stepped < 5 or bool(keeper.kernel.inflight)

        settings = story.settings("chains.local.confirmations=1", *CONTENT[:1])
        async with bootstrap.keeper(settings, bootstrap.Live(), [story.witness], step) as keeper:
            await keeper.daemon.run()
            assert story.witness.rollbacks == 1
            assert await unequal(keeper, scene.world) == []

"""Anything may happen, in any order: sends, blocks, spikes, drops, reorgs, lies, kills. What must hold, holds."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keeper.model import TxState
from keeper.tx.budget import Budget
from keeper.tx.journal import Journal
from keeper.tx.manager import FAULT_POINTS, HELD_POINTS, Manager
from keeper.tx.settings import Limits
from keeper.tx.signer import local_signer
from keeper.tx.switch import Level, Switch
from keeper.units import GWEI
from tests.unit.tx_chain import Chain, Trick, Tx
from tests.unit.tx_rig import BINDING, KEY, SETTINGS, SIGNER, intent, target

LIES = [
    *Trick,
    "nonce too low",
    "replacement transaction underpriced",
    "transaction underpriced",
    "insufficient funds",
    "intrinsic gas too low",
    "who knows",
]


CAP = 9 * 10**15  # wei: less than two that bid the highest price, or than four that may have to be cancelled
LIMITED = replace(SETTINGS, limits=Limits(day_cost=CAP))


def _cost(tx: Tx, base_fee: int) -> int:
    return tx.gas * min(tx.max_fee, base_fee + tx.tip) + tx.value


class Killed(Exception):
    """Stands for kill -9: nothing of the process is left but the files."""


class Market(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.chain = Chain()
        self.highest = 0  # block number that was ever shown to the manager
        self.wanted = 0
        self.fuse: tuple[str, int] | None = None
        self.journal: Journal | None = None
        self.dead = False
        self.switch = Switch(Path(self.folder.name) / "switch")
        self.seen = 0  # of what was sent, when the switch was thrown
        self.restart()

    # ── what may happen ──

    @rule(patience=st.integers(0, 8), lies=st.lists(st.none() | st.sampled_from(LIES), max_size=2))
    def submit(self, patience: int, lies: list[Any]) -> None:
        if self.wanted < 20:
            self.wanted += 1
        wish = intent(self.wanted, valid_until=self.chain.head.timestamp + 12 * patience)
        self.chain.script.extend(lies)
        self.survive(lambda manager: manager.submit(wish, self.chain.head))

    @rule(
        count=st.integers(0, 3),
        follows=st.integers(0, 3),
        skip=st.booleans(),
        lies=st.lists(st.none() | st.sampled_from(LIES), max_size=2),
    )
    def expect(self, count: int, follows: int, skip: bool, lies: list[Any]) -> None:
        """So many of the next wishes are signed ahead; then a block comes, and with it some of them, or others."""
        soon = [intent(self.wanted + n, valid_until=self.chain.head.timestamp + 60) for n in range(1, count + 1)]
        self.survive(lambda manager: manager.prepare(soon, self.chain.head))
        if skip:
            self.wanted = min(20, self.wanted + 1)
        self.chain.mine()
        for _ in range(follows):
            self.submit(8, lies)

    @rule()
    def rush(self) -> None:
        """At the highest price of all, as many at once as want to: what the cap is there for."""
        self.chain.base_fee = 300 * GWEI
        self.look(1, skip=True, lies=[])
        self.chain.base_fee = 49 * GWEI
        self.look(1, skip=True, lies=[])
        for _ in range(3):
            self.submit(8, [])

    @rule(blocks=st.integers(1, 4), skip=st.booleans(), lies=st.lists(st.none() | st.sampled_from(LIES), max_size=2))
    def look(self, blocks: int, skip: bool, lies: list[Any]) -> None:
        self.chain.mine(blocks, skip=skip)
        self.chain.script.extend(lies)
        self.highest = max(self.highest, self.chain.head.number)
        self.survive(lambda manager: manager.on_block(self.chain.head))

    @rule(depth=st.integers(1, 4), keep=st.booleans())
    def reorg(self, depth: int, keep: bool) -> None:
        """Never below what was shown as final."""
        room = self.chain.head.number - max(0, self.highest - SETTINGS.finality + 2)
        if room > 0:
            self.chain.undo(min(depth, room), keep=keep)
            self.chain.mine(skip=True)

    @rule(level=st.sampled_from(Level))
    def throw_the_switch(self, level: Level) -> None:
        self.switch.set(level)
        self.seen = len(self.chain.sent)

    @rule()
    def lose_the_pool(self) -> None:
        self.chain.pool.clear()

    @rule(base_fee=st.sampled_from([1, 10, 30, 80, 300]))
    def spike(self, base_fee: int) -> None:
        self.chain.base_fee = base_fee * GWEI

    @rule(point=st.sampled_from(FAULT_POINTS + HELD_POINTS), count=st.integers(1, 3))
    def light_the_fuse(self, point: str, count: int) -> None:
        self.fuse = point, count

    @rule()
    def restart(self) -> None:
        if self.journal is not None:
            (self.journal._end if self.dead else self.journal.close)()
        self.dead = False
        self.journal = Journal(Path(self.folder.name) / "journal.db", BINDING)
        budget = Budget(LIMITED.limits, wall=None)
        signer = local_signer(KEY, 31337, None, budget)
        self.manager = Manager(
            self.chain, self.journal, signer, LIMITED, fault=self._burn, switch=self.switch, budget=budget
        )
        self.survive(lambda manager: manager.recover())

    def survive(self, act: Callable[[Manager], Awaitable[Any]]) -> None:
        async def acting() -> None:
            await act(self.manager)

        try:
            self.runner.run(acting())
        except Killed:
            self.restart()

    def _burn(self, point: str) -> None:
        if self.fuse is not None and self.fuse[0] == point:
            self.fuse = (point, self.fuse[1] - 1) if self.fuse[1] > 1 else None
            self.dead = self.fuse is None
        if self.dead:  # and nothing happens after it
            raise Killed(point)

    # ── what must hold ──

    @invariant()
    def one_nonce_serves_one_intent(self) -> None:
        pairs = {(tx.nonce, tx.to) for tx in self.chain.sent if tx.to != SIGNER.address}
        assert len(pairs) == len({nonce for nonce, _ in pairs}) == len({to for _, to in pairs})

    @invariant()
    def nothing_happens_twice(self) -> None:
        assert all(self.chain.effects(target(n)) <= 1 for n in range(1, self.wanted + 1))

    @invariant()
    def no_nonce_is_sent_before_the_one_below(self) -> None:
        nonces = {tx.nonce for tx in self.chain.sent}
        assert nonces == set(range(len(nonces)))

    @invariant()
    def the_cap_holds(self) -> None:
        """By what was sent and mined, whatever the process remembers of it."""
        paid = {tx.nonce: _cost(tx, ref.base_fee) for ref, txs in self.chain.blocks for tx in txs}
        worst = dict[int, int]()
        for tx in self.chain.sent:
            worst[tx.nonce] = max(worst.get(tx.nonce, 0), tx.gas * tx.max_fee + tx.value)
        assert sum(paid.get(nonce, most) for nonce, most in worst.items()) <= CAP

    @invariant()
    def what_is_stopped_sends_nothing(self) -> None:
        level, since = self.switch.level, self.chain.sent[self.seen :]
        assert not since or level is not Level.HALT
        assert level is not Level.DRAIN or all(tx.to == SIGNER.address for tx in since)

    def teardown(self) -> None:
        """Left alone on a calm chain, everything comes to the end that the journal tells."""
        self.fuse = None
        self.switch.set(Level.RUN)
        self.chain.script.clear()
        self.chain.base_fee = GWEI
        self.restart()
        for _ in range(12 + SETTINGS.finality + 20):
            self.look(1, skip=False, lies=[])
        assert self.journal is not None
        assert self.journal.flights() == []
        self.journal.verify()
        for n in range(1, self.wanted + 1):
            state = self.journal.state_of(intent(n).id)
            assert state in (TxState.FINALIZED, TxState.CANCELLED, None)
            assert self.chain.effects(target(n)) == (state is TxState.FINALIZED)
        self.journal.close()
        self.runner.close()
        self.folder.cleanup()


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with structlog.testing.capture_logs():
        yield


TestMarket = Market.TestCase
TestMarket.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, *((Phase.shrink,) if "KEEPER_SHRINK" in os.environ else ())),  # a failure is told at once
    report_multiple_bugs=False,
)

"""Anything may happen, in any order: sends, blocks, spikes, drops, reorgs, lies, kills. What must hold, holds."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keeper.model import TxState
from keeper.tx.journal import Journal
from keeper.tx.manager import FAULT_POINTS, Manager
from keeper.units import GWEI
from tests.unit.tx_chain import Chain, Trick
from tests.unit.tx_rig import BINDING, SETTINGS, SIGNER, intent, target

LIES = [
    *Trick,
    "nonce too low",
    "replacement transaction underpriced",
    "transaction underpriced",
    "insufficient funds",
    "intrinsic gas too low",
    "who knows",
]


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
        self.restart()

    # ── what may happen ──

    @rule(patience=st.integers(0, 8), lies=st.lists(st.none() | st.sampled_from(LIES), max_size=2))
    def submit(self, patience: int, lies: list[Any]) -> None:
        if self.wanted < 20:
            self.wanted += 1
        wish = intent(self.wanted, valid_until=self.chain.head.timestamp + 12 * patience)
        self.chain.script.extend(lies)
        self.survive(lambda manager: manager.submit(wish, self.chain.head))

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

    @rule()
    def lose_the_pool(self) -> None:
        self.chain.pool.clear()

    @rule(base_fee=st.sampled_from([1, 10, 30, 80, 300]))
    def spike(self, base_fee: int) -> None:
        self.chain.base_fee = base_fee * GWEI

    @rule(point=st.sampled_from(FAULT_POINTS), count=st.integers(1, 3))
    def light_the_fuse(self, point: str, count: int) -> None:
        self.fuse = point, count

    @rule()
    def restart(self) -> None:
        if self.journal is not None:
            self.journal.close()
        self.journal = Journal(Path(self.folder.name) / "journal.db", BINDING)
        self.manager = Manager(self.chain, self.journal, SIGNER, SETTINGS, fault=self._burn)
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
            if self.fuse is None:
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

    def teardown(self) -> None:
        """Left alone on a calm chain, everything comes to the end that the journal tells."""
        self.fuse = None
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
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)

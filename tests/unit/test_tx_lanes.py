"""Several keys on one chain: one intent, one budget, and no lane waits for another."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.errors import NodeUnavailable, RiskHalt
from keeper.model import Address, Reason, Receipt, TxEvent, TxIntent
from keeper.ports import Sent
from keeper.tx.budget import Budget
from keeper.tx.journal import Binding, Journal
from keeper.tx.keys import Key
from keeper.tx.lanes import Lanes, Purse
from keeper.tx.manager import Manager
from keeper.tx.settings import Limits
from keeper.tx.signer import local_signer
from keeper.units import GWEI
from tests.unit.tx_chain import Chain
from tests.unit.tx_rig import SETTINGS, S, intent

WORST = 50_000 * 21 * GWEI + 1


class Twin:
    """One chain with two of our accounts: a scripted chain each, mined in step."""

    def __init__(self, folder: Path, limits: Limits, **how: Any) -> None:
        self.chains = [Chain(), Chain()]
        self.budget = Budget(limits, wall=None)
        self.managers = [self._manager(folder, n, limits, how) for n in (0, 1)]
        self.lanes = Lanes(self.managers)

    def _manager(self, folder: Path, n: int, limits: Limits, how: Any) -> Manager:
        signer = local_signer(Key(bytes([n + 1]) * 32), 31337, None, self.budget)
        journal = Journal(folder / f"{n}.db", Binding(31337, bytes(32), signer.address, "test"))
        settings = replace(SETTINGS, limits=limits, **how)
        return Manager(self.chains[n], journal, signer, settings, budget=self.budget)

    async def submit(self, intent: TxIntent) -> Sequence[TxEvent]:
        return await self.lanes.submit(intent, self.chains[0].head)

    async def mine(self, blocks: int = 1, **how: Any) -> list[TxEvent]:
        events = list[TxEvent]()
        for _ in range(blocks):
            for chain in self.chains:
                chain.mine(**how)
            events += await self.lanes.on_block(self.chains[0].head)
        return events

    def mine_quietly(self) -> None:
        for chain in self.chains:
            chain.mine()

    @property
    def sent(self) -> list[int]:
        return [len(chain.sent) for chain in self.chains]

    def effects(self, n: int) -> int:
        return sum(chain.effects(intent(n).call.target) for chain in self.chains)

    def close(self) -> None:
        for manager in self.managers:
            manager.lane.journal.close()


@pytest.fixture
async def twin(tmp_path: Path) -> AsyncIterator[Twin]:
    made = Twin(tmp_path, Limits())
    await made.lanes.recover()
    yield made
    made.close()


async def test_each_takes_its_turn_with_nonces_of_its_own(twin: Twin) -> None:
    for n in (1, 2, 3, 4):
        await twin.submit(intent(n))
    assert [[tx.nonce for tx in chain.sent] for chain in twin.chains] == [[0, 1], [0, 1]]
    await twin.mine()
    assert [twin.effects(n) for n in (1, 2, 3, 4)] == [1, 1, 1, 1]


@pytest.mark.fault("T31")
async def test_an_intent_or_a_subject_is_in_one_lane_only(twin: Twin) -> None:
    await twin.submit(intent(1, subject="options account 0x1"))
    assert [event.why for event in await twin.submit(intent(1))] == [Reason.INFLIGHT_DUPLICATE]
    [no] = await twin.submit(intent(2, subject="options account 0x1"))
    assert (no.state, no.why) == (S.ABANDONED, Reason.INFLIGHT_DUPLICATE)
    assert twin.sent == [1, 0]


async def test_what_one_lane_has_sent_no_other_hurries_to_send(twin: Twin) -> None:
    await twin.submit(intent(1))
    await twin.mine()
    await twin.managers[1].prepare([intent(1)], twin.chains[1].head)
    twin.mine_quietly()
    assert twin.lanes.ready and not await twin.lanes.hurry([intent(1)], twin.chains[1].head)
    assert (twin.sent, twin.effects(1)) == ([1, 0], 1)


async def test_what_one_lane_has_to_tell_is_told_though_the_node_of_another_fails(twin: Twin) -> None:
    await twin.submit(intent(1))
    twin.chains[1].down = True
    with pytest.raises(NodeUnavailable):
        await twin.mine()
    twin.chains[1].down = False
    assert [event.state for event in await twin.mine()] == [S.INCLUDED]
    assert [event.state for event in await twin.mine()] == [S.CONFIRMED]


@pytest.mark.fault("T11", "T21")
async def test_a_lane_that_is_stuck_holds_up_no_other(twin: Twin) -> None:
    twin.chains[0].script.append("insufficient funds for gas * price + value")
    for n in (1, 2, 3):
        events = await twin.submit(intent(n))
        assert events[-1].state is S.BROADCAST
    assert twin.sent == [1, 2]


@pytest.mark.fault("T37")
async def test_housekeeping_leaves_the_first_lane_to_what_is_urgent(twin: Twin) -> None:
    for n in (1, 2, 3):
        await twin.submit(intent(n, urgent=False))
    assert twin.sent == [0, 3]
    await twin.submit(intent(4))
    assert twin.sent == [1, 3]


@pytest.mark.fault("P02")
async def test_one_budget_holds_for_all(tmp_path: Path) -> None:
    twin = Twin(tmp_path, Limits(hour_cost=3 * WORST))
    await twin.lanes.recover()
    for n in (1, 2, 3):
        assert (await twin.submit(intent(n)))[-1].state is S.BROADCAST
    [no] = await twin.submit(intent(4))
    assert no.why is Reason.RISK_DAY_LIMIT
    twin.close()


@pytest.mark.fault("T09", "K11")
async def test_a_stolen_key_leaves_and_the_others_go_on(twin: Twin) -> None:
    twin.chains[1].foreign()
    await twin.mine()
    await twin.submit(intent(1))
    await twin.submit(intent(2))
    await twin.mine()
    assert (twin.effects(1), twin.effects(2), twin.sent) == (1, 1, [2, 0])
    twin.chains[0].foreign()
    with pytest.raises(RiskHalt):
        await twin.mine()


class Counted:
    """A reader that has so many wei and transactions for each address."""

    async def nonce(self, address: Address) -> int:
        return address[0]

    async def balance(self, address: Address) -> int:
        return 10 * address[0]

    async def call(self, *_: Any, **__: Any) -> Any: ...

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        return None

    async def send(self, raw: bytes) -> Sent:
        raise NotImplementedError


async def test_the_purse_is_all_of_them() -> None:
    purse = Purse(Counted(), [b"\1" * 20, b"\2" * 20])
    assert (await purse.nonce(b""), await purse.balance(b"")) == (3, 30)

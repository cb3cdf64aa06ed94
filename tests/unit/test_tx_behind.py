"""Intents that rely on calls which are not mined yet: simulated behind them, and cancelled when those do not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keeper.model import Address, Call, Hash, Moment, Pending, Reason
from keeper.tx.fees import Fees
from keeper.tx.reading import reader
from keeper.tx.rows import Attempt, AttemptKind, Flight
from tests.unit.test_tx_switch import reverting
from tests.unit.tx_chain import Simulated
from tests.unit.tx_rig import SIGNER, Rig, S, brief, intent, target

UPDATE = Pending(b"o" * 20, b"publish")
LATER = Moment(2, 1_012, 10**9)


class Mempool:
    """What a node that can run calls behind others would say."""

    def __init__(self) -> None:
        self.works = True
        self.asked: list[tuple[Sequence[Pending], int]] = []

    async def behind(
        self, before: Sequence[Pending], call: Call, sender: Address, block: Hash, at: Moment, gas: int | None
    ) -> Simulated:
        assert gas == intent().gas_limit  # with more it may go well here and fail on chain
        self.asked.append((before, at.number))
        return Simulated(self.works, b"")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "journal.db")
    pool = Mempool()
    chain: Any = rig.chain
    chain.behind, chain.mempool = pool.behind, pool
    with closing(rig.journal):
        await rig.manager.recover()
        yield rig
    rig.journal.close()


def pool(rig: Rig) -> Mempool:
    found: Mempool = rig.chain.mempool  # type: ignore[attr-defined]
    return found


async def test_it_is_simulated_behind_the_calls_that_it_relies_on(rig: Rig) -> None:
    await rig.submit(intent(behind=(UPDATE,), at=LATER))
    assert pool(rig).asked == [((UPDATE,), LATER.number)]
    assert len(rig.chain.sent) == 1


async def test_what_would_fail_behind_them_costs_no_nonce(rig: Rig) -> None:
    pool(rig).works = False
    assert brief(await rig.submit(intent(behind=(UPDATE,), at=LATER))) == [(S.ABANDONED, Reason.SIM_REVERTED)]
    assert rig.signed == []


async def test_others_are_simulated_as_ever(rig: Rig) -> None:
    await rig.submit(intent(at=LATER))
    assert pool(rig).asked == []


async def test_as_long_as_they_may_come_it_waits(rig: Rig) -> None:
    await rig.submit(intent(behind=(UPDATE,), at=LATER))
    assert await rig.mine(1, skip=True) == []
    assert [tx.to for tx in rig.chain.pool.values()] == [target(1)]
    assert len(pool(rig).asked) == 2


async def test_when_they_do_not_come_its_nonce_goes_to_a_no_op(rig: Rig) -> None:
    await rig.submit(intent(behind=(UPDATE,), at=LATER))
    pool(rig).works = False
    assert await rig.mine(1, skip=True) == [(S.BROADCAST, Reason.NOT_INCLUDED)]
    assert [tx.to for tx in rig.chain.pool.values()] == [SIGNER.address]
    await rig.mine(4)
    assert rig.chain.effects(target(1)) == 0
    assert rig.signed == [0, 0]


async def test_one_that_relies_on_nothing_is_not_asked_about_at_every_block(rig: Rig) -> None:
    await rig.submit(intent())
    pool(rig).works = False
    await rig.mine(2, skip=True)
    assert [tx.to for tx in rig.chain.pool.values()] == [target(1)]


def flown(rig: Rig, n: int, **fields: Any) -> Flight:
    """Another flight, at the next nonce."""
    one, nonce = intent(n, **fields), rig.journal.next_nonce() or 0
    raw, hash = SIGNER.sign(nonce, one.call, one.gas_limit, 9, 1, 31337)
    attempt = Attempt(hash, one.id, nonce, AttemptKind.ACT, raw, one.gas_limit, Fees(9, 1), 1)
    return Flight(one, nonce, 1, attempts=[attempt])


async def included(rig: Rig) -> None:
    """An intent whose receipt was seen, and is not in the file yet."""
    await rig.mine()  # looks for what is old, for the next six hours
    await rig.submit(intent(1))
    rig.journal.settle()
    rig.chain.mine()
    await rig.manager.on_block(rig.chain.head)
    assert written(rig) == "broadcast"


def written(rig: Rig) -> str:
    [(state,)] = rig.journal.ask("SELECT state FROM intent")
    return str(state)


async def test_a_graceful_end_writes_what_was_noted(rig: Rig) -> None:
    await included(rig)
    rig.journal.close()
    with reader(rig.journal.path) as read:
        assert [flight.state for flight in read.ls(everything=True)] == [S.INCLUDED]


async def test_what_the_chain_said_is_found_there_again(rig: Rig) -> None:
    """Killed before it was written: the receipt is still there."""
    await included(rig)
    rig.journal._noted.clear()  # as if killed
    assert (S.INCLUDED, None) in brief(await rig.restart())


async def test_what_was_noted_is_written_soon_though_nothing_else_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    later = asyncio.Event()
    settle = rig.journal.settle
    await included(rig)

    def settling() -> None:
        settle()
        later.set()

    monkeypatch.setattr(rig.journal, "settle", settling)
    await asyncio.wait_for(later.wait(), 10)
    assert written(rig) == "included"


async def test_a_signature_does_not_wait_for_it_and_any_other_write_takes_it_along(rig: Rig) -> None:
    await included(rig)
    rig.journal.begin(flown(rig, 2))
    assert rig.journal.state_of(intent(1).id) is S.INCLUDED
    assert rig.journal.ask("SELECT state FROM intent ORDER BY rowid") == [("broadcast",), ("signed",)]
    rig.journal.remember("salt", b"x")
    assert rig.journal.ask("SELECT state FROM intent ORDER BY rowid") == [("included",), ("signed",)]


async def test_a_subject_is_free_once_its_end_was_noted(rig: Rig) -> None:
    await rig.submit(intent(1, subject="account 7"))
    rig.journal.settle()
    await rig.mine(1)
    rig.journal.begin(flown(rig, 2, subject="account 7"))
    assert rig.journal.ask("SELECT state FROM intent ORDER BY rowid") == [("included",), ("signed",)]


async def test_a_revert_is_counted_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.mine()  # looks for what is old, for the next six hours
    await rig.submit(intent(1, subject="account 7"))
    rig.chain.mine()
    reverting(rig, monkeypatch, lambda receipt: False)
    await rig.manager.on_block(rig.chain.head)
    assert rig.journal.losses()[0] == 1
    assert rig.journal.failures("account 7", -1) == 1

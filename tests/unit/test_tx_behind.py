"""Intents that rely on calls which are not mined yet: simulated behind them, and cancelled when those do not come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keeper.model import Address, Call, Hash, Moment, Pending, Reason
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


async def test_a_graceful_end_commits_what_was_to_come_soon(rig: Rig) -> None:
    with rig.journal.together(soon=True):
        rig.journal.remember("salt", b"x")
    await rig.restart()
    assert rig.journal.recall("salt") == b"x"


async def test_what_the_chain_said_is_found_there_again(rig: Rig) -> None:
    """Killed before that commit: the receipt is still there."""
    await rig.submit(intent(1))
    rig.chain.mine()
    rig.journal._open_ended = False
    await rig.manager.on_block(rig.chain.head)
    rig.journal._open_ended = False  # nothing is committed at the end: as if killed
    assert (S.INCLUDED, None) in brief(await rig.restart())


async def test_a_failure_in_what_is_written_together_leaves_none_of_it(rig: Rig) -> None:
    await rig.submit(intent(1))
    with pytest.raises(ZeroDivisionError), rig.journal.together(soon=True):
        rig.journal.remember("salt", b"x")
        raise ZeroDivisionError
    await rig.restart()
    assert rig.journal.recall("salt") is None


async def test_what_waits_for_its_commit_is_committed_with_the_next_write(rig: Rig) -> None:
    with rig.journal.together(soon=True):
        rig.journal.remember("salt", b"x")
    rig.journal.remember("pepper", b"y")
    rig.journal.settle()
    await rig.restart()
    assert (rig.journal.recall("salt"), rig.journal.recall("pepper")) == (b"x", b"y")

"""What was signed ahead: it leaves without delay when it is wanted, and never when it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.errors import Fenced, NodeUnavailable
from keeper.model import Reason, TxIntent
from keeper.tx.journal import Journal
from keeper.tx.lanes import Lanes
from keeper.tx.manager import FAULT_POINTS, HELD_POINTS
from keeper.tx.switch import Level, Switch
from keeper.units import GWEI
from tests.unit.tx_chain import Simulated, Trick
from tests.unit.tx_rig import SETTINGS, SIGNER, Rig, S, brief, guarded, intent, refused, target

SENT = [(S.SIGNED, None), (S.BROADCAST, None)]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    yield await guarded(tmp_path)


async def held(rig: Rig, *wanted: TxIntent) -> list[bytes]:
    """The hashes of what is in the journal for these, one block before they are due."""
    await rig.manager.prepare(wanted, rig.chain.head)
    rig.chain.mine()
    return in_hand(rig.journal)


def in_hand(journal: Journal) -> list[bytes]:
    return [hash for (hash,) in journal.ask("SELECT hash FROM ahead ORDER BY nonce")]


async def test_the_very_bytes_leave_with_no_question_and_no_signature_more(rig: Rig) -> None:
    [hash] = await held(rig, intent(1))
    assert (rig.chain.sent, rig.signed) == ([], [0])
    rig.chain.simulated, rig.chain.down = Simulated(ok=False), True  # asks nothing, and nobody would answer
    assert brief(await rig.submit(intent(1))) == SENT
    assert [tx.hash for tx in rig.chain.sent] == [hash]
    assert (rig.signed, in_hand(rig.journal)) == ([0], [])
    rig.chain.down = False
    assert (S.FINALIZED, None) in await rig.mine(SETTINGS.finality)
    assert rig.chain.effects(target(1)) == 1


async def test_they_are_in_the_journal_when_they_leave(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    [hash] = await held(rig, intent(1))
    seen = list[list[bytes]]()
    send = rig.chain.send

    async def sending(raw: bytes) -> object:
        seen.append(in_hand(rig.journal))
        return await send(raw)

    monkeypatch.setattr(rig.chain, "send", sending)
    await rig.submit(intent(1))
    assert seen == [[hash]]


async def test_another_intent_takes_the_nonce_and_what_was_held_never_leaves(rig: Rig) -> None:
    assert len(await held(rig, intent(1), intent(2))) == 2
    await rig.submit(intent(3))
    assert in_hand(rig.journal) == []
    await rig.submit(intent(1))
    assert [(tx.nonce, tx.to) for tx in rig.chain.sent] == [(0, target(3)), (1, target(1))]
    assert rig.signed == [0, 1, 0, 1]


async def test_several_leave_in_their_order_and_each_is_held_until_it_does(rig: Rig) -> None:
    hashes = await held(rig, intent(1), intent(2), intent(3))
    await rig.submit(intent(1))
    assert in_hand(rig.journal) == hashes[1:]
    await rig.submit(intent(2))
    assert [tx.hash for tx in rig.chain.sent] == hashes[:2]
    await rig.submit(intent(4))  # not the third: it would be the same nonce
    assert [(tx.nonce, tx.to) for tx in rig.chain.sent][2:] == [(2, target(4))]
    assert in_hand(rig.journal) == []


@pytest.mark.parametrize(
    "other",
    [
        intent(1, gas_limit=60_000),
        intent(1, call=replace(intent(1).call, data=b"more")),
        intent(1, budget=50_000 * 20 * GWEI),  # less than the bid that was signed
    ],
)
async def test_what_differs_is_signed_anew(rig: Rig, other: TxIntent) -> None:
    [hash] = await held(rig, intent(1))
    await rig.submit(other)
    [tx] = rig.chain.sent
    assert tx.hash != hash
    assert in_hand(rig.journal) == []


async def test_nor_does_it_leave_for_a_price_that_would_not_get_in(rig: Rig) -> None:
    [hash] = await held(rig, intent(1))
    await rig.mine(base_fee=21 * GWEI)
    await rig.submit(intent(1))
    assert rig.chain.sent[0].hash != hash and rig.chain.sent[0].max_fee > 21 * GWEI


async def test_what_is_still_expected_is_not_signed_again(rig: Rig) -> None:
    before = await held(rig, intent(1), intent(2))
    later = [intent(n, id=bytes([n + 8]) * 32, valid_until=10**7) for n in (1, 2)]  # the same bytes, decided later
    assert await held(rig, *later) == before
    assert rig.signed == [0, 1]
    assert await held(rig, intent(2), intent(1)) != before


async def test_what_is_expected_no_longer_is_let_go_and_costs_nothing(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, day_cost=50_000 * 22 * GWEI)  # room for one
    await held(rig, intent(1))
    assert rig.budget.spent(60) > 0
    await rig.manager.prepare([], rig.chain.head)
    assert (in_hand(rig.journal), rig.budget.spent(60)) == ([], 0)
    assert brief(await rig.submit(intent(2))) == SENT


@pytest.mark.fault("P02")
async def test_nothing_leaves_that_the_caps_do_not_hold_any_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails while others are signed in its place."""
    await held(rig, intent(1))

    def fails(*_: object) -> None:
        raise Fenced("the store does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(rig.manager.lane, "may_sign", fails)
        with pytest.raises(Fenced):
            await rig.manager.prepare([intent(2)], rig.chain.head)
    assert rig.budget.spent(60) == 0
    [before] = in_hand(rig.journal)
    await rig.submit(intent(1))
    assert rig.chain.sent[0].hash == before and rig.signed == [0, 0]  # the same bytes, asked for and counted anew
    assert (rig.budget.spent(60) > 0, in_hand(rig.journal)) == (True, [])


@pytest.mark.fault("P02")
async def test_what_is_held_counts_against_the_caps(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, day_cost=50_000 * 22 * GWEI)
    assert len(await held(rig, intent(1), intent(2))) == 1
    await rig.submit(intent(1))
    assert (await refused(rig, intent(2))).why is Reason.RISK_DAY_LIMIT


async def test_half_of_the_signatures_of_a_minute_are_for_what_is_sent(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, signatures=4)
    for n in range(1, 5):
        await held(rig, intent(n))
    assert rig.signed == [0, 0]


@pytest.mark.fault("X01")
@pytest.mark.parametrize("level", [Level.PAUSE, Level.DRAIN, Level.HALT])
async def test_a_switch_thrown_in_between_holds_it_back(tmp_path: Path, level: Level) -> None:
    switch = Switch(tmp_path / "switch")
    rig = await guarded(tmp_path, parts={"switch": switch})
    await held(rig, intent(1))
    switch.set(level)
    assert (await refused(rig, intent(1))).why is Reason.PAUSED
    await rig.manager.prepare([intent(1)], rig.chain.head)
    assert (rig.chain.sent, in_hand(rig.journal)) == ([], [])


async def test_an_intent_that_has_ended_or_may_not_begin_is_not_signed_again(rig: Rig) -> None:
    await rig.submit(intent(1, subject="account 7"))
    await rig.manager.prepare([intent(1), intent(2, subject="account 7"), intent(3), intent(3)], rig.chain.head)
    assert [line[0] for line in rig.journal.ask("SELECT nonce FROM ahead")] == [1]
    assert rig.signed == [0, 1]


class Shared:
    """A fence: other hosts may use this key."""

    epoch = 0

    def check(self) -> None: ...

    async def commit(self, line: bytes) -> None: ...

    async def lines(self) -> list[bytes]:
        return []


@pytest.mark.fault("C28")
async def test_a_key_that_other_hosts_have_signs_nothing_ahead(tmp_path: Path) -> None:
    """They could not know that it never left."""
    rig = await guarded(tmp_path, parts={"fence": Shared()})
    assert await held(rig, intent(1)) == []
    assert rig.signed == []


async def test_the_lane_that_has_it_signed_sends_it(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    lanes = Lanes([rig.manager])
    await lanes.prepare([intent(1)], rig.chain.head)
    [hash] = in_hand(rig.journal)
    await lanes.submit(intent(1), rig.chain.head)
    assert rig.chain.sent[0].hash == hash


# ─── in a hurry: before its block is read ──────────────────────────────────────────────────────────


async def test_what_is_held_leaves_at_a_glance_and_is_told_when_it_is_submitted(rig: Rig) -> None:
    [hash] = await held(rig, intent(1))
    assert rig.manager.ready
    assert await rig.manager.hurry([intent(1)], rig.chain.head)
    assert [tx.hash for tx in rig.chain.sent] == [hash]
    assert brief(await rig.submit(intent(1))) == SENT
    assert len(rig.chain.sent) == 1
    assert not rig.manager.ready
    assert (S.FINALIZED, None) in await rig.mine(SETTINGS.finality)
    assert rig.chain.effects(target(1)) == 1


async def test_what_is_not_held_does_not(rig: Rig) -> None:
    await held(rig, intent(1))
    assert not await rig.manager.hurry([intent(2)], rig.chain.head)
    assert not await rig.manager.hurry([], rig.chain.head)
    assert rig.chain.sent == []
    assert brief(await rig.submit(intent(1))) == SENT


async def test_what_is_not_submitted_then_is_told_with_its_block(rig: Rig) -> None:
    await held(rig, intent(1))
    await rig.manager.hurry([intent(1)], rig.chain.head)
    assert await rig.see() == SENT
    assert (S.INCLUDED, None) in await rig.mine()
    assert brief(await rig.submit(intent(1))) == [(S.INCLUDED, Reason.INFLIGHT_DUPLICATE)]
    assert rig.chain.effects(target(1)) == 1


async def test_a_second_glance_at_the_same_head_sends_nothing_again(rig: Rig) -> None:
    await held(rig, intent(1), intent(2))
    left = [await rig.manager.hurry([intent(1)], rig.chain.head) for _ in range(2)]
    assert left == [[intent(1)], []]
    assert len(rig.chain.sent) == 1


async def test_what_left_in_a_hurry_is_told_though_the_node_fails_at_its_block(rig: Rig) -> None:
    await held(rig, intent(1))
    await rig.manager.hurry([intent(1)], rig.chain.head)
    rig.chain.down = True
    with pytest.raises(NodeUnavailable):
        await rig.see()
    rig.chain.down = False
    assert await rig.mine() == [*SENT, (S.INCLUDED, None)]
    assert await rig.see() == []


@pytest.mark.parametrize("level", [Level.PAUSE, Level.DRAIN, Level.HALT])
async def test_a_switch_thrown_in_between_holds_it_back_at_a_glance_too(tmp_path: Path, level: Level) -> None:
    switch = Switch(tmp_path / "switch")
    rig = await guarded(tmp_path, parts={"switch": switch})
    await held(rig, intent(1))
    switch.set(level)
    assert not await rig.manager.hurry([intent(1)], rig.chain.head)
    assert rig.chain.sent == []
    assert [why for _, why in brief(await rig.submit(intent(1)))] == [Reason.PAUSED]


async def test_of_several_lanes_the_one_that_has_it_hurries_and_tells(tmp_path: Path) -> None:
    rig = await guarded(tmp_path)
    lanes = Lanes([rig.manager])
    await lanes.prepare([intent(1)], rig.chain.head)
    assert lanes.ready and await lanes.hurry([intent(1)], rig.chain.head)
    assert brief(await lanes.submit(intent(1), rig.chain.head)) == SENT
    assert len(rig.chain.sent) == 1


# ─── what an end leaves ───────────────────────────────────────────────────────────────────────────


async def test_a_graceful_end_lets_go_of_it(rig: Rig) -> None:
    await held(rig, intent(1))
    assert await rig.restart() == []
    assert (in_hand(rig.journal), rig.journal.next_nonce()) == ([], 0)


def killed(rig: Rig) -> None:
    """As kill -9 does: nothing is tidied up."""
    rig.journal._end()


@pytest.mark.fault("C05")
async def test_after_a_kill_the_first_is_cancelled_since_it_may_be_out_there(rig: Rig) -> None:
    await held(rig, intent(1), intent(2))
    killed(rig)
    assert brief(await rig.restart()) == [(S.BROADCAST, None)]
    await rig.mine()
    assert [(tx.nonce, tx.to) for tx in rig.chain.pool.values()] == [(0, SIGNER.address)]
    await rig.mine(SETTINGS.finality)
    assert rig.chain.effects(target(1)) == rig.chain.effects(target(2)) == 0
    assert (rig.journal.state_of(intent(1).id), rig.journal.state_of(intent(2).id)) == (S.CANCELLED, None)


class Dead(Exception):
    """Stands for kill -9."""


def bomb(point: str, count: int) -> Callable[[str], None]:
    left = count

    def fault(reached: str) -> None:
        nonlocal left
        left -= reached == point
        if left <= 0:  # and nothing happens after it
            raise Dead(point)

    return fault


@pytest.mark.fault("C05")
@pytest.mark.parametrize("trick", [None, Trick.LOST_AFTER, Trick.LOST_BEFORE])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", [*FAULT_POINTS, *HELD_POINTS])
@pytest.mark.parametrize("hurried", [False, True])
async def test_killed_at_any_point_it_happens_once_or_is_cancelled(
    tmp_path: Path, point: str, count: int, trick: Trick | None, hurried: bool
) -> None:
    rig = await guarded(tmp_path, parts={"fault": bomb(point, count)})
    rig.chain.script.append(trick)
    try:
        await held(rig, intent(1), intent(2))
        for n in (1, 2):
            if hurried:
                await rig.manager.hurry([intent(n)], rig.chain.head)
            await rig.submit(intent(n))
            await rig.mine(2 - n)
        await rig.mine(SETTINGS.finality)
    except Dead:
        killed(rig)
    rig.parts = {}
    await rig.restart()
    await rig.mine(SETTINGS.finality + 6)
    for n in (1, 2):
        state = rig.journal.state_of(intent(n).id)
        assert state in (S.FINALIZED, S.CANCELLED, None)
        assert rig.chain.effects(target(n)) == (state is S.FINALIZED)
    assert rig.journal.flights() == []
    assert [tx.nonce for tx in rig.chain.mined] == list(range(rig.journal.next_nonce() or 0))


async def test_cut_off_while_it_leaves_it_has_begun(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graceful end that does not wait for the node's answer."""
    await held(rig, intent(1))

    async def cut(raw: bytes) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(rig.chain, "send", cut)
    with pytest.raises(KeyboardInterrupt):
        await rig.submit(intent(1))
    assert rig.journal.state_of(intent(1).id) is S.SIGNED

"""The kill switch, the breaker and the quarantine: what stops a keeper, before each signature and each send."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.errors import Fenced, Misconfigured
from keeper.model import Reason, Receipt
from keeper.tx.manager import FAULT_POINTS
from keeper.tx.rows import of_line
from keeper.tx.switch import Level, Switch
from keeper.units import GWEI
from tests.unit.tx_rig import SIGNER, Rig, S, guarded, intent, refused
from tests.unit.tx_terms import Terms

# ─── the file ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path / "switch")


@pytest.mark.fault("X01")
def test_it_stays_where_it_was_put(switch: Switch, tmp_path: Path) -> None:
    assert switch.read() == (Level.RUN, "")
    for level in Level:
        switch.set(level, "because of\nan audit")
        assert Switch(tmp_path / "switch").read() == (level, "because of an audit")
    assert [file.name for file in tmp_path.iterdir()] == ["switch"]


def put(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


@pytest.mark.fault("X02")
@pytest.mark.parametrize("broken", [put(b""), put(b"runs"), put(b"\xff\xfe"), put(b"0"), Path.mkdir])
def test_what_is_unclear_halts(switch: Switch, tmp_path: Path, broken: Callable[[Path], object]) -> None:
    broken(tmp_path / "switch")
    assert switch.level is Level.HALT


def test_a_world_that_is_thrown_away_has_none() -> None:
    assert (Switch().level, Switch().movable) == (Level.RUN, False)
    with pytest.raises(Misconfigured):
        Switch().set(Level.HALT)


# ─── what it stops ────────────────────────────────────────────────────────────────────────────────


async def armed(folder: Path, **parts: Any) -> tuple[Rig, Switch]:
    switch = Switch(folder / "switch")
    return await guarded(folder, parts={"switch": switch, **parts}), switch


@pytest.mark.fault("X01", "P03")
@pytest.mark.parametrize("level", [Level.PAUSE, Level.DRAIN, Level.HALT])
async def test_nothing_new_begins_and_a_restart_changes_nothing(tmp_path: Path, level: Level) -> None:
    rig, switch = await armed(tmp_path)
    switch.set(level, "an audit")
    for _ in range(2):
        no = await refused(rig, intent())
        assert (no.why, no.detail) == (Reason.PAUSED, "an audit")
        await rig.restart()
    switch.set(Level.RUN)
    assert [event.state for event in await rig.submit(intent())] == [S.SIGNED, S.BROADCAST]


@pytest.mark.fault("X01")
async def test_paused_what_is_out_there_goes_on(tmp_path: Path) -> None:
    rig, switch = await armed(tmp_path)
    await rig.submit(intent())
    switch.set(Level.PAUSE)
    await rig.mine(4, skip=True)
    assert len(rig.signed) == 2  # it bids more
    await rig.mine(3)
    assert rig.chain.effects(intent().call.target) == 1


@pytest.mark.fault("X01")
async def test_draining_cancels_what_is_open(tmp_path: Path) -> None:
    rig, switch = await armed(tmp_path)
    await rig.submit(intent())
    switch.set(Level.DRAIN)
    await rig.mine(2, skip=True)
    assert [tx.to for tx in rig.chain.sent] == [intent().call.target, SIGNER.address, SIGNER.address]
    assert (S.CANCELLED, Reason.NOT_INCLUDED) in await rig.mine(4)
    assert rig.chain.effects(intent().call.target) == 0


@pytest.mark.fault("X01")
async def test_draining_never_sends_what_acts(tmp_path: Path) -> None:
    rig, switch = await armed(tmp_path)
    await rig.submit(intent())
    switch.set(Level.DRAIN)
    rig.chain.pool.clear()
    rig.manager.lane.settings = replace(rig.settings, fees=replace(rig.settings.fees, hard_cap=20 * GWEI, tip_cap=GWEI))
    sent = len(rig.chain.sent)
    await rig.mine(3, skip=True)
    assert [tx.to for tx in rig.chain.sent[sent:] if tx.to != SIGNER.address] == []


@pytest.mark.fault("X01")
async def test_halted_nothing_is_signed_or_sent_but_receipts_are_seen(tmp_path: Path) -> None:
    rig, switch = await armed(tmp_path)
    await rig.submit(intent(valid_until=0 + 12 * 3))
    switch.set(Level.HALT)
    sent = len(rig.chain.sent)
    await rig.mine(6, skip=True)
    assert (len(rig.signed), len(rig.chain.sent)) == (1, sent)
    assert await rig.mine() == [(S.INCLUDED, None)]


@pytest.mark.fault("X01", "X02")
@pytest.mark.parametrize("level", [Level.DRAIN, Level.HALT])
@pytest.mark.parametrize("point", FAULT_POINTS)
async def test_thrown_at_any_point_it_holds_from_the_next_sign_or_send(
    tmp_path: Path, point: str, level: Level
) -> None:
    """Thrown after the check before a signature, the bytes stay in the journal; they do not leave."""
    rig, switch = await armed(tmp_path)
    lane, thrown = rig.manager.lane, list[tuple[int, int]]()

    def throw(reached: str) -> None:
        if reached == point and not thrown:
            thrown.append((len(rig.signed), len(rig.chain.sent)))
            switch.set(level)

    lane.fault = throw
    await rig.submit(intent())
    await rig.mine(2, skip=True)
    [(signed, sent)] = thrown
    assert len(rig.signed) == signed if level is Level.HALT else rig.signed == [0] * len(rig.signed)
    assert [tx for tx in rig.chain.sent[sent:] if tx.to != SIGNER.address] == []
    if point == "before_sign":
        assert rig.journal.next_nonce() == 0 or rig.journal.next_nonce() is None
    else:
        assert rig.journal.next_nonce() == 1


# ─── losses ───────────────────────────────────────────────────────────────────────────────────────


def reverting(rig: Rig, monkeypatch: pytest.MonkeyPatch, ok: Callable[[Receipt], bool]) -> None:
    """From now on the chain executes what we send, and ``ok`` says how that ends."""
    whole = rig.chain.receipt

    async def receipt(tx_hash: bytes) -> Receipt | None:
        found = await whole(tx_hash)
        return None if found is None else replace(found, ok=ok(found))

    monkeypatch.setattr(rig.chain, "receipt", receipt)


@pytest.mark.fault("P03", "T24", "T25")
async def test_reverts_in_a_row_pause_the_keeper_until_a_person_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = Switch(tmp_path / "switch")
    rig = await guarded(tmp_path, parts={"switch": switch}, reverts=3)
    reverting(rig, monkeypatch, lambda receipt: False)
    for n in (1, 2, 3):
        await rig.submit(intent(n))
        await rig.mine()
    await rig.restart()  # which does not count anew
    await rig.see()
    assert (await refused(rig, intent(4))).why is Reason.LOSS_LIMIT
    level, reason = switch.read()
    assert (level, reason) == (Level.PAUSE, f"loss breaker: 3 reverts in a row cost {3 * 50_000 * 11 * GWEI} wei")
    assert (await refused(rig, intent(4))).why is Reason.PAUSED
    switch.set(Level.RUN)
    assert [event.state for event in await rig.submit(intent(4))] == [S.SIGNED, S.BROADCAST]


@pytest.mark.fault("P03")
async def test_the_wei_that_reverts_cost_trip_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await guarded(tmp_path, lost=50_000 * 11 * GWEI)
    reverting(rig, monkeypatch, lambda receipt: False)
    await rig.submit(intent(1))
    await rig.mine()
    assert (await refused(rig, intent(2))).why is Reason.LOSS_LIMIT


@pytest.mark.fault("P03")
async def test_a_success_ends_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await guarded(tmp_path, reverts=2)
    reverting(rig, monkeypatch, lambda receipt: receipt.block.number % 2 == 0)
    for n in range(1, 6):
        await rig.submit(intent(n))
        await rig.mine()
    assert rig.journal.state_of(intent(5).id) is S.INCLUDED


@pytest.mark.fault("P03", "S17")
async def test_a_revert_that_a_reorg_heals_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await guarded(tmp_path, reverts=1)
    reverting(rig, monkeypatch, lambda receipt: receipt.block.number == 1)
    rig.chain.mine(skip=True)
    await rig.submit(intent(1))
    await rig.mine()
    assert (await refused(rig, intent(2))).why is Reason.LOSS_LIMIT
    rig.chain.undo(2, keep=True)
    rig.chain.mine()
    await rig.see()
    await rig.mine(skip=True)
    assert [event.state for event in await rig.submit(intent(2))] == [S.SIGNED, S.BROADCAST]


@pytest.mark.fault("T24", "A19")
async def test_a_subject_that_fails_again_and_again_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await guarded(tmp_path, retries=2, quarantine=100)
    reverting(rig, monkeypatch, lambda receipt: False)
    for n in (1, 2):
        await rig.submit(intent(n, subject="options account 0x1"))
        await rig.mine()
    await rig.restart()
    await rig.see()
    no = await refused(rig, intent(3, subject="options account 0x1"))
    assert (no.why, "failed 2 times in 100 s" in no.detail) == (Reason.COOLDOWN, True)
    assert (await rig.submit(intent(4, subject="options account 0x2")))[0].state is S.SIGNED
    await rig.mine(9)
    assert (await rig.submit(intent(3, subject="options account 0x1")))[0].state is S.SIGNED


# ─── another host ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("C28", "C29", "C32")
async def test_a_leader_that_slept_signs_and_sends_nothing(tmp_path: Path) -> None:
    side = Terms().side(1)
    rig = await guarded(tmp_path, parts={"fence": side})
    await rig.submit(intent(1))
    side.fresh = False
    sent = len(rig.chain.sent)
    assert (await refused(rig, intent(2))).why is Reason.PAUSED
    await rig.mine(5, skip=True)
    assert (len(rig.signed), len(rig.chain.sent)) == (1, sent)
    assert (await rig.mine())[0] == (S.INCLUDED, None)  # it still watches


@pytest.mark.fault("C28", "C32")
async def test_a_leader_that_does_not_know_of_a_new_term_cannot_commit_and_does_not_send(tmp_path: Path) -> None:
    terms = Terms()
    rig = await guarded(tmp_path, parts={"fence": terms.side(1)})
    terms.term = 2
    with pytest.raises(Fenced):
        await rig.submit(intent(1))
    assert (rig.chain.sent, rig.journal.next_nonce(), terms.written) == ([], 0, [])


@pytest.mark.fault("C28")
async def test_a_term_that_ends_between_commit_and_send_lets_nothing_leave(tmp_path: Path) -> None:
    side = Terms().side(1)
    rig = await guarded(tmp_path, parts={"fence": side})

    def sleep(point: str) -> None:
        if point == "before_send":
            side.fresh = False

    rig.manager.lane.fault = sleep
    assert [event.state for event in await rig.submit(intent(1))] == [S.SIGNED]
    assert (rig.chain.sent, len(side.terms.written), rig.journal.next_nonce()) == ([], 1, 1)
    await rig.mine(3)
    assert rig.chain.sent == []


@pytest.mark.fault("C28", "C30")
async def test_a_term_that_began_anew_while_a_signer_took_its_time_is_not_taken_for_the_old_one(
    tmp_path: Path,
) -> None:
    """Between two terms of ours lies one of somebody else, who may have used this very nonce."""
    terms = Terms()
    side = terms.side(1)
    rig = await guarded(tmp_path, parts={"fence": side})
    signer = rig.manager.lane.signer

    class Slow:
        address, chain_id = signer.address, signer.chain_id

        async def sign(self, *arguments: Any) -> Any:
            terms.term = side.epoch = 3
            return signer.sign(*arguments)

    rig.manager.lane.signer = Slow()
    with pytest.raises(Fenced, match="epoch 3 has begun"):
        await rig.submit(intent(1))
    assert (rig.chain.sent, terms.written, rig.journal.next_nonce()) == ([], [], 0)


@pytest.mark.fault("C27", "C30", "C31")
async def test_a_former_leader_does_not_take_its_successor_for_a_thief(tmp_path: Path) -> None:
    """The successor raised the bid, and we do not know those bytes: no reason to halt the key."""
    terms = Terms()
    side = terms.side(1)
    rig = await guarded(tmp_path, parts={"fence": side})
    await rig.submit(intent(1))
    side.fresh, terms.term = False, 2
    (tmp_path / "other").mkdir()
    other = await guarded(tmp_path / "other", parts={"fence": terms.side(2)})
    other.chain = other.manager.lane.node = rig.chain
    await other.mine(5, skip=True)
    assert len(other.signed) == 1
    await other.mine()
    await rig.see()
    for _ in range(6):
        await rig.mine(skip=True)
    assert (rig.journal.halted(), rig.chain.effects(intent(1).call.target)) == ("", 1)
    terms.term, rig.manager.lane.fence = 3, terms.side(3)
    assert (await rig.mine())[0] == (S.INCLUDED, None)


@pytest.mark.fault("C27", "C31", "C33")
async def test_a_successor_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    terms = Terms()
    first = await guarded(tmp_path, parts={"fence": terms.side(1)})
    await first.submit(intent(1))
    await first.submit(intent(2))
    first.chain.pool.clear()
    terms.term = 2
    (tmp_path / "other").mkdir()
    second = await guarded(tmp_path / "other", parts={"fence": terms.side(2)})
    second.chain = second.manager.lane.node = first.chain
    await second.mine(skip=True)
    assert second.signed == []
    assert first.chain.sent[:2] == first.chain.sent[2:]
    assert [event.why for event in await second.submit(intent(1))] == [Reason.INFLIGHT_DUPLICATE]
    await second.submit(intent(3))
    await second.mine(2)
    assert [first.chain.effects(intent(n).call.target) for n in (1, 2, 3)] == [1, 1, 1]
    assert [of_line(line).last.epoch for line in terms.written] == [1, 1, 2]


@pytest.mark.fault("C30", "C31")
async def test_a_key_that_comes_back_learns_what_others_signed_meanwhile(tmp_path: Path) -> None:
    terms = Terms()
    rig = await guarded(tmp_path, parts={"fence": terms.side(1)})
    await rig.submit(intent(1, subject="options account 0x1"))
    (tmp_path / "other").mkdir()
    terms.term = 2
    rig.manager.lane.fence.fresh = False  # type: ignore[attr-defined]
    other = await guarded(tmp_path / "other", parts={"fence": terms.side(2)})
    other.chain = other.manager.lane.node = rig.chain
    await other.mine()
    await other.submit(intent(2, subject="options account 0x1"))
    terms.term, rig.manager.lane.fence = 3, terms.side(3)
    assert (await refused(rig, intent(3))).why is Reason.PAUSED  # until a block has brought it up to date
    await rig.mine()
    assert [event.why for event in await rig.submit(intent(2))] == [Reason.INFLIGHT_DUPLICATE]
    await rig.submit(intent(4))
    await rig.mine()
    assert [tx.nonce for tx in rig.chain.mined] == [0, 1, 2]
    assert rig.journal.halted() == ""


@pytest.mark.fault("C33")
async def test_the_journal_refuses_an_earlier_term(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, parts={"fence": Terms().side(5)})
    rig.manager.lane.fence.terms.term = 5  # type: ignore[attr-defined]
    await rig.submit(intent(1))
    rig.manager.lane.fence.terms.term = 4  # type: ignore[attr-defined]
    rig.manager.lane.fence.epoch = 4  # type: ignore[misc]
    rig.manager.lane.term = 4
    with pytest.raises(Exception, match="signed in a later term"):
        await rig.submit(intent(2))
    assert len(rig.chain.sent) == 1

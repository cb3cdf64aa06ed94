"""Strangers with our key, restarts, and a journal that cannot be written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.errors import Broken, Misconfigured, NodeUnavailable, RiskHalt
from keeper.model import BlockRef, Call, Hash, Reason
from keeper.tx.fees import Policy
from keeper.tx.journal import Journal
from keeper.tx.manager import Manager
from keeper.units import GWEI
from tests.unit.tx_chain import Chain
from tests.unit.tx_rig import BINDING, SETTINGS, SIGNER, Rig, S, brief, intent, refused, target


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "journal.db")
    with closing(rig.journal):
        await rig.manager.recover()
        yield rig
    rig.journal.close()


# ─── somebody else has the key ────────────────────────────────────────────────────────────────────


@pytest.mark.fault("T09", "K11")
async def test_an_open_nonce_used_by_a_stranger_ends_the_intent_and_halts_the_key(rig: Rig) -> None:
    await rig.submit(intent(1))
    rig.chain.foreign()
    assert await rig.see() == []
    assert (await refused(rig, intent(2))).why is Reason.NONCE_GAP
    assert await rig.mine(3) == [(S.REPLACED, Reason.REPLACED)]
    for attempt in (rig.submit(intent(2)), rig.see(), rig.restart()):
        with pytest.raises(RiskHalt, match="nonce 0 was used by a transaction that is not in the journal"):
            await attempt
    assert rig.signed == [0]


@pytest.mark.fault("T35")
async def test_a_receipt_that_is_only_late_is_not_a_stranger(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.submit(intent())

    async def none(self: Chain, tx_hash: Hash) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "receipt", none)
        assert await rig.mine(3) == []
    assert await rig.mine() == [(S.INCLUDED, None), (S.CONFIRMED, None)]
    assert len(await rig.submit(intent(2))) == 2


@pytest.mark.fault("T10", "R18", "K11", "C21")
async def test_a_nonce_beyond_the_journal_stops_everything(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.mine()
    rig.chain.foreign()
    for attempt in (rig.submit(intent(2)), rig.see(), rig.restart()):
        with pytest.raises(RiskHalt, match="has 2 transactions of this key, the journal knows of 1"):
            await attempt


@pytest.mark.fault("T09")
async def test_a_halt_stops_the_higher_nonces_in_the_same_turn(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.submit(intent(2, valid_until=rig.chain.head.timestamp + 36))
    rig.chain.foreign()
    await rig.see()
    assert await rig.mine(3, skip=True) == [(S.REPLACED, Reason.REPLACED)]
    assert rig.signed == [0, 1]


@pytest.mark.fault("T10", "K11")
async def test_a_stranger_before_our_first_transaction_is_noticed(rig: Rig) -> None:
    rig.chain.foreign()
    with pytest.raises(RiskHalt):
        await rig.submit(intent())


@pytest.mark.fault("T09")
async def test_a_stranger_that_a_reorg_took_back_is_forgotten(rig: Rig) -> None:
    await rig.submit(intent())
    rig.chain.foreign()
    await rig.see()
    rig.chain.undo(1)
    await rig.mine(5, skip=True)
    rig.chain.foreign()
    assert await rig.see() == []


async def test_a_person_may_adopt_what_the_stranger_did(rig: Rig) -> None:
    await rig.submit(intent(1))
    rig.chain.foreign()
    await rig.mine(4)
    rig.journal.adopt(1)
    await rig.restart()
    assert len(await rig.submit(intent(2))) == 2
    assert rig.signed == [0, 1]


# ─── starting again ───────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_sent_before_recovery(tmp_path: Path) -> None:
    chain = Chain()
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        manager = Manager(chain, journal, SIGNER, SETTINGS)
        with pytest.raises(Broken, match="before they were recovered"):
            await manager.submit(intent(), chain.head)
        with pytest.raises(Broken, match="before they were recovered"):
            await manager.on_block(chain.head)


@pytest.mark.fault("C05", "C06", "C07")
async def test_recovery_tells_where_every_open_intent_stands(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.mine(3)
    await rig.submit(intent(2))
    await rig.submit(intent(3))
    rig.chain.pool.pop(2)
    rig.chain.mine()
    assert brief(await rig.restart()) == [(S.CONFIRMED, None), (S.INCLUDED, None), (S.BROADCAST, None)]
    assert len(rig.chain.sent) == 3


@pytest.mark.fault("C10")
async def test_after_recovery_the_old_bytes_are_sent_even_if_fees_are_set_anew(rig: Rig) -> None:
    await rig.submit(intent())
    rig.chain.pool.clear()
    await rig.restart(fees=Policy(hard_cap=90 * GWEI, tip_floor=2 * GWEI, tip_cap=3 * GWEI))
    await rig.mine(skip=True)
    assert rig.chain.sent[0] == rig.chain.sent[1]


@pytest.mark.fault("C12")
async def test_after_a_long_absence_the_old_bytes_get_their_chance_before_a_dearer_bid(rig: Rig) -> None:
    await rig.submit(intent())
    rig.chain.pool.clear()
    rig.chain.mine(50, skip=True)
    await rig.restart()
    await rig.see()
    assert await rig.mine() == [(S.INCLUDED, None)]
    assert rig.signed == [0]


@pytest.mark.fault("C12", "C04")
async def test_after_recovery_what_is_stale_is_cancelled_and_not_sent(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp))
    rig.chain.pool.clear()
    await rig.restart()
    await rig.mine(2)
    assert [tx.to for tx in rig.chain.sent[1:]] == [SIGNER.address]


@pytest.mark.fault("C09")
async def test_recovery_repeated_changes_nothing(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.mine()
    await rig.submit(intent(2))
    stories = [brief(await rig.restart()) for _ in range(3)]
    assert stories == [[(S.INCLUDED, None), (S.BROADCAST, None)]] * 3


@pytest.mark.fault("C07", "S12")
async def test_a_reorg_while_away_is_noticed(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine()
    rig.chain.undo(1)
    assert brief(await rig.restart()) == [(S.BROADCAST, Reason.REORGED)]


@pytest.mark.fault("C35")
async def test_a_turn_that_was_cancelled_in_mid_send_is_taken_up_at_the_next_block(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(self: Chain, raw: bytes) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch, pytest.raises(asyncio.CancelledError):
        patch.setattr(Chain, "send", cancelled)
        await rig.submit(intent())
    assert await rig.mine() == [(S.BROADCAST, None)]
    assert await rig.mine() == [(S.INCLUDED, None)]


async def test_a_block_that_fails_half_way_through_the_questions_can_be_asked_again(rig: Rig) -> None:
    await rig.submit(intent())
    rig.chain.mine()
    rig.chain.down = True
    with pytest.raises(NodeUnavailable):
        await rig.see()
    rig.chain.down = False
    assert await rig.see() == [(S.INCLUDED, None)]
    assert await rig.see() == []


async def test_a_market_that_cannot_be_asked_loses_no_news(tmp_path: Path) -> None:
    silent = False

    async def rewards(head: BlockRef) -> list[int]:
        if silent:
            raise NodeUnavailable("connection refused")
        return []

    chain = Chain()
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        manager = Manager(chain, journal, SIGNER, SETTINGS, rewards)
        await manager.recover()
        await manager.submit(intent(1), chain.head)
        await manager.submit(intent(2), chain.head)
        waits = chain.pool.pop(1)
        chain.mine(3)
        chain.pool[1] = waits
        silent = True
        with pytest.raises(NodeUnavailable):
            await manager.on_block(chain.head)
        silent = False
        events = brief(await manager.on_block(chain.head))
    assert events == [(S.INCLUDED, None), (S.CONFIRMED, None), (S.BROADCAST, None)]


async def test_a_reorg_is_not_forgotten_when_the_market_cannot_be_asked(tmp_path: Path) -> None:
    silent = False

    async def rewards(head: BlockRef) -> list[int]:
        if silent:
            raise NodeUnavailable("connection refused")
        return []

    chain = Chain()
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        manager = Manager(chain, journal, SIGNER, SETTINGS, rewards)
        await manager.recover()
        await manager.submit(intent(valid_until=chain.head.timestamp), chain.head)
        await manager.on_block(chain.mine())
        chain.undo(1)
        silent = True
        with pytest.raises(NodeUnavailable):
            await manager.on_block(chain.mine())
        silent = False
        events = brief(await manager.on_block(chain.head))
    assert events == [(S.BROADCAST, Reason.REORGED), (S.BROADCAST, Reason.EXPIRED)]


@pytest.mark.fault("T11")
async def test_after_recovery_no_intent_overtakes_one_that_was_not_sent_again(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.restart()
    assert (await refused(rig, intent(2))).why is Reason.NONCE_GAP
    await rig.mine(skip=True)
    assert len(await rig.submit(intent(2))) == 2


# ─── no journal, no signature ─────────────────────────────────────────────────────────────────────


@pytest.mark.fault("C20")
async def test_without_a_journal_nothing_is_signed(rig: Rig) -> None:
    await rig.submit(intent(1))
    rig.path.unlink()
    with pytest.raises(Broken, match="moved or deleted"):
        await rig.submit(intent(2))
    with pytest.raises(Broken, match="closed"):
        await rig.submit(intent(3))
    assert rig.signed == [0]


@pytest.mark.fault("C16", "C17")
async def test_what_could_not_be_committed_is_not_sent(rig: Rig) -> None:
    [(pages,)] = rig.journal.ask("PRAGMA page_count")
    rig.journal.ask(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Broken, match="full"):
        await rig.submit(intent(call=Call(target(1), bytes(50_000))))
    assert rig.chain.sent == []


@pytest.mark.fault("C04")
async def test_the_bytes_are_in_the_journal_when_they_are_sent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    async def spy(self: Chain, raw: bytes) -> Any:
        held.append(any(attempt.raw == raw for flight in rig.journal.flights() for attempt in flight.attempts))
        raise NodeUnavailable("spy")

    monkeypatch.setattr(Chain, "send", spy)
    await rig.submit(intent(valid_until=48))
    await rig.mine(5, skip=True)
    assert held == [True] * 6
    assert len(rig.signed) == 3


@pytest.mark.fault("C11")
async def test_journal_and_signer_must_be_for_the_same_key(tmp_path: Path) -> None:
    other = replace(BINDING, address=b"\1" * 20)
    with closing(Journal(tmp_path / "journal.db", other)) as journal, pytest.raises(Broken, match="different keys"):
        Manager(Chain(), journal, SIGNER, SETTINGS)


@pytest.mark.parametrize(
    "wrong", [{"confirmations": 0}, {"confirmations": 9, "finality": 8}, {"bump_after": 0}, {"max_in_flight": 0}]
)
def test_settings_that_do_not_fit_together_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Misconfigured):
        replace(SETTINGS, **wrong)  # type: ignore[arg-type]

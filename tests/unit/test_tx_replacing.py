"""Bids that do not get in, intents that expire, blocks that are taken back."""

from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.model import Reason
from keeper.tx.fees import NOOP_GAS
from keeper.units import GWEI
from tests.unit.tx_chain import Trick
from tests.unit.tx_rig import SIGNER, Rig, S, brief, intent, target


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "journal.db")
    with closing(rig.journal):
        await rig.manager.recover()
        yield rig
    rig.journal.close()


# ─── replacing ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("T01", "T17")
async def test_an_attempt_that_does_not_get_in_is_replaced_at_the_market(rig: Rig) -> None:
    await rig.submit(intent())
    assert await rig.mine(2, base_fee=40 * GWEI) == []
    assert await rig.mine() == [(S.BROADCAST, None)]
    assert rig.chain.sent[-1].max_fee == 81 * GWEI
    assert await rig.mine() == [(S.INCLUDED, None)]
    assert rig.signed == [0, 0]


@pytest.mark.fault("T02")
async def test_a_replacement_is_valid_in_the_pool_even_if_the_market_is_calm(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine(3, skip=True)
    assert rig.chain.pool[0] == rig.chain.sent[-1] != rig.chain.sent[0]


@pytest.mark.fault("T15")
async def test_the_receipt_of_an_older_attempt_counts_as_well(rig: Rig) -> None:
    await rig.submit(intent())
    rig.chain.script.extend([None, None, "internal error"])  # the replacement never arrives
    await rig.mine(3, skip=True)
    rig.chain.mine()
    [event] = await rig.manager.on_block(rig.chain.head)
    assert event.state is S.INCLUDED
    assert event.receipt is not None
    assert event.receipt.tx_hash == rig.chain.sent[0].hash != rig.chain.sent[-1].hash


@pytest.mark.fault("T38")
async def test_only_the_lowest_nonce_is_replaced(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.submit(intent(2))
    await rig.mine(3, skip=True)
    assert rig.signed == [0, 1, 0]


@pytest.mark.fault("T19")
async def test_at_the_ceiling_the_last_bytes_are_sent_again(rig: Rig) -> None:
    await rig.submit(intent(budget=50_000 * 22 * GWEI))
    await rig.mine(5, base_fee=40 * GWEI)
    assert rig.signed == [0]
    assert len(rig.chain.sent) == 6
    assert len(set(rig.chain.sent)) == 1


@pytest.mark.fault("T20")
async def test_replacements_end_at_the_hard_cap(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine(40, base_fee=300 * GWEI)
    assert 90 * GWEI < max(tx.max_fee for tx in rig.chain.sent) <= 100 * GWEI


@pytest.mark.fault("T08", "T06")
@pytest.mark.parametrize("answer", ["max fee per gas less than block base fee", "transaction underpriced"])
async def test_a_bid_that_the_node_calls_too_low_is_raised_at_the_next_block(rig: Rig, answer: str) -> None:
    rig.chain.script.append(answer)
    await rig.submit(intent())
    await rig.mine(skip=True)
    assert rig.signed == [0, 0]


# ─── cancelling ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("T33")
async def test_an_intent_that_expires_unmined_is_cancelled_by_a_no_op(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp + 20))
    assert await rig.mine(skip=True) == []
    assert await rig.mine(skip=True) == [(S.BROADCAST, Reason.EXPIRED)]
    noop = rig.chain.sent[-1]
    assert (noop.nonce, noop.to, noop.value, noop.gas) == (0, SIGNER.address, 0, NOOP_GAS)
    assert await rig.mine(2) == []
    assert await rig.mine() == [(S.CANCELLED, Reason.EXPIRED)]
    assert await rig.mine(6) == []
    assert rig.chain.effects(target(1)) == 0


@pytest.mark.fault("T33")
async def test_after_it_expired_an_intent_is_never_sent_again(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp))
    rig.chain.script.extend([Trick.LOST_BEFORE] * 6)
    await rig.mine(6, skip=True)
    assert {tx.to for tx in rig.chain.sent[1:]} == {SIGNER.address}


@pytest.mark.fault("T33", "T15")
async def test_an_expired_intent_may_still_win_against_its_no_op(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp))
    rig.chain.script.append(Trick.LOST_BEFORE)
    await rig.mine(skip=True)
    assert await rig.mine(3) == [(S.INCLUDED, None), (S.CONFIRMED, None)]


@pytest.mark.fault("T34")
async def test_a_bid_at_the_hard_cap_can_be_cancelled(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp + 12 * 39))
    await rig.mine(39, base_fee=300 * GWEI)
    await rig.mine(base_fee=10 * GWEI, skip=True)
    await rig.mine()
    assert [tx.to for tx in rig.chain.mined] == [SIGNER.address]


@pytest.mark.fault("T34")
async def test_a_no_op_that_does_not_get_in_is_replaced_by_a_dearer_no_op(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp))
    await rig.mine(4, skip=True)
    assert [tx.to for tx in rig.chain.sent[1:]] == [SIGNER.address] * 4
    assert rig.signed == [0, 0, 0]


@pytest.mark.fault("T11")
async def test_a_no_op_makes_way_for_later_nonces(rig: Rig) -> None:
    await rig.submit(intent(1, valid_until=rig.chain.head.timestamp))
    await rig.submit(intent(2))
    await rig.mine(skip=True)
    await rig.mine()
    assert [tx.to for tx in rig.chain.mined] == [SIGNER.address, target(2)]


# ─── reorgs ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("S12", "S13", "S21")
async def test_a_transaction_that_a_reorg_dropped_is_sent_again_with_the_same_bytes(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine()
    rig.chain.undo(1)
    assert await rig.mine() == [(S.BROADCAST, Reason.REORGED)]
    assert await rig.mine() == [(S.INCLUDED, None)]
    assert rig.chain.sent[0] == rig.chain.sent[1]
    assert rig.signed == [0]


@pytest.mark.fault("S21")
async def test_after_a_reorg_the_old_bytes_get_their_chance_before_a_dearer_bid(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine(6)
    rig.chain.undo(6)
    rig.chain.mine(5, skip=True)
    await rig.mine(3, skip=True)
    assert rig.signed == [0]
    await rig.mine(skip=True)
    assert rig.signed == [0, 0]


@pytest.mark.fault("S16")
async def test_a_transaction_that_a_reorg_moved_is_included_anew(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine(2)
    rig.chain.undo(2, keep=True)
    assert await rig.mine() == [(S.BROADCAST, Reason.REORGED), (S.INCLUDED, None)]


@pytest.mark.fault("S14")
async def test_a_confirmation_can_be_taken_back(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine(3)
    rig.chain.undo(3)
    assert await rig.mine() == [(S.BROADCAST, Reason.REORGED)]
    assert await rig.mine(8) == [(S.INCLUDED, None), (S.CONFIRMED, None), (S.FINALIZED, None)]


@pytest.mark.fault("S14")
async def test_a_cancellation_can_be_taken_back(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp))
    await rig.mine(skip=True)
    await rig.mine(3)
    rig.chain.undo(3)
    assert await rig.mine() == [(S.BROADCAST, Reason.REORGED)]
    assert await rig.mine(3) == [(S.CANCELLED, Reason.EXPIRED)]


@pytest.mark.fault("S12")
async def test_a_no_op_that_a_reorg_dropped_is_sent_again(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp))
    await rig.mine(skip=True)
    await rig.mine()
    rig.chain.undo(1)
    assert await rig.mine() == []
    await rig.mine()
    assert [tx.to for tx in rig.chain.mined] == [SIGNER.address]


@pytest.mark.fault("S12", "T33")
async def test_what_expired_before_the_reorg_is_not_sent_again_after_it(rig: Rig) -> None:
    await rig.submit(intent(valid_until=rig.chain.head.timestamp + 12))
    assert await rig.mine() == [(S.INCLUDED, None)]
    rig.chain.undo(1)
    rig.chain.mine(2)
    assert await rig.see() == [(S.BROADCAST, Reason.REORGED), (S.BROADCAST, Reason.EXPIRED)]
    assert [tx.to for tx in rig.chain.sent] == [target(1), SIGNER.address]


@pytest.mark.fault("R22", "S08")
async def test_a_receipt_from_a_block_that_we_have_not_seen_waits_for_it(rig: Rig) -> None:
    await rig.submit(intent())
    seen = rig.chain.mine(skip=True)
    rig.chain.mine()
    assert brief(await rig.manager.on_block(seen)) == []
    assert await rig.see() == [(S.INCLUDED, None)]
    assert len(rig.chain.sent) == 1


@pytest.mark.fault("R22", "S16")
async def test_a_receipt_from_another_branch_is_not_believed(rig: Rig) -> None:
    await rig.submit(intent())
    await rig.mine(skip=True)
    rig.chain.mine()
    other = replace(rig.chain.head, hash=b"\1" * 32)
    assert brief(await rig.manager.on_block(other)) == []

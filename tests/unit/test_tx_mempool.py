"""What pools and other people do to a transaction: the rows of the matrix that no other file has."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from keeper.model import Reason
from keeper.tx.answers import Answer
from keeper.units import GWEI
from tests.unit.tx_chain import Chain, Simulated, Trick, decode
from tests.unit.tx_rig import SETTINGS, SIGNER, Rig, S, guarded, intent, refused

TO = intent().call.target


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    return await guarded(tmp_path)


@pytest.mark.fault("T12")
async def test_nonce_too_low_on_a_first_send_is_no_reason_to_take_another(rig: Rig) -> None:
    """Is it ours, mined while the answer was on its way? The receipts tell, and until then nothing else is signed."""
    rig.chain.script.append("nonce too low: next nonce 1, tx nonce 0")
    await rig.submit(intent(1))
    assert rig.manager.lane.flights[0].answer is Answer.CONSUMED
    await rig.mine(2)
    assert (rig.signed, {tx.nonce for tx in rig.chain.sent}) == ([0], {0})
    await rig.mine(4)
    assert rig.chain.effects(TO) == 1


@pytest.mark.fault("T12", "T09", "K11")
async def test_and_when_it_was_somebody_else_the_key_is_halted(rig: Rig) -> None:
    rig.chain.foreign()
    rig.chain.blocks.insert(0, rig.chain.blocks.pop(0))
    with pytest.raises(Exception, match="the chain has 1 transactions of this key, the journal knows of 0"):
        await rig.submit(intent(1))
    assert rig.signed == []


@pytest.mark.fault("T16")
async def test_mined_while_the_replacement_is_being_built(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.submit(intent(1))
    await rig.mine(2, skip=True)
    sending = rig.chain.send

    async def send(raw: bytes) -> Any:
        if decode(raw).max_fee > rig.chain.sent[0].max_fee:
            rig.chain.mine()  # the first attempt gets in, a moment before the second one
        return await sending(raw)

    monkeypatch.setattr(rig.chain, "send", send)
    await rig.mine(skip=True)
    assert len(rig.signed) == 2
    assert (await rig.see())[0] == (S.INCLUDED, None)
    await rig.mine(4)
    assert (rig.chain.effects(TO), len(rig.chain.mined)) == (1, 1)


@pytest.mark.fault("T17")
async def test_in_a_spike_what_a_replacement_may_cost_is_bounded_by_what_it_may_bring(rig: Rig) -> None:
    """The budget is a share of the expected profit: it is not left for any market."""
    await rig.submit(intent(1, budget=50_000 * 30 * GWEI))
    await rig.mine(12, base_fee=200 * GWEI)
    assert max(tx.max_fee for tx in rig.chain.sent) <= 30 * GWEI


@pytest.mark.fault("T20")
async def test_a_node_that_always_says_underpriced_gets_no_more_than_a_multiple_of_the_market(tmp_path: Path) -> None:
    policy = replace(SETTINGS.fees, hard_cap=10_000 * GWEI, tip_cap=GWEI, free=1, multiple=3)
    rig = await guarded(tmp_path, replace(SETTINGS, fees=policy))
    rig.chain.script.extend(["transaction underpriced"] * 200)
    await rig.submit(intent(1, budget=10**19))
    await rig.mine(100, skip=True)
    assert max(tx.max_fee for tx in rig.chain.sent) <= 3 * (2 * 10 * GWEI + GWEI)
    assert len(rig.signed) < 20
    rig.chain.script.clear()
    await rig.mine(2)
    assert rig.chain.effects(TO) == 1


class Effective(Chain):
    """Older Nethermind: a replacement must pay a tenth more at the present base fee, both fields being raised."""

    def _admit(self, tx: Any) -> Any:
        held = self.pool.get(tx.nonce)
        if held is not None and held != tx:
            old, new = (min(one.max_fee, self.base_fee + one.tip) for one in (held, tx))
            if new < old * 110 // 100:
                return type(super()._admit(held))(False, "ReplacementNotAllowed")
        return super()._admit(tx)


@pytest.mark.fault("T02")
async def test_a_pool_that_compares_what_is_paid_is_satisfied_at_the_second_try(rig: Rig) -> None:
    rig.chain = rig.manager.lane.node = Effective(base_fee=40 * GWEI)
    await rig.submit(intent(1))
    await rig.mine(5, skip=True)
    held, first = rig.chain.pool[0], rig.chain.sent[0]
    paid = [min(tx.max_fee, 40 * GWEI + tx.tip) for tx in (first, held)]
    assert (held != first, paid[1] * 100 >= paid[0] * 110) == (True, True)
    assert len(rig.signed) == 3  # by the common rule, by the stricter one, and that is all


@pytest.mark.fault("T21")
async def test_without_funds_nothing_is_sent_and_with_funds_it_is(rig: Rig) -> None:
    rig.chain.funds = 1
    assert (await refused(rig, intent(1))).why is Reason.INVENTORY_SHORT
    assert rig.journal.next_nonce() == 0
    rig.chain.funds = 10**21
    assert (await rig.submit(intent(1)))[0].state is S.SIGNED


@pytest.mark.fault("K10")
async def test_a_reserve_is_left_for_replacements_and_cancellations(tmp_path: Path) -> None:
    worst = 50_000 * 21 * GWEI + 1
    rig = await guarded(tmp_path, replace(SETTINGS, gas_reserve=7))
    rig.chain.funds = worst + 6
    assert (await refused(rig, intent(1))).why is Reason.INVENTORY_SHORT
    rig.chain.funds = worst + 7
    assert (await rig.submit(intent(1)))[0].state is S.SIGNED
    rig.chain.funds = 10**18
    await rig.mine(3, base_fee=30 * GWEI)  # a replacement may use it
    assert len(rig.signed) == 2


@pytest.mark.fault("K10")
async def test_a_hot_key_that_holds_too_much_is_mentioned_once(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, replace(SETTINGS, max_balance=10**20))
    with structlog.testing.capture_logs() as said:
        for n, funds in ((1, 10**20), (2, 10**20 + 1), (3, 10**21), (4, 10**20), (5, 10**21)):
            rig.chain.funds = funds
            await rig.mine()
            await rig.submit(intent(n))
    assert [line["balance_wei"] for line in said if line["event"] == "tx.rich"] == [10**20 + 1, 10**21]


@pytest.mark.fault("T30")
async def test_what_would_fail_now_is_cancelled_rather_than_raised(rig: Rig) -> None:
    """Somebody else was faster, or the account is healthy again: the no-op is cheaper than the revert."""
    await rig.submit(intent(1))
    rig.chain.simulated = Simulated(ok=False)
    await rig.mine(3, skip=True)
    assert [tx.to for tx in rig.chain.sent if tx.max_fee > rig.chain.sent[0].max_fee] == [SIGNER.address]
    await rig.mine(4)
    assert (rig.chain.effects(TO), rig.journal.state_of(intent(1).id)) == (0, S.CANCELLED)


@pytest.mark.fault("T31")
async def test_two_intents_on_one_subject_are_one(rig: Rig) -> None:
    await rig.submit(intent(1, subject="options account 0x1"))
    no = await refused(rig, intent(2, subject="options account 0x1"))
    assert no.why is Reason.INFLIGHT_DUPLICATE
    await rig.mine()
    assert (await rig.submit(intent(2, subject="options account 0x1")))[0].state is S.SIGNED


@pytest.mark.fault("T31")
async def test_the_journal_itself_refuses_the_second(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.submit(intent(1, subject="options account 0x1"))
    monkeypatch.setattr("keeper.tx.admission._check_one", lambda *_: None)  # whatever the process has forgotten
    with pytest.raises(Exception, match="options account 0x1 has an open intent"):
        await rig.submit(intent(2, subject="options account 0x1"))
    assert len(rig.chain.sent) == 1


@pytest.mark.fault("T37")
async def test_housekeeping_leaves_the_last_slots_to_what_is_urgent(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, replace(SETTINGS, max_in_flight=3, urgent_slots=1))
    for n in (1, 2):
        assert (await rig.submit(intent(n, urgent=False)))[0].state is S.SIGNED
    assert (await refused(rig, intent(3, urgent=False))).why is Reason.RISK_TX_LIMIT
    assert (await rig.submit(intent(4)))[0].state is S.SIGNED
    assert (await refused(rig, intent(5))).why is Reason.RISK_TX_LIMIT


@pytest.mark.fault("T36", "R22")
async def test_success_is_only_told_with_a_receipt_of_our_own_chain(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt, status 1, in a block that is not ours: it is not believed, and the bytes go on being sent."""
    await rig.submit(intent(1))
    await rig.mine(skip=True)
    lie = Chain()
    lie._salt = 77  # hence other hashes
    await lie.send(rig.manager.lane.flights[0].last.raw)
    lie.mine()
    with monkeypatch.context() as patch:
        patch.setattr(rig.chain, "receipt", lie.receipt)
        assert await rig.mine(3, skip=True) == []
    assert (await rig.mine())[0] == (S.INCLUDED, None)


@pytest.mark.fault("R23")
async def test_a_hash_is_no_acceptance(rig: Rig) -> None:
    rig.chain.script.append(Trick.FALSE_SUCCESS)
    await rig.submit(intent(1))
    assert rig.chain.pool == {}
    await rig.mine(2)
    assert rig.chain.effects(TO) == 1

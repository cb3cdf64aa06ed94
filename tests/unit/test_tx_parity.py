"""What Optimism's txmgr and Chainlink's TXM test and no other file here does; see ``tests/faults/README.md``."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from keeper.errors import NodeUnavailable
from keeper.model import Reason
from keeper.tx.fees import Fees, Policy, bump
from keeper.units import GWEI
from tests.unit.tx_chain import Trick
from tests.unit.tx_rig import SETTINGS, Rig, S, guarded, intent, refused

TO = intent().call.target


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    return await guarded(tmp_path)


@pytest.mark.fault("T09", "S12")
async def test_a_stranger_who_takes_the_nonce_in_a_reorg_halts_the_key(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.mine()
    rig.chain.undo(1)
    rig.chain.foreign()
    assert (await rig.see())[0] == (S.BROADCAST, Reason.REORGED)
    seen = []
    for _ in range(4):
        rig.chain.mine(skip=True)
        if not rig.journal.halted():
            seen += await rig.see()
    assert (S.REPLACED, Reason.REPLACED) in seen
    assert "was used by a transaction that is not in the journal" in rig.journal.halted()


@pytest.mark.fault("R03", "R04")
async def test_a_node_that_only_fails_is_never_a_success(rig: Rig) -> None:
    rig.chain.script.extend([Trick.LOST_BEFORE] * 50)
    events = await rig.submit(intent(1))
    assert [event.state for event in events] == [S.SIGNED, S.BROADCAST]
    assert {state for state, _ in await rig.mine(8)} <= {S.BROADCAST}
    assert {tx.nonce for tx in rig.chain.sent} == {0}


@pytest.mark.fault("T25")
async def test_gas_is_never_lowered_and_never_above_what_was_planned(rig: Rig) -> None:
    """The limit, half again what is expected, is the planner's; no replacement changes it, and what it costs is booked
    whether it was enough or not."""
    await rig.submit(intent(1, gas_limit=77_777))
    await rig.mine(8, skip=True)
    assert {tx.gas for tx in rig.chain.sent} == {77_777}
    assert len(rig.signed) > 2


@pytest.mark.fault("R03", "T05")
async def test_one_accepted_send_of_many_is_enough(rig: Rig) -> None:
    rig.chain.script.extend([Trick.LOST_BEFORE, "who knows", Trick.FALSE_SUCCESS, None])
    await rig.submit(intent(1))
    await rig.mine(7)
    assert rig.chain.effects(TO) == 1


def test_a_replacement_stays_below_a_multiple_of_the_market() -> None:
    policy = Policy(hard_cap=10**6 * GWEI, free=100 * GWEI, multiple=5)
    calm, busy = Fees(10 * GWEI, GWEI), Fees(40 * GWEI, GWEI)
    assert policy.bounded(10**15, calm) == 100 * GWEI  # below the threshold the multiple does not count
    assert policy.bounded(10**15, busy) == 200 * GWEI
    assert policy.bounded(30 * GWEI, busy) == 30 * GWEI
    assert bump(Fees(190 * GWEI, GWEI), busy, policy.bounded(10**15, busy)) is None
    assert bump(Fees(180 * GWEI, GWEI), busy, policy.bounded(10**15, busy)) == Fees(198 * GWEI, 11 * GWEI // 10)


@pytest.mark.fault("T12", "T14", "C02")
async def test_nonces_through_a_sequence_of_failures(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimism's sequence, with our answers: what was signed keeps its nonce, what was not gives it back."""
    rig.chain.script.extend([None, "nonce too low", None, Trick.LOST_BEFORE, "who knows"])
    await rig.submit(intent(1))
    await rig.submit(intent(2))
    rig.chain.simulated.ok = False
    await refused(rig, intent(3))
    rig.chain.simulated.ok = True
    rig.chain.down = True
    with pytest.raises(NodeUnavailable):
        await rig.submit(intent(4))
    rig.chain.down = False
    await rig.mine(2)
    await rig.submit(intent(5))
    await rig.submit(intent(6))
    await rig.mine(5)
    assert rig.signed == [0, 1, 2, 3]
    assert [tx.nonce for tx in rig.chain.mined] == [0, 1, 2, 3]
    assert [rig.chain.effects(intent(n).call.target) for n in (1, 2, 5, 6)] == [1, 1, 1, 1]


@pytest.mark.fault("C05", "C07")
async def test_what_was_mined_while_we_were_dead_is_not_done_again(rig: Rig) -> None:
    await rig.submit(intent(1))
    rig.chain.mine(3)
    events = await rig.restart()
    assert [(event.state, event.receipt is not None) for event in events] == [(S.INCLUDED, True)]
    assert [event.why for event in await rig.submit(intent(1))] == [Reason.INFLIGHT_DUPLICATE]
    await rig.mine(3)
    assert (rig.signed, rig.chain.effects(TO), len(rig.chain.sent)) == ([0], 1, 1)


@pytest.mark.fault("C12", "R01", "R02")
async def test_a_node_that_is_still_down_after_a_crash_costs_nothing(rig: Rig) -> None:
    rig.chain.script.append(Trick.LOST_BEFORE)
    await rig.submit(intent(1))
    rig.chain.down = True
    for _ in range(3):
        with pytest.raises(NodeUnavailable):
            await rig.restart()
    assert len(rig.chain.sent) == 1
    rig.chain.down = False
    await rig.restart()
    await rig.mine(3)
    assert (rig.signed, rig.chain.effects(TO)) == ([0], 1)


@pytest.mark.fault("S13", "S21", "T07", "T11")
async def test_a_reorg_of_several_brings_all_of_them_back_in_order(rig: Rig) -> None:
    for n in (1, 2, 3):
        await rig.submit(intent(n))
    await rig.mine()
    before = list(rig.chain.mined)
    rig.chain.undo(1)
    rig.chain.mine(skip=True)
    assert await rig.see() == [(S.BROADCAST, Reason.REORGED)] * 3
    await rig.mine(2)
    assert rig.chain.mined == before
    assert rig.signed == [0, 1, 2]


@pytest.mark.fault("T18")
async def test_when_the_market_falls_no_attempt_is_lowered(rig: Rig) -> None:
    rig.chain.base_fee = 40 * GWEI
    rig.chain.mine(skip=True)
    await rig.see()
    await rig.submit(intent(1))
    await rig.mine(2, base_fee=GWEI, skip=True)
    await rig.mine(8, skip=True)
    fees = [(tx.max_fee, tx.tip) for tx in rig.chain.sent]
    assert len(set(fees)) > 1
    assert fees == sorted(fees)
    await rig.submit(intent(2))
    assert rig.chain.sent[-1].max_fee < fees[0][0]  # a new one goes by the market


@pytest.mark.fault("T38")
async def test_in_full_blocks_only_the_lowest_bids_more(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, replace(SETTINGS, max_in_flight=8))
    for n in range(1, 7):
        await rig.submit(intent(n))
    await rig.mine(9, skip=True)
    assert rig.signed == [0, 1, 2, 3, 4, 5, 0, 0, 0]


@pytest.mark.fault("T19", "G03")
async def test_one_that_is_stuck_is_said_once_and_again_when_the_reason_is_another(rig: Rig) -> None:
    await rig.submit(intent(budget=50_000 * 22 * GWEI))
    with capture_logs() as lines:
        await rig.mine(12, base_fee=40 * GWEI)
    assert [line["why"] for line in lines if line["event"] == "tx.stuck"] == [
        "gas_above_cap: no bid left below the ceiling"
    ]

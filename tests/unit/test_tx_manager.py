"""The transaction manager in ordinary times, what it refuses, and what it makes of a node's answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from keeper.errors import NodeUnavailable
from keeper.model import BlockRef, Moment, Pending, Reason
from keeper.tx.journal import Journal
from keeper.tx.manager import Manager
from keeper.units import GWEI
from tests.unit.tx_chain import Chain, Simulated, Trick
from tests.unit.tx_rig import BINDING, SETTINGS, SIGNER, Rig, S, brief, intent, refused, target


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "journal.db")
    with closing(rig.journal):
        await rig.manager.recover()
        yield rig
    rig.journal.close()


# ─── the ordinary life ────────────────────────────────────────────────────────────────────────────


async def test_an_intent_is_signed_sent_included_confirmed_and_final(rig: Rig) -> None:
    events = await rig.submit(intent())
    assert brief(events) == [(S.SIGNED, None), (S.BROADCAST, None)]
    assert {event.detail for event in events} == {"0x" + rig.chain.sent[0].hash.hex()}
    assert await rig.mine() == [(S.INCLUDED, None)]
    assert await rig.mine() == []
    assert await rig.mine() == [(S.CONFIRMED, None)]
    assert await rig.mine(5) == [(S.FINALIZED, None)]
    assert rig.chain.effects(target(1)) == 1
    assert len(rig.chain.sent) == 1


async def test_events_after_inclusion_carry_the_receipt(rig: Rig) -> None:
    await rig.submit(intent())
    rig.chain.mine()
    [event] = await rig.manager.on_block(rig.chain.head)
    assert event.receipt is not None
    assert event.receipt.block == rig.chain.head


async def test_what_is_final_is_not_asked_about_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.submit(intent())
    await rig.mine(8)
    monkeypatch.delattr(Chain, "receipt")
    assert await rig.mine() == []


async def test_the_first_bid_is_the_market(rig: Rig) -> None:
    await rig.submit(intent())
    assert (rig.chain.sent[0].max_fee, rig.chain.sent[0].tip) == (21 * GWEI, GWEI)


async def test_tips_that_were_paid_raise_the_bid(tmp_path: Path) -> None:
    async def rewards(head: BlockRef) -> list[int]:
        return [0, 3 * GWEI, 3 * GWEI]

    chain = Chain()
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        manager = Manager(chain, journal, SIGNER, SETTINGS, rewards)
        await manager.recover()
        await manager.submit(intent(), chain.head)
    assert chain.sent[0].tip == 3 * GWEI


async def test_several_intents_get_consecutive_nonces_even_at_once(rig: Rig) -> None:
    await asyncio.gather(*(rig.submit(intent(n)) for n in (1, 2, 3)))
    assert [tx.nonce for tx in rig.chain.sent] == [0, 1, 2]
    assert await rig.mine() == [(S.INCLUDED, None)] * 3


@pytest.mark.fault("C22")
async def test_a_key_with_a_past_goes_on_from_it(tmp_path: Path) -> None:
    chain = Chain()
    chain.foreign()
    with closing(Journal(tmp_path / "journal.db", BINDING)) as journal:
        manager = Manager(chain, journal, SIGNER, SETTINGS)
        await manager.recover()
        await manager.submit(intent(), chain.head)
    assert chain.sent[0].nonce == 1


async def test_each_step_is_logged_with_intent_and_hash(rig: Rig) -> None:
    with capture_logs() as logs:
        await rig.submit(intent())
        await rig.mine(8)
        await asyncio.sleep(0)  # they are said once the loop waits
    steps = [line for line in logs if line["log_level"] == "info"]
    assert [line["event"] for line in steps] == ["tx.signed", "tx.sent", "tx.included", "tx.confirmed", "tx.final"]
    assert {line["intent"] for line in steps} == {"0x" + intent().id.hex()}
    assert {line["hash"] for line in steps} == {"0x" + rig.chain.sent[0].hash.hex()}


# ─── refused before a nonce is taken ──────────────────────────────────────────────────────────────


@pytest.mark.fault("T31")
async def test_a_second_intent_with_the_same_id_is_refused_with_what_the_first_came_to(rig: Rig) -> None:
    await rig.submit(intent())
    assert brief(await rig.submit(intent())) == [(S.BROADCAST, Reason.INFLIGHT_DUPLICATE)]
    await rig.mine(8)
    assert brief(await rig.submit(intent())) == [(S.FINALIZED, Reason.INFLIGHT_DUPLICATE)]
    assert rig.signed == [0]


@pytest.mark.fault("T32")
async def test_an_expired_intent_is_refused(rig: Rig) -> None:
    assert (await refused(rig, intent(valid_until=rig.chain.head.timestamp - 1))).why is Reason.EXPIRED
    assert len(await rig.submit(intent(valid_until=rig.chain.head.timestamp))) == 2


@pytest.mark.fault("T23")
async def test_a_call_that_would_revert_is_refused_with_its_revert_data(rig: Rig) -> None:
    rig.chain.simulated = Simulated(ok=False, data=b"\xde\xad")
    event = await refused(rig, intent())
    assert (event.why, event.detail) == (Reason.SIM_REVERTED, "0xdead")


async def test_an_abandoned_intent_may_come_again(rig: Rig) -> None:
    rig.chain.simulated = Simulated(ok=False)
    await refused(rig, intent())
    rig.chain.simulated = Simulated()
    assert brief(await rig.submit(intent())) == [(S.SIGNED, None), (S.BROADCAST, None)]


async def test_an_intent_is_simulated_at_its_moment(rig: Rig) -> None:
    at = Moment(rig.chain.head.number + 1, rig.chain.head.timestamp + 12, rig.chain.head.next_base_fee)
    await rig.submit(intent(at=at))
    assert rig.chain.simulated_at == at
    assert rig.chain.simulated_gas == intent().gas_limit  # what uses more there would fail on chain


async def test_simulation_can_be_switched_off(rig: Rig) -> None:
    await rig.restart(simulate=False)
    rig.chain.simulated = Simulated(ok=False)
    assert len(await rig.submit(intent())) == 2


@pytest.mark.fault("T17")
async def test_a_budget_below_the_base_fee_is_refused(rig: Rig) -> None:
    assert (await refused(rig, intent(budget=50_000 * 10 * GWEI))).why is Reason.GAS_ABOVE_CAP


@pytest.mark.fault("T17", "R20")
async def test_a_bid_never_exceeds_the_budget(rig: Rig) -> None:
    await rig.submit(intent(budget=50_000 * 12 * GWEI))
    assert rig.chain.sent[0].max_fee == 12 * GWEI


@pytest.mark.fault("T37")
async def test_no_more_than_the_limit_is_in_flight(rig: Rig) -> None:
    await rig.restart(max_in_flight=2)
    await rig.submit(intent(1))
    await rig.submit(intent(2))
    assert (await refused(rig, intent(3))).why is Reason.RISK_TX_LIMIT
    await rig.mine()
    assert len(await rig.submit(intent(3))) == 2


@pytest.mark.fault("T22")
async def test_the_balance_must_cover_the_worst_case_of_everything_in_flight(rig: Rig) -> None:
    each = 50_000 * 21 * GWEI + 1
    rig.chain.funds = 2 * each - 1
    await rig.submit(intent(1))
    assert (await refused(rig, intent(2))).why is Reason.INVENTORY_SHORT
    rig.chain.funds = 2 * each
    assert len(await rig.submit(intent(2))) == 2


@pytest.mark.fault("R19", "R16")
async def test_a_node_that_lags_behind_final_transactions_is_not_sent_to(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.mine(8)
    rig.chain.undo(8)
    assert (await refused(rig, intent(2))).why is Reason.RPC_DEGRADED


async def test_what_was_seen_before_the_node_failed_is_told_at_the_next_block(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is simulated anew when the first is mined, and the node fails then."""
    await rig.submit(intent(1))
    await rig.submit(intent(2, behind=(Pending(target(9), b""),), budget=50_000 * 15 * GWEI))

    async def fails(*_: object, **__: object) -> None:
        raise NodeUnavailable("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(rig.chain, "call", fails)
        with pytest.raises(NodeUnavailable):
            await rig.mine(base_fee=18 * GWEI)
    assert rig.chain.effects(target(1)) == 1
    assert (S.INCLUDED, None) in await rig.mine(skip=True)


@pytest.mark.fault("T23", "R04")
async def test_a_failing_node_costs_no_nonce(rig: Rig) -> None:
    rig.chain.down = True
    with pytest.raises(NodeUnavailable):
        await rig.submit(intent(1))
    rig.chain.down = False
    await rig.submit(intent(2))
    assert rig.signed == [0]


# ─── an answer to a send is a hint ────────────────────────────────────────────────────────────────

ANSWERS: list[str | Trick | None] = [
    None,
    Trick.LOST_AFTER,
    Trick.LOST_BEFORE,
    Trick.FALSE_SUCCESS,
    "already known",
    "nonce too low",
    "internal error",
    "nonce too high",
]


@pytest.mark.fault("T04", "T08", "T13", "T14", "R03", "R24")
@pytest.mark.parametrize("answer", ANSWERS)
async def test_whatever_the_node_says_an_intent_happens_once_and_tells_the_same_story(
    rig: Rig, answer: str | Trick | None
) -> None:
    rig.chain.script.append(answer)
    events = brief(await rig.submit(intent()))
    events += await rig.mine(skip=True)  # the bytes are sent again here, if they have to be
    events += await rig.mine(8)
    assert events == [
        (S.SIGNED, None),
        (S.BROADCAST, None),
        (S.INCLUDED, None),
        (S.CONFIRMED, None),
        (S.FINALIZED, None),
    ]
    assert rig.chain.effects(target(1)) == 1
    assert rig.signed == [0]


@pytest.mark.fault("T05", "T06", "T07", "T11")
async def test_an_attempt_that_the_pool_lost_is_sent_again_with_the_same_bytes(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.submit(intent(2))
    rig.chain.pool.clear()
    await rig.mine()
    assert [tx.nonce for tx in rig.chain.sent] == [0, 1, 0, 1]
    assert len(set(rig.chain.sent)) == 2


@pytest.mark.fault("T03")
async def test_a_nonce_that_somebody_else_holds_in_the_pool_is_not_fought_for(rig: Rig) -> None:
    rig.chain.script.append("replacement transaction underpriced")
    await rig.submit(intent(1))
    assert (await refused(rig, intent(2))).why is Reason.NONCE_GAP
    rig.chain.script.extend(["replacement transaction underpriced"] * 9)
    await rig.mine(9, skip=True)
    assert rig.signed == [0]


@pytest.mark.fault("T03", "T33")
async def test_a_contested_nonce_is_cancelled_when_its_intent_expires(rig: Rig) -> None:
    rig.chain.script.extend(["replacement transaction underpriced"] * 3)
    await rig.submit(intent(valid_until=rig.chain.head.timestamp + 12))
    await rig.mine(5)
    assert [tx.to for tx in rig.chain.mined] == [SIGNER.address]


@pytest.mark.fault("T02")
async def test_a_replacement_refused_as_too_low_is_no_contest(rig: Rig) -> None:
    await rig.submit(intent(1))
    await rig.mine(2, skip=True)
    rig.chain.script.append("replacement transaction underpriced")
    await rig.mine(skip=True)
    assert len(await rig.submit(intent(2))) == 2


@pytest.mark.fault("T21", "T29", "T14")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("insufficient funds for gas * price + value", Reason.INVENTORY_SHORT),
        ("account limit exceeded", Reason.RISK_TX_LIMIT),
    ],
)
async def test_what_holds_one_intent_back_holds_back_the_next(rig: Rig, answer: str, why: Reason) -> None:
    rig.chain.script.append(answer)
    await rig.submit(intent(1))
    assert (await refused(rig, intent(2))).why is why
    await rig.mine(skip=True)
    assert len(await rig.submit(intent(2))) == 2


@pytest.mark.fault("T26")
async def test_bytes_that_can_never_be_valid_are_cancelled(rig: Rig) -> None:
    rig.chain.script.append("intrinsic gas too low")
    await rig.submit(intent())
    assert await rig.mine() == [(S.BROADCAST, Reason.NOT_INCLUDED)]
    await rig.mine()
    assert rig.chain.mined[0].to == SIGNER.address
    assert await rig.mine(2) == [(S.CANCELLED, Reason.NOT_INCLUDED)]

"""Caps per hour and day hold, with everything that is in flight, across restarts, clocks and lies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.errors import KeeperError
from keeper.model import BlockRef, Call, Reason, Receipt, TxIntent
from keeper.tx.budget import HOUR, Budget
from keeper.tx.fees import NOOP_GAS, Fees
from keeper.tx.machine import Refused
from keeper.tx.rows import Attempt, AttemptKind, Flight
from keeper.tx.settings import DAY, Limits
from keeper.units import GWEI
from tests.unit.tx_rig import SETTINGS, S, guarded, intent, refused

US, THEM = b"\x11" * 20, b"\x22" * 20


class Clocks:
    def __init__(self) -> None:
        self.wall = 10_000_000.0
        self.mono = 0.0


def budget(clocks: Clocks | None = None, **limits: Any) -> Budget:
    clocks = clocks or Clocks()
    made = Budget(Limits(**limits), wall=lambda: clocks.wall, monotonic=lambda: clocks.mono)
    made.at(1_000_000)
    return made


def flight(nonce: int, cost: int, at: int = 1_000_000, wall: int = 10_000_000) -> Flight:
    one = TxIntent(bytes([nonce]) * 32, Call(b"", b""), cost, 1, 1, "")
    attempt = Attempt(bytes(32), one.id, nonce, AttemptKind.ACT, b"", cost, Fees(1, 1), 1)
    return Flight(one, nonce, 1, attempts=[attempt], at=at, wall=wall)


def mined(flight: Flight, used: int, at: int = 1_000_000) -> Flight:
    receipt = Receipt(bytes(32), BlockRef(5, b"", b"", at, 1, 1, 1), True, used, 1)
    return replace(flight, receipt=receipt)


def final(flight: Flight, used: int) -> Flight:
    return replace(mined(flight, used), settled=True)


def refuses(budget: Budget, nonce: int, cost: int) -> bool:
    try:
        budget.allow(US, nonce, cost, 0)
    except Refused as no:
        assert no.why is Reason.RISK_DAY_LIMIT
        return True
    return False


@pytest.mark.fault("P02", "T22")
def test_what_is_in_flight_counts_at_its_worst() -> None:
    b = budget(hour_cost=100)
    b.allow(US, 0, 60, 0)
    assert refuses(b, 1, 41)
    b.allow(US, 1, 40, 0)
    assert b.spent(HOUR) == 100


@pytest.mark.fault("P02", "T20")
def test_a_dearer_attempt_takes_the_place_of_the_cheaper() -> None:
    b = budget(hour_cost=100)
    b.allow(US, 0, 60, 0)
    b.allow(US, 0, 90, 0)
    assert b.spent(HOUR) == 90
    assert refuses(b, 0, 101)
    b.allow(US, 0, 10, 0)  # the dearer one is still out there
    assert b.spent(HOUR) == 90


@pytest.mark.fault("P02")
def test_once_final_what_was_paid_counts_and_until_then_the_worst_because_of_reorgs() -> None:
    b = budget(hour_cost=100)
    b.note(US, mined(flight(0, 60), 20))
    assert b.spent(HOUR) == 60
    assert refuses(b, 1, 41)
    b.note(US, flight(0, 60))
    assert b.spent(HOUR) == 60
    b.note(US, final(flight(0, 60), 20))
    assert b.spent(HOUR) == 20


@pytest.mark.fault("P02")
def test_a_window_passes_only_when_both_clocks_say_so() -> None:
    clocks = Clocks()
    b = budget(clocks, hour_cost=100, day_cost=150)
    b.note(US, final(flight(0, 100), 100))
    b.at(1_000_000 + HOUR)  # a node that lies about the time
    assert refuses(b, 1, 1)
    b.at(1_000_000)
    clocks.wall += HOUR  # a clock that was set forward
    assert refuses(b, 1, 1)
    b.at(1_000_000 + HOUR)
    b.allow(US, 1, 50, 0)
    clocks.wall -= 10 * DAY  # and one that was set back
    assert refuses(b, 2, 1)


@pytest.mark.fault("P02")
def test_the_day_holds_when_the_hours_pass() -> None:
    clocks = Clocks()
    b = budget(clocks, hour_cost=100, day_cost=150)
    b.note(US, final(flight(0, 100), 100))
    b.at(1_000_000 + 2 * HOUR)
    clocks.wall += 2 * HOUR
    assert refuses(b, 1, 51)
    b.allow(US, 1, 50, 0)


@pytest.mark.fault("P02", "T01")
def test_what_is_open_never_leaves_a_window() -> None:
    clocks = Clocks()
    b = budget(clocks, hour_cost=100)
    b.note(US, flight(0, 100))
    b.at(1_000_000 + 10 * DAY)
    clocks.wall += 10 * DAY
    b.forget()
    assert refuses(b, 1, 1)


def test_what_is_in_no_window_is_forgotten() -> None:
    clocks = Clocks()
    b = budget(clocks)
    b.note(US, final(flight(0, 100), 100))
    clocks.wall += DAY
    b.at(1_000_000 + DAY)
    b.forget()
    assert not b._charges


@pytest.mark.fault("P02")
def test_all_keys_draw_on_one_budget() -> None:
    b = budget(hour_cost=100)
    b.allow(US, 0, 60, 0)
    with pytest.raises(Refused):
        b.allow(THEM, 0, 41, 0)
    b.allow(THEM, 0, 40, 0)


@pytest.mark.fault("T34", "P02")
def test_there_is_always_enough_left_to_cancel() -> None:
    b = Budget(Limits(hour_cost=3 * NOOP_GAS * 10), cancel_price=10, wall=None)
    b.allow(US, 0, 1, 0)
    b.allow(US, 1, 1, 0)
    b.allow(US, 2, 1, 0)
    assert refuses(b, 3, 1)
    for nonce in range(3):
        b.allow(US, nonce, NOOP_GAS * 10, 0)  # every one of them can become a no-op at the highest price


@pytest.mark.fault("P04")
def test_signatures_per_minute_are_limited() -> None:
    clocks = Clocks()
    b = budget(clocks, signatures=2)
    b.allow(US, 0, 1, 0)
    b.allow(US, 0, 2, 0)
    with pytest.raises(Refused, match="2 signatures within a minute"):
        b.allow(US, 0, 3, 0)
    clocks.mono += 60
    b.allow(US, 0, 3, 0)


# ─── through the manager ──────────────────────────────────────────────────────────────────────────

WORST = 50_000 * (2 * 10 * GWEI + GWEI) + 1  # of an intent of the rig, at its chain's price
PAID = 50_000 * 11 * GWEI + 1


@pytest.mark.fault("P02", "T37")
async def test_the_cap_refuses_what_does_not_fit_and_costs_no_nonce(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, hour_cost=2 * WORST + PAID)
    await rig.submit(intent(1))
    await rig.submit(intent(2))
    no = await refused(rig, intent(3))
    assert no.why is Reason.RISK_DAY_LIMIT
    assert rig.journal.next_nonce() == 2
    await rig.mine()
    assert (await refused(rig, intent(3))).why is Reason.RISK_DAY_LIMIT  # a reorg may make both of them open again
    await rig.mine(SETTINGS.finality)
    assert [event.state for event in await rig.submit(intent(3))] == [S.SIGNED, S.BROADCAST]


@pytest.mark.fault("P02")
async def test_a_restart_makes_no_room(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, hour_cost=2 * WORST)
    await rig.submit(intent(1))
    await rig.mine(1 + SETTINGS.finality)
    await rig.submit(intent(2))
    await rig.restart()
    await rig.see()
    no = await refused(rig, intent(3))
    assert (no.why, rig.budget.spent(HOUR)) == (Reason.RISK_DAY_LIMIT, WORST + PAID)


@pytest.mark.fault("P02", "T17", "T19")
async def test_a_replacement_is_held_to_the_cap_and_the_old_bytes_go_on(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, tx_cost=WORST)
    await rig.submit(intent(1))
    await rig.mine(6, base_fee=50 * GWEI)
    assert {tx.max_fee for tx in rig.chain.sent} == {21 * GWEI}
    assert len(rig.chain.sent) > 3
    await rig.mine(base_fee=GWEI)
    assert rig.chain.effects(intent(1).call.target) == 1


@pytest.mark.fault("P02")
async def test_what_was_paid_is_what_the_chain_took(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, hour_cost=10**18)
    for n in (1, 2, 3):
        await rig.submit(intent(n))
        await rig.mine(1 + SETTINGS.finality)
    paid = sum(50_000 * min(tx.max_fee, 10 * GWEI + tx.tip) + tx.value for tx in rig.chain.mined)
    assert rig.budget.spent(DAY) == paid


@pytest.mark.fault("K08")
async def test_a_signer_that_fails_costs_no_nonce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await guarded(tmp_path)

    def fails(*_: Any) -> Any:
        raise KeeperError("no signature")

    with monkeypatch.context() as patch:
        patch.setattr(type(rig.manager.lane.signer), "sign", fails)
        with pytest.raises(KeeperError, match="no signature"):
            await rig.submit(intent(1))
    await rig.submit(intent(1))
    assert [tx.nonce for tx in rig.chain.sent] == [0]

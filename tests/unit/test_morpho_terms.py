"""What can be read of a liquidation's gain from its bytes is never more than it brings, at whatever price."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import assume, given
from hypothesis import strategies as st

from keeper.model import Call, Floor, Liquidate, Opportunity
from keeper.protocols import words
from keeper.protocols.desk import terms, through
from keeper.protocols.morpho_blue import maths
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.maths import ORACLE_PRICE_SCALE, Liquidation, Totals
from keeper.protocols.morpho_blue.records import Params, Position, market_key, position_key
from keeper.protocols.morpho_blue.settings import NO_IRM
from keeper.protocols.morpho_blue.terms import APPROVE, LIQUIDATE, arrives, balance, least_repaid, worth
from keeper.units import WAD
from tests.unit.morpho_shelf import AT, COLLATERAL, DESK, DOLLAR, LOAN, MORPHO, NOW, ORACLE, SETTINGS, a_market, shelf

PARAMS = Params(LOAN, COLLATERAL, ORACLE, NO_IRM, 86 * WAD // 100)
ID = keccak(words.pack(*PARAMS.words()))
OURS = MorphoBlue(replace(SETTINGS, markets=(f"0x{ID.hex()}",)))
BORROWER = b"\x0b" * 20


def an_offer(collateral: int = 115 * 10**6) -> Opportunity:
    """A debt of a hundred dollars, a little under water; with less collateral, far under it."""
    view = shelf(a_market(Totals(10**9, 10**15, 10**8, 10**14, NOW), irm=NO_IRM), cash=10**9)
    [(_, market)] = [(key, r) for key, r in view.records.items() if key.kind == market_key(ID).kind]
    view.records[market_key(ID)] = replace(market, params=PARAMS)
    key = position_key(ID, BORROWER)
    view.records[key] = Position(10**14, collateral)
    [offer] = OURS.opportunities(view, [OURS.health(view, key, AT)], AT)
    return offer


def ran(calls: tuple[Call, ...], floors: tuple[Floor, ...], ours: MorphoBlue = OURS) -> int | None:
    """The gain that the guard reads, US dollars (wad)."""
    return terms(through(DESK)(calls, 1000, floors).data, ours.worths).gain


@pytest.mark.fault("T41", "A08", "P01")
@pytest.mark.parametrize("collateral", [115 * 10**6, 90 * 10**6], ids=["shares are named", "collateral is named"])
def test_the_guard_reads_what_the_decision_asks_for(collateral: int) -> None:
    offer = an_offer(collateral)
    assert bool(offer.plan.seized) == (collateral < 10**8)
    for floor in (0, 10**18, offer.gain * 9 // 10):
        decided = Liquidate(offer, floor)
        read = ran(OURS.calls(decided), OURS.floors(decided))
        assert read is not None and floor <= read < floor + 10**13  # a few smallest units of 10**12


@pytest.mark.fault("A20")
def test_collateral_that_need_not_arrive_is_no_gain() -> None:
    offer = an_offer(90 * 10**6)
    calls, (arrived, repaid) = OURS.calls(Liquidate(offer, 10**18)), OURS.floors(Liquidate(offer, 10**18))
    whole, less = (ran(calls, (replace(arrived, least=n), repaid)) for n in (arrived.least, arrived.least * 98 // 100))
    assert whole is not None and less is not None
    lost = maths.incentive_factor(PARAMS.lltv) * repaid.least * 2 // 100 * 10**12 // WAD  # US dollars (wad)
    assert whole - less == pytest.approx(lost, rel=1e-4)


def test_it_asks_for_no_more_than_would_be_repaid_now() -> None:
    offer = an_offer()
    _, repaid = OURS.floors(Liquidate(offer, offer.gain))
    assert repaid.least == offer.evidence["repaid"]


@pytest.mark.fault("T41", "A08", "P05")
def test_what_nothing_holds_to_a_gain_is_no_purchase_of_ours() -> None:
    decided = Liquidate(an_offer(), 10**18)
    calls, (arrived, repaid) = OURS.calls(decided), OURS.floors(decided)
    for floors in ((), (arrived,), (repaid,), (arrived, replace(repaid, proof=balance(COLLATERAL, MORPHO)))):
        with pytest.raises(ValueError, match="nothing says what that must bring"):
            ran(calls, floors)
    twice = (calls[0], calls[1], calls[1], calls[2])
    for several in (twice, (*calls, Call(MORPHO, b"what?")), (calls[0], Call(DESK, calls[1].data), calls[2])):
        with pytest.raises(ValueError, match="more than one"):
            ran(several, (arrived, repaid))
    with pytest.raises(ValueError, match="cannot be read"):
        ran((Call(MORPHO, calls[1].data[:200]), calls[2]), (arrived, repaid))
    with pytest.raises(ValueError, match="cannot be read"):
        ran(calls[1:2], (arrived, repaid))
    for other in (replace(SETTINGS), replace(OURS.settings, tokens={DESK: DOLLAR})):
        with pytest.raises(ValueError, match="not in the settings"):
            ran(calls, (arrived, repaid), MorphoBlue(other))


# ─── against the arithmetic of the contract ───────────────────────────────────────────────────────

amounts = st.integers(1, 10**30)


def carried_out(draw: Any, seizing: bool) -> tuple[Liquidation, int, int]:
    """A liquidation at a price and a loan-to-value: (done, price, lltv)."""
    assets = draw(st.integers(0, 10**27))
    totals = Totals(assets, 0, assets, draw(st.integers(assets, 10**6 * assets)), 0)
    price, lltv = draw(st.integers(1, 10**48)), draw(st.integers(0, WAD - 1))
    by = maths.by_seizing if seizing else maths.by_repaying
    return by(draw(amounts), totals, price, lltv), price, lltv


@given(st.data(), st.booleans())
def test_the_reading_is_never_more_than_it_brings(data: st.DataObject, seizing: bool) -> None:
    done, price, lltv = carried_out(data.draw, seizing)
    assume(done.seized)
    units = data.draw(st.integers(0, done.seized))
    repaid = data.draw(st.integers(0, done.repaid))
    allowed = done.repaid + data.draw(st.integers(0, 10**20))
    arrived = data.draw(st.integers(units, done.seized)) if seizing else done.seized  # some may stay behind
    brought = Fraction(arrived * price, ORACLE_PRICE_SCALE) - done.repaid
    share = arrives(units, done.seized if seizing else 0)
    assert min(worth(r, lltv, share) - r for r in (repaid, allowed)) <= brought


@given(st.integers(0, 10**30), st.integers(0, WAD - 1), st.fractions(Fraction(1, 2), 1))
def test_so_much_must_be_repaid_for_a_gain_and_one_less_is_not_enough(gain: int, lltv: int, share: Fraction) -> None:
    enough = least_repaid(gain, lltv, share)
    if enough is None:
        assert worth(10**40, lltv, share) - 10**40 <= 0
        return
    assert worth(enough, lltv, share) - enough >= gain
    assert enough == 0 or worth(enough - 1, lltv, share) - (enough - 1) < gain


def test_the_bytes_that_are_looked_for_are_those_that_are_sent() -> None:
    before, done, _ = OURS.calls(Liquidate(an_offer(), 0))
    assert (before.data[:4], done.data[:4]) == (APPROVE, LIQUIDATE)

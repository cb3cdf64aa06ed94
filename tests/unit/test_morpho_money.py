"""What the adapter lets us pay, says that we hold and have gained, and takes as settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from keeper.model import (
    Fact,
    Liquidate,
    Opportunity,
    Realised,
    Reason,
    Wait,
)
from keeper.protocols import words
from keeper.protocols.abi import load
from keeper.protocols.morpho_blue import offers
from keeper.protocols.morpho_blue.maths import Totals
from keeper.protocols.morpho_blue.offers import Plan
from keeper.protocols.morpho_blue.records import (
    Cash,
    Params,
    Position,
    cash_key,
    position_key,
)
from keeper.protocols.morpho_blue.settings import NO_IRM, Token
from keeper.protocols.morpho_blue.terms import APPROVE
from keeper.units import WAD
from tests.unit.morpho_shelf import (
    ADAPTER,
    AT,
    COLLATERAL,
    DESK,
    DOLLAR,
    IRM,
    LOAN,
    MARKET,
    MORPHO,
    NOW,
    ORACLE,
    SETTINGS,
    Shelf,
    a_market,
    shelf,
)

# ─── the floor ────────────────────────────────────────────────────────────────────────────────────


def plan(worth: int, *, seized: int = 0, shares: int = 0, allowance: int = 0) -> Plan:
    return Plan(Params(LOAN, COLLATERAL, ORACLE, IRM, WAD // 2), DESK, seized, shares, worth, allowance)


dollars = st.integers(0, 10**30)
tokens = st.builds(Token, usd=st.integers(1, 10**24), decimals=st.integers(0, 27))


@given(tokens, st.integers(-(10**30), 10**30), st.integers(0, 10**30))
def test_so_many_units_are_worth_so_many_dollars_and_one_less_is_not(token: Token, usd: int, more: int) -> None:
    assert token.value(token.assets(usd) + more) >= usd
    assert token.value(token.assets(usd) - 1 - more) < usd


@given(st.integers(0, 10**30), dollars)
def test_for_a_stated_seizure_the_limit_is_the_most_that_leaves_the_floor(worth: int, floor: int) -> None:
    limit = offers.limit(SETTINGS, plan(worth, seized=1), floor)
    assert limit == 0 or DOLLAR.value(worth - limit) >= floor
    assert DOLLAR.value(worth - limit - 1) < floor


@given(st.integers(0, 10**30), st.integers(0, 10**30), dollars)
def test_for_stated_shares_the_limit_is_also_what_they_cost(worth: int, allowance: int, floor: int) -> None:
    by_shares = offers.limit(SETTINGS, plan(worth, shares=1, allowance=allowance), floor)
    assert by_shares == min(allowance, offers.limit(SETTINGS, plan(worth, seized=1), floor))


def an_offer(**fields: Any) -> Opportunity:
    """Whole debt of 1e6 shares, a little under water."""
    view = shelf(a_market(Totals(10**9, 10**15, 10**8, 10**14, NOW), irm=NO_IRM), price=10**36, cash=10**9)
    key = position_key(MARKET, b"\x0b" * 20)
    view.records[key] = Position(10**14, 115 * 10**6)
    [offer] = ADAPTER.opportunities(view, [ADAPTER.health(view, key, AT)], AT)
    return replace(offer, **fields)


def test_the_limit_is_allowed_and_taken_back() -> None:
    offer = an_offer()
    limit = offers.limit(SETTINGS, offer.plan, offer.gain)
    before, _, after = ADAPTER.calls(Liquidate(offer, floor=offer.gain))
    assert (before.target, before.data) == (LOAN, APPROVE + words.pack(MORPHO, limit))
    assert (after.target, after.data) == (LOAN, APPROVE + words.pack(MORPHO, 0))


def test_waiting_calls_nothing() -> None:
    assert ADAPTER.calls(Wait(an_offer(), NOW, Reason.COOLDOWN)) == ()


def test_an_id_has_24_bytes() -> None:
    assert len(an_offer().id) == 24


# ─── our own side ─────────────────────────────────────────────────────────────────────────────────


def test_what_we_hold_is_called_by_its_symbol_or_its_address() -> None:
    view = Shelf({cash_key(LOAN): Cash(7), cash_key(COLLATERAL): Cash(9)})
    held = {place: holding.amount for place, holding in ADAPTER.holdings(view).items()}
    assert held == {"USDC": 7, f"0x{COLLATERAL.hex()}": 9}


def test_the_proof_of_a_holding_is_the_read_that_told_it() -> None:
    view = Shelf({cash_key(LOAN): Cash(7)})
    [read] = ADAPTER.interests(view).reads
    proof = ADAPTER.holdings(view)["USDC"].proof
    assert (proof.target, proof.data) == (read.target, read.data)


def test_a_balance_that_is_not_known_is_left_out() -> None:
    assert ADAPTER.holdings(Shelf({})) == {}


def liquidated(offer: Opportunity, **fields: Any) -> Fact:
    amounts = {name: offer.evidence[name] for name in ("seized", "repaid")}
    return replace(Fact("liquidated", offer.key, DESK, bytes(32), amounts), **fields)


def test_what_went_as_planned_brought_what_was_predicted() -> None:
    offer = an_offer()
    assert ADAPTER.realised(offer, [liquidated(offer)]) == Realised(offer.gain, hedge=0)


def test_what_was_paid_on_top_was_not_gained() -> None:
    offer = an_offer()
    dearer = {"seized": offer.evidence["seized"], "repaid": offer.evidence["repaid"] + 2 * 10**6}
    assert ADAPTER.realised(offer, [liquidated(offer, amounts=dearer)]).gain == offer.gain - 2 * WAD


@pytest.mark.parametrize("other", [{"who": MORPHO}, {"key": position_key(MARKET, LOAN)}, {"name": "repaid"}])
def test_what_is_not_ours_or_not_this_brought_nothing(other: dict[str, Any]) -> None:
    offer = an_offer()
    assert ADAPTER.realised(offer, [liquidated(offer, **other)]) == Realised(0)


# ─── reverts ──────────────────────────────────────────────────────────────────────────────────────


def test_a_revert_is_understood_through_the_desk() -> None:
    failed = load("keeper.protocols.options")["Desk"].errors["CallFailed"]
    said = failed.selector + encode(failed.inputs, (1, words.error("position is healthy")))
    assert ADAPTER.explain(said) is Reason.NOT_UNDERWATER


def test_a_revert_cut_short_is_no_reason_to_fail() -> None:
    call_failed = load("keeper.protocols.options")["Desk"].errors["CallFailed"].selector
    assert ADAPTER.explain(call_failed + b"\1") is Reason.REVERTED_OTHER


# ─── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", ["", "0x12", MARKET.hex(), "0x" + "g" * 64])
def test_what_is_not_the_id_of_a_market_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not the id"):
        replace(SETTINGS, markets=(wrong,))


def test_two_tokens_of_one_symbol_are_refused() -> None:
    with pytest.raises(ValueError, match="same symbol"):
        replace(SETTINGS, tokens={LOAN: DOLLAR, COLLATERAL: Token(WAD, 18, "USDC")})


def test_tokens_without_a_symbol_are_not_of_one_symbol() -> None:
    settings = replace(SETTINGS, tokens={LOAN: Token(WAD, 6), COLLATERAL: Token(WAD, 18)})
    assert settings.name(LOAN) == f"0x{LOAN.hex()}"

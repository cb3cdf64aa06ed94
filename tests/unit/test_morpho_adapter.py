"""The adapter without a chain: screening, sizing, floors, accounting, and logs that should not be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import assume, given
from hypothesis import strategies as st

from keeper.errors import AdapterFault
from keeper.model import (
    BlockRef,
    Delta,
    Fact,
    Hash,
    Key,
    Liquidate,
    Log,
    LogFilter,
    Moment,
    Opportunity,
    Realised,
    Reason,
    Wait,
)
from keeper.protocols import words
from keeper.protocols.abi import load
from keeper.protocols.morpho_blue import events, maths, offers
from keeper.protocols.morpho_blue.adapter import APPROVE, CALL_FAILED, MorphoBlue
from keeper.protocols.morpho_blue.maths import Irm, Totals
from keeper.protocols.morpho_blue.offers import Plan
from keeper.protocols.morpho_blue.records import (
    Cash,
    Market,
    OraclePrice,
    Params,
    Position,
    cash_key,
    market_key,
    position_key,
    price_key,
)
from keeper.protocols.morpho_blue.settings import NO_IRM, Settings, Token
from keeper.protocols.morpho_blue.valuation import Valued
from keeper.units import WAD

MORPHO, DESK, LOAN, COLLATERAL, ORACLE, IRM = (bytes([i]) * 20 for i in range(1, 7))
MARKET = b"\x07" * 32
NOW = 1_700_000_000
REF = BlockRef(1, bytes(32), bytes(32), NOW, base_fee=10**9, gas_used=0, gas_limit=30_000_000)
AT = Moment(2, NOW + 12, base_fee=10**9)

DOLLAR = Token(WAD, 6, "USDC")
SETTINGS = Settings(
    MORPHO,
    DESK,
    markets=(f"0x{MARKET.hex()}",),
    tokens={LOAN: DOLLAR},
    irms={IRM: Irm.UTILISATION},
    coin_usd=3000 * WAD,
)
ADAPTER = MorphoBlue(SETTINGS)


class Shelf:
    """A view that holds what it is given."""

    ref = REF

    def __init__(self, records: dict[Key, Any]) -> None:
        self.records = records

    def get(self, key: Key) -> Any:
        return self.records.get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(sorted(key for key in self.records if key.kind == kind))


def shelf(market: Market, price: int = 10**36, cash: int = 0) -> Shelf:
    records = {market_key(MARKET): market, price_key(ORACLE): OraclePrice(price), cash_key(LOAN): Cash(cash)}
    return Shelf(records)


def a_market(totals: Totals, lltv: int = 86 * WAD // 100, irm: bytes = IRM) -> Market:
    return Market(Params(LOAN, COLLATERAL, ORACLE, irm, lltv), totals)


markets = st.builds(
    lambda supply, used, shares, lltv, age: a_market(
        Totals(supply, supply * 10**6, supply * used // 100, shares, NOW - age), lltv
    ),
    supply=st.integers(1, 10**32),
    used=st.integers(1, 100),
    shares=st.integers(1, 10**38),
    lltv=st.integers(1, WAD - 1),
    age=st.integers(0, 10**8),
)
prices = st.integers(1, 10**50)


# ─── screening ────────────────────────────────────────────────────────────────────────────────────


def border(market: Market, price: int, shares: int) -> int:
    """The least collateral that covers a debt of ``shares``, were it not for the roundings down."""
    totals = maths.accrue(market.totals, Irm.UTILISATION, AT.timestamp)
    return -(-maths.borrowed(shares, totals) * 10**54 // (market.params.lltv * price))


@given(markets, prices, st.lists(st.tuples(st.integers(1, 10**36), st.integers(-3, 3)), min_size=1, max_size=20))
def test_screening_names_all_that_health_condemns_at_the_very_border(
    market: Market, price: int, positions: list[tuple[int, int]]
) -> None:
    view, columns = shelf(market, price), ADAPTER.columns()
    for i, (shares, offset) in enumerate(positions):
        key = position_key(MARKET, i.to_bytes(20))
        view.records[key] = Position(shares, max(border(market, price, shares) + offset, 0))
        columns.put(key, view.records[key])
    condemned = {key for key in view.keys("position") if not ADAPTER.health(view, key, AT).healthy}
    assert condemned <= set(columns.suspects(view, AT))


@given(markets, prices, st.integers(1, 10**36))
def test_screening_does_not_name_the_clearly_healthy(market: Market, price: int, shares: int) -> None:
    view, columns, key = shelf(market, price), ADAPTER.columns(), position_key(MARKET, DESK)
    enough = 2 * border(market, price, shares) + 10**60 // (price * market.params.lltv // WAD + 1)
    view.records[key] = Position(shares, enough)
    columns.put(key, view.records[key])
    assert list(columns.suspects(view, AT)) == []


SUNK, SOUND, DEBTLESS = Position(10**6, 0), Position(10**6, 10**9), Position(0, 5)
borrowers = st.integers(0, 5) | st.integers(0, 200)
changes = st.lists(st.tuples(borrowers, st.sampled_from([None, SUNK, SOUND, DEBTLESS])), max_size=300)


@given(changes)
def test_rows_follow_every_change(changes: list[tuple[int, Position | None]]) -> None:
    view, columns = shelf(a_market(Totals(10**9, 10**15, 10**9, 10**9, NOW))), ADAPTER.columns()
    alive = {}
    for i, position in changes:
        key = position_key(MARKET, i.to_bytes(20))
        columns.put(key, position)
        alive[key] = position
    assert list(columns.suspects(view, AT)) == sorted(key for key, position in alive.items() if position == SUNK)


def test_records_of_other_kinds_are_no_accounts() -> None:
    view, columns = shelf(a_market(Totals(borrow_shares=1))), ADAPTER.columns()
    for key, record in view.records.items():
        columns.put(key, record)
    assert list(columns.suspects(view, AT)) == []


# ─── sizing ───────────────────────────────────────────────────────────────────────────────────────


@given(markets, st.integers(0, 10**50), st.integers(1, 10**36), st.integers(0, 10**30), st.integers(0, 10**30))
def test_a_size_fits_debt_collateral_and_cash(
    market: Market, price: int, shares: int, collateral: int, cash: int
) -> None:
    now, late = (
        Valued(market.params, maths.accrue(market.totals, Irm.UTILISATION, NOW + seconds), price)
        for seconds in (12, 132)
    )
    assume(maths.max_borrow(collateral, price, market.params.lltv) < maths.borrowed(shares, now.totals))
    assume(price or cash)  # at a price of zero the collateral is free
    size = offers.size(Position(shares, collateral), now, late, cash)
    assert size.done.repaid_shares <= shares
    assert size.done.seized <= collateral
    assert max(size.done.repaid, size.late.repaid) == size.allowance <= cash


def test_cash_that_suffices_only_if_included_at_once_is_not_relied_on() -> None:
    market = a_market(Totals(10**12, 10**18, 9 * 10**11, 9 * 10**17, NOW))
    now, late = (
        Valued(market.params, maths.accrue(market.totals, Irm.UTILISATION, NOW + seconds), 10**36)
        for seconds in (12, 132)
    )
    shares = 10**17
    cash = maths.borrowed(shares, now.totals)
    assert maths.borrowed(shares, late.totals) > cash
    size = offers.size(Position(shares, 2 * 10**11), now, late, cash)
    assert cash - 1 <= size.allowance <= cash


def test_collateral_without_a_price_is_free_as_the_contract_has_it() -> None:
    market = a_market(Totals(10**9, 10**15, 10**8, 10**14, NOW))
    valued = Valued(market.params, market.totals, price=0)
    size = offers.size(Position(10**12, 500), valued, valued, cash=0)
    assert (size.done.seized, size.done.repaid) == (500, 0)


def test_debt_too_small_to_seize_anything_for_is_dust() -> None:
    view = shelf(a_market(Totals(10**9, 10**15, 1, 10**6, NOW), irm=NO_IRM), price=10**40, cash=10**9)
    key = position_key(MARKET, DESK)
    view.records[key] = Position(10**6, 0)
    [offer] = ADAPTER.opportunities(view, [ADAPTER.health(view, key, AT)], AT)
    assert offer.refusal is Reason.DUST


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
    assert ADAPTER.explain(CALL_FAILED + b"\1") is Reason.REVERTED_OTHER


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


# ─── interests ────────────────────────────────────────────────────────────────────────────────────


def test_an_oracle_is_asked_once_however_many_markets_use_it() -> None:
    view = shelf(a_market(Totals()))
    view.records[market_key(b"\x08" * 32)] = a_market(Totals(), lltv=WAD // 2)
    assert [read.target for read in ADAPTER.interests(view).reads] == [ORACLE, LOAN, COLLATERAL]


def test_a_market_with_an_unlisted_token_is_not_asked_about() -> None:
    view = Shelf({market_key(MARKET): Market(Params(COLLATERAL, LOAN, ORACLE, IRM, WAD // 2), Totals())})
    interests = ADAPTER.interests(view)
    assert interests.logs == (LogFilter(MORPHO),)
    assert [read.target for read in interests.reads] == [LOAN]


def test_what_was_seized_is_still_followed_when_a_market_is_no_longer_served() -> None:
    market = replace(a_market(Totals()), disputed=True)
    assert [read.target for read in ADAPTER.interests(shelf(market)).reads] == [LOAN, COLLATERAL]


# ─── logs ─────────────────────────────────────────────────────────────────────────────────────────

TOPICS = {handler.__name__: topic for topic, handler in events.HANDLERS.items()}


def absorb(view: Shelf, handler: str, *data: int | bytes, who: Hash = bytes(32), source: bytes = MORPHO) -> list[Any]:
    topics = (TOPICS[handler], MARKET, who, who)
    return list(ADAPTER.absorb(view, Log(source, topics, words.pack(*data), bytes(32), 0), REF))


def test_a_repayment_of_one_unit_too_many_leaves_nothing_owed() -> None:
    view = shelf(a_market(Totals(borrow_assets=99, borrow_shares=10**6)))
    view.records[position_key(MARKET, bytes(20))] = Position(10**6, 0)
    market, position = absorb(view, "_repay", 100, 10**6)
    assert (market.after.totals.borrow_assets, market.after.totals.borrow_shares) == (0, 0)
    assert position == Delta(position_key(MARKET, bytes(20)), Position(10**6, 0), None)


def test_a_liquidation_of_one_unit_too_many_leaves_nothing_owed() -> None:
    view = shelf(a_market(Totals(supply_assets=200, borrow_assets=99, borrow_shares=10**6)))
    view.records[position_key(MARKET, bytes(20))] = Position(10**6, 7)
    market, position, fact = absorb(view, "_liquidate", 100, 10**6, 7, 0, 0)
    assert (market.after.totals.borrow_assets, market.after.totals.supply_assets) == (0, 200)
    assert position.after is None
    assert fact.amounts == {"repaid": 100, "repaid_shares": 10**6, "seized": 7, "bad_debt": 0}


def test_another_contracts_log_changes_nothing() -> None:
    assert absorb(shelf(a_market(Totals())), "_supply", 1, 1, source=DESK) == []


def test_a_market_that_is_not_listed_is_ignored() -> None:
    adapter = MorphoBlue(replace(SETTINGS, markets=()))
    params = words.pack(LOAN, COLLATERAL, ORACLE, IRM, WAD // 2)
    log = Log(MORPHO, (TOPICS["_create_market"], MARKET), params, bytes(32), 0)
    assert list(adapter.absorb(Shelf({}), log, REF)) == []
    assert list(ADAPTER.absorb(Shelf({}), log, REF)) != []


def test_an_unknown_event_changes_nothing() -> None:
    log = Log(MORPHO, (bytes(32), MARKET), b"", bytes(32), 0)
    assert list(ADAPTER.absorb(shelf(a_market(Totals())), log, REF)) == []


def test_a_market_created_before_the_book_began_is_a_fault() -> None:
    with pytest.raises(AdapterFault, match="not seen when it was created"):
        absorb(Shelf({}), "_supply", 1, 1)

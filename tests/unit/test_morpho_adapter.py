"""The adapter without a chain: screening, sizing, and logs that should not be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keeper.errors import AdapterFault
from keeper.model import (
    Delta,
    Hash,
    Log,
    LogFilter,
    Reason,
)
from keeper.protocols import words
from keeper.protocols.morpho_blue import events, maths, offers
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.maths import Irm, Totals
from keeper.protocols.morpho_blue.records import (
    Market,
    Params,
    Position,
    market_key,
    position_key,
)
from keeper.protocols.morpho_blue.settings import NO_IRM
from keeper.protocols.morpho_blue.valuation import Valued
from keeper.units import WAD
from tests.unit.morpho_shelf import (
    ADAPTER,
    AT,
    COLLATERAL,
    DESK,
    IRM,
    LOAN,
    MARKET,
    MORPHO,
    NOW,
    ORACLE,
    REF,
    SETTINGS,
    Shelf,
    a_market,
    shelf,
)

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


# ─── interests ────────────────────────────────────────────────────────────────────────────────────


def test_an_oracle_is_asked_once_however_many_markets_use_it() -> None:
    view = shelf(a_market(Totals()))
    view.records[market_key(b"\x08" * 32)] = a_market(Totals(), lltv=WAD // 2)
    assert [read.target for read in ADAPTER.interests(view).reads] == [ORACLE, LOAN, COLLATERAL]


@pytest.mark.fault("A20", "A22", "P08")
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


@pytest.mark.fault("A25")
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

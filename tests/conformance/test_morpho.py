"""Morpho Blue passes every card; and what the cards do not say of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_signature_to_4byte_selector

from keeper.errors import AdapterFault, Reverted
from keeper.model import Liquidate, Opportunity, Reason
from keeper.protocols.conformance import CARDS, Book, Card, follow, moment
from keeper.protocols.morpho_blue import adapter, offers, terms
from keeper.protocols.morpho_blue.events import HANDLERS
from keeper.protocols.morpho_blue.maths import ORACLE_PRICE_SCALE, Irm, accrue
from keeper.protocols.morpho_blue.records import Position, market_key, position_key
from keeper.simulation.node import Anvil
from keeper.units import mul_down
from tests.conformance.morpho_life import PARAMS, REVERTING
from tests.conformance.morpho_world import GENESIS, MorphoWorld

pytestmark = pytest.mark.chain

Build = Callable[..., MorphoWorld]


@pytest.fixture
def build(artifacts: dict[str, Any]) -> Iterator[Build]:
    with Anvil(timestamp=GENESIS, base_fee=10**9) as node:
        yield partial(MorphoWorld, node, artifacts)


@pytest.fixture
def world(build: Build) -> MorphoWorld:
    return build()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.__name__)
def test_card(card: Card, world: MorphoWorld) -> None:
    card(world, Random(7), 30)


def test_totals_with_interest_and_fee_are_foretold(world: MorphoWorld) -> None:
    venue, key = world.venues[0], market_key(world.venues[0].id)
    world.settle(venue, world.users[0], collateral=5 * venue.unit, part=90)
    before = world.records()["market"][key].totals
    world.touch(venue, seconds=90 * 86_400)
    foretold = accrue(before, Irm.UTILISATION, world.node.head().timestamp)
    assert foretold == world.records()["market"][key].totals
    assert foretold.supply_shares > before.supply_shares


# ─── one liquidation, to the wei ──────────────────────────────────────────────────────────────────


def sunk(world: MorphoWorld, price: int, market: int = 0) -> tuple[Book, Opportunity]:
    """A borrower at the limit, then ``price`` per cent of the old price: the book, and the one thing to do."""
    venue = world.venues[market]
    world.settle(venue, world.users[0], collateral=venue.unit, part=100)
    world.set_price(venue, world.price(venue) * price // 100)
    book = world.book()
    follow(world, book)
    [offer] = world.offers(book)
    return book, offer


def liquidate(world: MorphoWorld, offer: Opportunity, market: int = 0, floor: int = 0) -> tuple[int, int]:
    """Loan tokens paid and collateral received by carrying out an offer."""
    tokens = world.venues[market].params.loan, world.venues[market].params.collateral
    loan, collateral = (world.balance(token, world.operator) for token in tokens)
    at = moment(world.node.head(), 12)
    world.perform(world.adapter.calls(Liquidate(offer, floor)), at)
    return loan - world.balance(tokens[0], world.operator), world.balance(tokens[1], world.operator) - collateral


@pytest.mark.parametrize("market", [0, 1])
@pytest.mark.parametrize("price", [97, 40], ids=["solvent", "bad debt"])
def test_balances_change_as_predicted_to_the_wei(world: MorphoWorld, price: int, market: int) -> None:
    _, offer = sunk(world, price, market)
    assert liquidate(world, offer, market) == (offer.evidence["repaid"], offer.evidence["seized"])


def test_a_solvent_borrower_is_freed_of_the_whole_debt(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=97)
    liquidate(world, offer)
    assert world.position(world.venues[0], world.users[0]).shares == 0


def test_bad_debt_is_realised_as_predicted(world: MorphoWorld) -> None:
    book, offer = sunk(world, price=40)
    liquidate(world, offer)
    [(_, [fact])] = follow(world, book)
    assert (fact.name, fact.key, fact.who) == ("liquidated", offer.key, world.operator)
    assert fact.amounts["bad_debt"] == offer.evidence["bad_debt"] > 0
    assert world.position(world.venues[0], world.users[0]) == Position()


def test_cash_at_hand_bounds_what_is_repaid(world: MorphoWorld) -> None:
    world.set_cash(world.venues[0], 1000)
    _, offer = sunk(world, price=97)
    paid, received = liquidate(world, offer)
    assert 0 < paid <= 1000
    assert (paid, received) == (offer.evidence["repaid"], offer.evidence["seized"])


def test_without_cash_it_is_refused(world: MorphoWorld) -> None:
    world.set_cash(world.venues[0], 0)
    _, offer = sunk(world, price=97)
    assert offer.refusal is Reason.INVENTORY_SHORT


def test_at_expiry_a_whole_debt_costs_exactly_the_allowance(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=97)
    loan = world.venues[0].params.loan
    before = world.balance(loan, world.operator)
    late = moment(world.node.head(), offer.expires - world.node.head().timestamp)
    world.perform(world.adapter.calls(Liquidate(offer, floor=0)), late)
    assert before - world.balance(loan, world.operator) == offer.plan.allowance > offer.evidence["repaid"]


@pytest.mark.fault("A23", "P07")
def test_no_allowance_is_left(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=97)
    liquidate(world, offer)
    left = world.ask(world.venues[0].params.loan, "allowance(address,address)", world.operator, world.morpho)
    assert int.from_bytes(left) == 0


def test_gas_stays_below_what_is_charged_for_it(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=40)
    liquidate(world, offer)
    assert 0 < world.gas_used < offers.GAS == offer.needs.gas


def test_the_id_stays_while_only_time_and_price_change(world: MorphoWorld) -> None:
    book, before = sunk(world, price=97)
    world.set_price(world.venues[0], world.price(world.venues[0]) * 99 // 100)
    follow(world, book)
    [after] = world.offers(book)
    assert after.evidence["price"] != before.evidence["price"]
    assert after.id == before.id


def test_two_liquidations_cannot_spend_the_same_cash(world: MorphoWorld) -> None:
    book, offer = sunk(world, price=97)
    world.set_cash(world.venues[0], offer.plan.allowance)
    follow(world, book)
    at = moment(book.ref, 12)
    rest = world.adapter.afford(book, [offer], at)
    assert rest >= 0 > world.adapter.afford(book, [offer, offer], at)
    assert world.adapter.afford(book, [offer, offer], at) == -offer.needs.cash


# ─── the floor ────────────────────────────────────────────────────────────────────────────────────


def move(world: MorphoWorld, percent: int, market: int = 0) -> int:
    """The new price of the collateral, per cent of the old one."""
    world.set_price(world.venues[market], world.price(world.venues[market]) * percent // 100)
    return world.price(world.venues[market])


def test_a_price_that_rises_may_take_what_leaves_the_floor(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=40)
    move(world, 101)
    paid, received = liquidate(world, offer, floor=offer.gain // 2)
    token = world.adapter.settings.tokens[offer.plan.params.loan]
    assert received == offer.evidence["seized"]
    assert offer.evidence["repaid"] < paid
    assert token.value(offer.plan.worth - paid) >= offer.gain // 2


@pytest.mark.fault("A08")
def test_a_price_that_rises_beyond_the_floor_reverts(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=40)
    move(world, 101)
    with pytest.raises(Reverted):
        liquidate(world, offer, floor=offer.gain * 9 // 10)


def test_when_a_whole_debt_is_repaid_a_risen_price_brings_fewer_units_worth_as_much(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=97, market=1)
    price = move(world, 101, market=1)
    paid, received = liquidate(world, offer, market=1, floor=offer.gain)
    one = price // ORACLE_PRICE_SCALE + 1
    assert paid == offer.evidence["repaid"]
    assert received < offer.evidence["seized"]
    assert abs(mul_down(received, price, ORACLE_PRICE_SCALE) - offer.plan.worth) <= one


def test_what_the_collateral_is_worth_after_a_fall_is_not_asked(world: MorphoWorld) -> None:
    _, offer = sunk(world, price=40)
    price = move(world, 90)
    paid, received = liquidate(world, offer, floor=offer.gain)
    token = world.adapter.settings.tokens[offer.plan.params.loan]
    assert token.value(mul_down(received, price, ORACLE_PRICE_SCALE) - paid) < offer.gain


# ─── what cannot be valued ────────────────────────────────────────────────────────────────────────


def refusals(world: MorphoWorld, book: Book) -> list[tuple[object, Reason | None]]:
    return [(offer.key, offer.refusal) for offer in world.offers(book)]


def debt(world: MorphoWorld) -> Book:
    """The book of a world with one deeply unhealthy borrower in its first market."""
    world.settle(world.venues[0], world.users[0], collateral=world.venues[0].unit, part=90)
    world.set_price(world.venues[0], world.price(world.venues[0]) // 2)
    book = world.book()
    follow(world, book)
    return book


def test_a_market_with_an_unknown_rate_model_is_refused(build: Build) -> None:
    world = build(told=None)
    assert refusals(world, debt(world)) == [(market_key(world.venues[0].id), Reason.PRICE_UNKNOWN)]


def test_health_without_a_value_is_a_fault_not_a_number(build: Build) -> None:
    world = build(told=None)
    book = debt(world)
    with pytest.raises(AdapterFault, match="price_unknown"):
        world.adapter.health(book, position_key(world.venues[0].id, world.users[0]), moment(book.ref))


@pytest.mark.fault("A27")
def test_a_rate_model_that_the_chain_contradicts_is_no_longer_believed(build: Build) -> None:
    world = build(told=Irm.ZERO)
    book = debt(world)
    assert [offer.key.kind for offer in world.offers(book)] == ["position"]  # nothing has contradicted it so far
    world.touch(world.venues[0])
    follow(world, book)
    assert refusals(world, book) == [(market_key(world.venues[0].id), Reason.PRICE_UNKNOWN)]


@pytest.mark.fault("A06")
def test_an_oracle_that_reverts_is_not_taken_at_its_last_word(world: MorphoWorld) -> None:
    book = debt(world)
    world.node.rpc("anvil_setCode", world.venues[0].params.oracle, REVERTING)
    world.mine()
    follow(world, book)
    assert refusals(world, book) == [(market_key(world.venues[0].id), Reason.PRICE_UNKNOWN)]


# ─── the constants against the package ────────────────────────────────────────────────────────────

IGNORED = {"SetOwner", "SetFeeRecipient", "EnableIrm", "EnableLltv", "FlashLoan", "SetAuthorization", "IncrementNonce"}


def test_every_event_of_the_package_is_handled_or_known_to_move_no_record(artifacts: dict[str, Any]) -> None:
    events = [item for item in artifacts["EventsLib"]["abi"] if item["type"] == "event"]
    names = {event_abi_to_log_topic(event): event["name"] for event in events if event["name"] not in IGNORED}
    handled = {topic: handler.__name__.strip("_") for topic, handler in HANDLERS.items()}
    assert handled == {topic: re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for topic, name in names.items()}


@pytest.mark.parametrize(
    ("selector", "signature"),
    [
        (adapter.PRICE, "price()"),
        (terms.BALANCE_OF, "balanceOf(address)"),
        (terms.APPROVE, "approve(address,uint256)"),
        (terms.LIQUIDATE, f"liquidate({PARAMS},address,uint256,uint256,bytes)"),
    ],
)
def test_selector(selector: bytes, signature: str) -> None:
    assert selector == function_signature_to_4byte_selector(signature)


@pytest.mark.fault("A17", "A18", "A19")
def test_every_revert_in_the_table_was_seen_on_the_node(world: MorphoWorld) -> None:
    assert {data for data, _ in world.reverts()} == {*adapter.REVERTS, b""}

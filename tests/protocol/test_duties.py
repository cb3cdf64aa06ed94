"""What the keeper does for the clearing house: each duty, found by the adapter, performed, and not wanted again."""

from __future__ import annotations

import pytest

from keeper.core import health
from keeper.model import Kind, Liquidate, Moment, Opportunity
from keeper.protocols.options.risk import Price
from keeper.units import wad
from strategies.steward import Steward
from tests.protocol.conftest import PUT
from tests.worlds.house import EXPIRIES, House

pytestmark = pytest.mark.chain


def found(house: House, later: int = 1) -> dict[Kind, Opportunity]:
    """All that can be done in the next block, by kind."""
    at = Moment(house.node.head().number + 1, house.now + later, 10**9)
    reports = health.condemned(house.adapter, house.book, at)
    return {
        o.kind: o
        for o in house.adapter.opportunities(house.book, reports, at)
        if o.key.id != house.adapter.settings.account
    }


def perform(house: House, kind: Kind) -> None:
    """As a steward would."""
    o = found(house)[kind]
    decision = Steward().decide(o)
    assert isinstance(decision, Liquidate), decision
    for call in house.adapter.calls(decision):
        receipt = house.send(house.governor, call.target, call.data)
        assert int(receipt["gasUsed"], 16) <= o.needs.gas * 3 // 2, kind


def sunk(house: House, spot: float) -> None:
    house.fall(spot, 40_000)
    house.flag("alice")
    house.ripen(20)


def test_a_worse_scenario_is_proven(house: House) -> None:
    house.fall(1450.0, 40_000)
    proofs = (house.assess(house.holds("alice"), Price.TRIGGER, s)[:2] for s in range(16))
    mild = next(s for s, (equity, mm) in enumerate(proofs) if equity < mm)
    house.do("alice", "Liquidator", "flag", house.account("alice"), mild)  # the owner, with the mildest proof
    assert house.health("alice").worst != mild
    perform(house, Kind.IMPROVE)
    running = house.state.auction(house.account("alice"))
    assert running is not None and running.scenario == house.health("alice").worst
    assert Kind.IMPROVE not in found(house)


def test_who_is_healthy_again_is_cured(house: House) -> None:
    sunk(house, 1450.0)
    assert Kind.CURE not in found(house)
    house.give("alice", 50_000)
    perform(house, Kind.CURE)
    assert not house.auctioned("alice") and Kind.CURE not in found(house)


def test_what_nobody_buys_is_closed_out(house: House) -> None:
    sunk(house, 1450.0)
    assert Kind.CLOSE_OUT not in found(house)
    house.ripen(house.params.auction.t1)
    perform(house, Kind.CLOSE_OUT)
    assert not house.auctioned("alice") and house.size("alice", PUT) > wad(-100)
    assert house.health("alice").healthy


def test_the_queue_of_an_insolvent_account_is_served(house: House) -> None:
    sunk(house, 800.0)
    assert Kind.CLOSE_OUT not in found(house)
    perform(house, Kind.DELEVERAGE)
    assert house.size("alice", PUT) == 0 and not house.auctioned("alice")


def test_the_queue_leaves_out_whom_the_contract_would_pass_over(house: House) -> None:
    house.trade("tiny", "whale", [(0, EXPIRIES[2], False, 1800.0, -4.5)], -250.0)
    native = 23_750 * 10**6
    house.do("tiny", "Clearing", "withdraw", house.account("tiny"), 0, native, house.who("tiny"))
    sunk(house, 800.0)
    [(_, _, (_, _, creditors))] = found(house)[Kind.DELEVERAGE].plan.steps
    assert house.account("tiny") not in creditors and house.account("whale") in creditors
    perform(house, Kind.DELEVERAGE)
    assert house.size("alice", PUT) == wad(-5)


def test_a_loss_nobody_is_left_for_is_shared(house: House) -> None:
    """Every creditor hedges puts of his own with Alice's, and has no more cash than that takes: he is passed over."""
    for name, held in (("whale", 85.0), ("small", 10.0), ("tiny", 5.0)):
        house.trade(name, "rival", [(0, EXPIRIES[2], False, 1800.0, -0.9 * held)], -50.0 * held)
        native = house.holds(name).cash // 10**12 - round(234 * held) * 10**6
        house.do(name, "Clearing", "withdraw", house.account(name), 0, native, house.who(name))
    sunk(house, 800.0)
    assert Kind.DELEVERAGE not in found(house) and Kind.SOCIALISE not in found(house)
    house.fall(800.0, 40_000, seconds=house.params.auction.t1 + house.params.auction.adl_delay)
    assert Kind.DELEVERAGE not in found(house)
    before, index = house.holds("rival").cash, house.state.clearing().index
    assert house.health("alice").equity < 0
    perform(house, Kind.SOCIALISE)
    clearing = house.state.clearing()
    assert clearing.index < index and house.holds("rival").cash == before * clearing.index // index
    assert abs(house.health("alice").equity) <= wad(1) and house.size("alice", PUT) == wad(-100)
    assert Kind.SOCIALISE not in found(house)


def test_what_has_expired_is_paid_out_and_a_bare_debt_is_covered(house: House) -> None:
    house.skip(EXPIRIES[2] - 100, (800.0, 40_000.0))
    house.ripen(120)
    perform(house, Kind.SETTLE)
    assert not house.holds("alice").legs and house.holds("alice").cash < 0
    assert Kind.FLAG not in found(house)  # there is nothing to auction
    perform(house, Kind.SOCIALISE)
    assert house.holds("alice").cash == 0 and Kind.SOCIALISE not in found(house)


def test_an_auction_at_its_end_begins_again(house: House) -> None:
    sunk(house, 1300.0)
    p = house.params.auction
    house.fall(1300.0, 40_000, seconds=p.t1 + p.t2)
    args = (house.account("alice"), house.health("alice").worst)
    before = house.state.auction(house.account("alice"))
    perform(house, Kind.RESTART)
    assert Kind.RESTART not in found(house)
    after = house.state.auction(house.account("alice"))
    assert before is not None and after is not None and after.since > before.since and after.spent == before.spent
    assert house.offer("alice").rho < wad("0.02")
    assert house.refused("keeper", "Liquidator", "restart", *args) == "NotYet"


def test_the_steward_leaves_what_costs_too_much(house: House) -> None:
    sunk(house, 800.0)
    assert not isinstance(Steward(max_cost=0).decide(found(house)[Kind.DELEVERAGE]), Liquidate)
    assert Steward().decide(found(house)[Kind.BID]) is None

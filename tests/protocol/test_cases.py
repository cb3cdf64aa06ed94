"""What went wrong elsewhere, tried here: those rows A, S, R, F and M of section 5 that no other file has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.model import Kind
from keeper.protocols.options import auction
from keeper.protocols.options.risk import Price
from keeper.units import WAD, wad
from tests.protocol.conftest import PUT
from tests.protocol.test_duties import found, perform
from tests.worlds.house import EXPIRIES, FOREVER, LIMIT, House, Leg, word, words

pytestmark = pytest.mark.chain


def sunk(house: House, spot: float) -> House:
    house.fall(spot, 40_000)
    house.flag("alice")
    house.ripen(20)
    return house


def bid(house: House, by: str, most: int = WAD, limit: int = LIMIT, change: int | None = None) -> tuple[int, ...]:
    expected = house.change("alice") if change is None else change
    return house.account("alice"), house.account(by), most, limit, expected


# ─── auction ──────────────────────────────────────────────────────────────────────────────────────


def test_a1_nothing_is_sold_for_nothing_when_nobody_else_is_there(house: House) -> None:
    """The price begins at the account's equity, is never below zero while it is solvent, and at rho1 its counterparties
    may close it: who waits longer may find nothing."""
    house.fall(1_400.0, 40_000)
    house.flag("alice")
    assert house.offer("alice").price == house.offer("alice").equity
    house.ripen(house.params.auction.t1 * 3)
    o = house.offer("alice")
    assert o.equity > 0 and o.price > 0 and o.refused == 0
    closing = (house.account("alice"), [house.account("whale")], [(word(PUT) >> 128, 0)])
    assert house.refused("keeper", "Waterfall", "closeOut", *closing) == ""


def test_a2_a_bid_of_exactly_the_largest_slice_ends_the_auction(house: House) -> None:
    sunk(house, 1_400.0)
    house.bid("alice", "rival")
    assert not house.auctioned("alice")
    sunk_again = house.refused("keeper", "Liquidator", "flag", house.account("alice"), house.health("alice").worst)
    assert sunk_again == "Healthy"


def test_a3_what_is_bought_is_what_was_looked_at(house: House) -> None:
    sunk(house, 1_400.0)
    seen = house.change("alice")
    house.give("alice", 1.0)
    assert house.refused("rival", "Liquidator", "bid", *bid(house, "rival", change=seen)) == "ChangedMeanwhile"
    args = (house.account("alice"), house.account("whale"), words([(*PUT[:4], -1.0)]), 0, FOREVER, 1, b"")
    assert house.refused("alice", "Clearing", "trade", *args) in ("NotReduced", "UnderMargin")


def test_a4_a_limit_holds_for_negative_prices_too(house: House) -> None:
    house.insure(1_000_000)
    sunk(house, 1_235.0)
    house.ripen(40)
    o = house.offer("alice")
    assert o.price < 0
    assert house.refused("rival", "Liquidator", "bid", *bid(house, "rival", limit=o.price * 2)) == "PriceAboveLimit"
    impact = auction.pressure(house.state, 1, house.health("alice", later=1)).charge(o.fmax, house.now + 1)
    limit = o.price + o.fee + impact + wad(1)
    assert house.refused("rival", "Liquidator", "bid", *bid(house, "rival", limit=limit)) == ""


def test_a5_a_fresh_sub_account_can_always_buy(house: House) -> None:
    house.give("rival/7", 200_000)
    sunk(house, 1_400.0)
    house.do("rival", "Liquidator", "bid", *bid(house, "rival/7"))
    assert house.size("rival/7", PUT) < 0
    poor = (house.account("alice"), house.account("nobody"), WAD, LIMIT, house.change("alice"))
    assert house.refused("nobody", "Liquidator", "bid", *poor) in ("NotFlagged", "UnderMargin")


def test_a6_a_running_auction_keeps_its_parameters(house: House) -> None:
    sunk(house, 1_400.0)
    before = house.offer("alice").rho
    a = replace(house.sets.auction, rho1=wad("0.5"), rho_fund=wad("0.5"), t1=10, rho2=wad("0.6"))
    house.govern("Params", "propose", replace(house.sets, auction=a).as_abi())
    house.govern("Params", "accept", 2)
    p = house.sets.auction
    assert before < house.offer("alice").rho <= before + 4 * p.rho1 // p.t1


def test_a8_every_counter_of_an_auction_returns_to_zero(house: House) -> None:
    house.insure(10_000_000)
    sunk(house, 1_200.0)
    assert house.state.clearing().insolvent > 0
    house.bid("alice", "rival")
    assert house.state.clearing().insolvent == 0
    assert house.ask("Clearing", house.dep.clearing, "insolventOf", house.account("alice")) == 0


def test_a10_a_bid_that_wants_too_much_is_clipped(house: House) -> None:
    """M1 too: an exact amount that was front-run by a tiny one still buys the rest."""
    sunk(house, 1_400.0)
    house.bid("alice", "whale", most=house.params.auction.min_slice)
    house.bid("alice", "rival")
    assert house.size("rival", PUT) < 0 and house.size("alice", PUT) < 0


@pytest.mark.parametrize(("spot", "kind"), [(1_450.0, Kind.CURE), (1_150.0, Kind.SOCIALISE)])
def test_a14_an_account_whose_legs_expire_in_its_auction(house: House, spot: float, kind: Kind) -> None:
    """Nothing is left to sell: who has something left is cured, a debt is covered; by what the keeper finds to do."""
    house.skip(EXPIRIES[2] - 400, (spot, 40_000.0))
    house.fall(spot, 40_000, seconds=120)
    house.flag("alice")
    house.ripen(EXPIRIES[2] - house.now + 10)
    for name in ("alice", "whale", "small", "tiny"):
        house.do("anyone", "Clearing", "settle", house.account(name))
    left = house.holds("alice").cash
    assert house.auctioned("alice") and not house.holds("alice").legs and (left > 0) == (kind is Kind.CURE)
    buying = bid(house, "rival")
    assert left < 0 or house.refused("rival", "Liquidator", "bid", *buying) == "NothingToDo"
    house.give("governor", 1.0)  # the adapter's own account
    perform(house, kind)
    assert not house.auctioned("alice") and house.holds("alice").cash == max(0, left)
    assert kind not in found(house)
    assert 0 <= house.backed() - house.total() <= house.total() // WAD + 10


# ─── state ────────────────────────────────────────────────────────────────────────────────────────


def test_s3_losing_on_purpose_cannot_leave_less_than_initial_margin(house: House) -> None:
    """A trade at any premium ends with both sides above Q_im: nobody makes a loss that others bear."""
    args = (house.account("alice"), house.account("whale"), words([(0, EXPIRIES[2], True, 4_000.0, 1.0)]))
    assert house.refused("alice", "Clearing", "trade", *args, wad(60_000), FOREVER, 5, b"") == "NotReduced"


def test_s4_an_account_of_collateral_and_debt_only_is_sold_like_any_other(house: House) -> None:
    house.give("carl", 10.0, asset=1)
    house.ripen(10)
    house.trade("carl", "whale", [(0, EXPIRIES[0], True, 2_000.0, 0.001)], 11_000)  # cash against ether
    h = house.health("carl")
    assert h.mm > 0 and house.holds("carl").cash < 0
    house.fall(1_350.0, 40_000)
    house.flag("carl")
    house.ripen(20)
    house.bid("carl", "rival")
    assert house.total() == house.backed()


def test_s5_nobody_acts_for_another(house: House) -> None:
    alice, clearing = house.account("alice"), "Clearing"
    sunk(house, 1_400.0)
    refused = [
        house.refused("eve", clearing, "deposit", alice, 0, 1),
        house.refused("eve", clearing, "withdraw", alice, 0, 1, house.who("eve")),
        house.refused("eve", clearing, "fundFrom", alice, 1, False),
        house.refused("eve", clearing, "trade", alice, house.account("eve"), [], 0, FOREVER, 0, b""),
        house.refused("eve", "Liquidator", "bid", alice, house.account("rival"), WAD, LIMIT, house.change("alice")),
        house.refused("eve", "Liquidator", "setBackstop", house.who("eve"), True),
        house.refused("eve", "Liquidator", "spend", alice, 1),
        house.refused("eve", "Liquidator", "finish", alice),
        house.refused("eve", "Liquidator", "fill", alice, house.account("eve"), WAD, 0),
        house.refused("eve", "Sealed", "invite", house.who("eve"), True),
        house.refused("eve", "Sealed", "ended", alice, 0, True),
    ]
    engines = {
        "close": (alice, house.account("whale"), word(PUT), 0),
        "pay": (alice, house.account("eve"), 1, False),
        "insure": (alice, 1, 0),
        "forfeit": (alice, 1),
        "socialise": (alice, 1),
        "note": (alice, 1),
        "slice": ((alice, house.account("eve"), WAD, 0, 0, 0, 0),),
        "setEngines": ([house.who("eve")],),
    }
    refused += [house.refused("eve", clearing, name, *args) for name, args in engines.items()]
    assert set(refused) == {"Unauthorised"}, refused


def test_s6_a_series_that_nets_to_nothing_is_no_leg(house: House) -> None:
    leg: Leg = (0, EXPIRIES[1], True, 2_400.0, 1.0)
    house.trade("whale", "keeper", [leg, (*leg[:4], 2.0)], 50)  # the same series twice is one leg
    assert house.size("whale", leg) == wad(3)
    count = len(house.holds("whale").legs)
    house.do("whale", "Clearing", "trade", *(house.account(n) for n in ("whale", "keeper")), words([(*leg[:4], -3.0)]),
             0, FOREVER, 9, b"")  # fmt: skip
    assert len(house.holds("whale").legs) == count - 1


# ─── rounding ─────────────────────────────────────────────────────────────────────────────────────


def test_r4_withdrawing_everything_leaves_less_than_a_unit_and_gives_no_more_than_there_is(house: House) -> None:
    sunk(house, 1_400.0)
    house.bid("alice", "rival", most=wad("0.0123456789"))
    cash = house.holds("keeper").cash
    native = cash // 10**12
    args = (house.account("keeper"), 0, native + 1, house.who("keeper"))
    assert house.refused("keeper", "Clearing", "withdraw", *args) == "Insufficient"
    house.do("keeper", "Clearing", "withdraw", house.account("keeper"), 0, native, house.who("keeper"))
    assert 0 <= house.holds("keeper").cash < 10**12
    assert house.total() >= house.backed() >= house.total() - 10**12


# ─── fund and queue ───────────────────────────────────────────────────────────────────────────────


def test_f1_two_losses_in_a_row_each_fall_on_what_is_left(house: House) -> None:
    for name in ("alice", "bert"):
        if name == "bert":
            house.give("bert", 30_000)
            house.ripen(10)
            house.trade("bert", "whale", [(*PUT[:4], -50.0)], -3_300)
    house.skip(EXPIRIES[2] - 100, (800.0, 40_000.0))
    house.ripen(120)
    for name in ("whale", "small", "tiny"):
        house.do("anyone", "Clearing", "settle", house.account(name))
    indices = [WAD]
    for name in ("alice", "bert"):
        house.do("anyone", "Clearing", "settle", house.account(name))
        house.do("anyone", "Waterfall", "socialise", house.account(name))
        indices.append(house.state.clearing().index)
        assert house.holds(name).cash == 0
    assert indices[0] > indices[1] > indices[2] > 0
    assert 0 <= house.backed() - house.total() <= 2 * (house.total() // WAD + 10)


def test_f8_an_asset_that_no_set_counts_yet_stops_nothing(house: House) -> None:
    """Listing takes effect at once, a set that counts the asset does not: meanwhile it is worth nothing to margin."""
    before = house.health("alice").mm
    token = house.driver.deploy(house.governor, house.c["Token"], "New", "NEW", 18)
    house.govern("Clearing", "list", token)
    house.fall(1_400.0, 40_000)
    house.flag("alice")
    house.ripen(20)
    house.bid("alice", "rival")
    assert house.size("rival", PUT) < 0 and before > 0


# ─── games ────────────────────────────────────────────────────────────────────────────────────────


def test_m4_a_deposit_ahead_of_a_flag_does_not_stop_it(house: House) -> None:
    house.fall(1_400.0, 40_000)
    worst = house.health("alice", Price.TRIGGER).worst
    house.give("alice", 0.000001)
    assert house.refused("keeper", "Liquidator", "flag", house.account("alice"), worst) == ""


def test_m5_improving_to_nothing_worse_is_refused(house: House) -> None:
    sunk(house, 1_400.0)
    running = house.state.auction(house.account("alice"))
    assert running is not None
    for scenario in (running.scenario, 0):
        args = (house.account("alice"), scenario)
        assert house.refused("keeper", "Liquidator", "improve", *args) == "NotWorse"


def test_m7_a_liquidation_makes_an_account_healthier(house: House) -> None:
    """Every slice raises E - Q."""
    sunk(house, 1_350.0)
    for _ in range(3):
        before = house.health("alice", later=1)
        house.bid("alice", "rival", most=wad("0.1"))
        after = house.health("alice")
        assert after.equity - after.mm > before.equity - before.mm

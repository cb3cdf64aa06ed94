"""Every attack of the auction's design review, played on the deployed contracts: what the attacker has at the end, less
what he had at the beginning, is not more than nothing, or than the bound that is stated.

The attacker owns several accounts; what he has is their equity at the true price, all together. Numbers are those of
section 4 of the review.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from keeper.protocols.options import auction
from keeper.protocols.options.params import AuctionParams, ParamSet
from keeper.protocols.options.risk import Price
from keeper.units import WAD, wad
from tests.protocol.conftest import PUT
from tests.worlds.house import EXPIRIES, House, Leg

pytestmark = pytest.mark.chain

NEAR, FAR = EXPIRIES[0], EXPIRIES[2]


def worth(house: House, *names: str) -> int:
    """What the accounts are worth together at spot, usd."""
    return sum(house.health(name, Price.SPOT).equity for name in names)


def sunk(house: House, spot: float, name: str = "alice") -> House:
    house.fall(spot, 40_000)
    house.flag(name)
    house.ripen(20)
    return house


def p_of(house: House) -> AuctionParams:
    return house.params.auction


# ─── 1: the expiring hedge ────────────────────────────────────────────────────────────────────────


def test_01_a_hedge_that_expires_first_never_counted(house: House) -> None:
    """Short far puts against long near ones: Q is that of the naked shorts from the start, and does not jump."""
    far: Leg = (0, FAR, False, 1900.0, -50.0)
    house.give("eve", 40_000)
    house.ripen(10)
    house.trade("eve", "whale", [far], -3_300)
    naked = house.health("eve")
    house.trade("eve", "whale", [(0, NEAR, False, 1900.0, 50.0)], 600)
    hedged = house.health("eve")
    assert hedged.mm >= naked.mm - wad(100)  # the near puts cover nothing of the far ones
    house.skip(NEAR - 100)
    house.fall(2_000.0, 40_000)
    house.do("anyone", "Clearing", "settle", house.account("eve"))
    after = house.health("eve")
    # What the near puts did take off is their delta in the size add-on, no more; the account stays healthy.
    assert after.mm <= (hedged.mm + after.convex) * 101 // 100 and after.healthy


# ─── 2, 4: one's own account ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spot", [1_430.0, 1_350.0, 1_280.0])
def test_02_buying_ones_own_account_through_another_costs_the_fee(house: House, spot: float) -> None:
    """Self-liquidation while the fund does not pay: what the one loses the other gains, less the fee."""
    sunk(house, spot)
    house.ripen(30)
    before, o = worth(house, "alice", "rival"), house.offer("alice")
    house.bid("alice", "rival")
    gained = worth(house, "alice", "rival") - before
    fee = o.fee * o.fmax // WAD
    assert o.price >= 0 and gained <= -fee * 9 // 10


def test_02_with_the_fund_paying_the_gain_is_at_most_the_bound(house: House) -> None:
    """P < 0: the fund pays (rhoPaid - h) Q and not more than its cap; with E >= 0 never above rhoFund Q."""
    house.insure(1_000_000)
    sunk(house, 1_235.0)
    house.ripen(40)
    before, o, p = worth(house, "alice", "rival"), house.offer("alice"), p_of(house)
    house.bid("alice", "rival")
    gained = worth(house, "alice", "rival") - before
    paid = wad(1_000_000) - house.state.clearing().fund
    assert 0 < paid <= min(o.mm * p.rho_fund // WAD, wad(1_000_000) * p.fund_per_auction // WAD)
    assert gained <= paid + wad(1)


def test_02_an_account_cannot_bid_on_its_owner(house: House) -> None:
    sunk(house, 1_400.0)
    args = (house.account("alice"), house.account("alice/1"), WAD, 10**40, house.change("alice"))
    assert house.refused("alice", "Liquidator", "bid", *args) == "SelfBid"


def test_04_a_large_requirement_over_no_equity_cannot_be_built_by_withdrawing(house: House) -> None:
    """M8: in steps too, every withdrawal needs initial margin."""
    native = 10**6
    for step in (50_000, 10_000, 5_000, 2_000, 1_000):
        args = (house.account("alice"), 0, step * native, house.who("alice"))
        while not house.refused("alice", "Clearing", "withdraw", *args):
            house.do("alice", "Clearing", "withdraw", *args)
    h = house.health("alice", Price.INITIAL)
    assert h.equity >= h.im > h.mm


# ─── 3: waiting ───────────────────────────────────────────────────────────────────────────────────


def test_03_who_waits_while_the_account_is_solvent_gets_no_more_than_rho1(house: House) -> None:
    """Collusion until the fund pays: with E >= 0 the discount ends at rho1, and the account is closed out there."""
    house.insure(1_000_000)
    sunk(house, 1_400.0)
    p = p_of(house)
    for _ in range(4):
        house.fall(1_400.0, 40_000, seconds=(p.t1 + p.t2 // 2) // 4)
    o = house.offer("alice")
    assert o.rho > p.rho1 and o.rho_paid <= max(p.rho_fund, o.equity * WAD // o.mm)
    assert o.price >= 0  # nothing for the fund to pay
    house.do("anyone", "Waterfall", "closeOut", house.account("alice"), [house.account("whale")], [(word_of(PUT), 0)])
    assert house.state.clearing().fund == wad(1_000_000)


def word_of(leg: Leg) -> int:
    from tests.worlds.house import word

    return word(leg) >> 128


def test_03_beyond_its_cap_the_fund_pays_nothing_however_long_one_waits(house: House) -> None:
    house.insure(1_000_000)
    sunk(house, 1_100.0)
    p = p_of(house)
    first = house.offer("alice")
    for _ in range(8):
        house.fall(1_100.0, 40_000, seconds=(p.t1 + p.t2) // 8)
    last = house.offer("alice")
    assert first.refused > 0 and last.refused > first.refused
    assert -last.price <= last.mm * p.rho_fund // WAD


# ─── 5: splitting ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parts", [2, 5])
def test_05_splitting_a_bid_gains_nothing(house: House, parts: int) -> None:
    """R6: n slices of f / n of what is left against one of f, in one block."""
    sunk(house, 1_400.0)
    house.ripen(10)
    p, mm = p_of(house), house.health("alice").mm
    with house.undone():
        before = worth(house, "rival")
        house.bid("alice", "rival")
        whole = worth(house, "rival") - before
        gone = -house.size("rival", PUT)
    before, left = worth(house, "rival"), gone
    for _ in range(parts):
        part = min(WAD, left * WAD // parts // -house.size("alice", PUT) if left else 0)
        if house.auctioned("alice"):
            house.bid("alice", "rival", most=part)
    split = worth(house, "rival") - before
    drift = parts * mm // WAD * p.rho1 // p.t1  # each part is a second later, and rho has risen
    assert split <= whole + drift


# ─── 6: convexity ─────────────────────────────────────────────────────────────────────────────────


def test_06_a_large_account_is_sold_no_further_than_its_buffer(house: House) -> None:
    """The exact root: h after the largest bid is 1 + b, not above, with 40 % of Q in the size add-on."""
    house.give("giant", 9e6)
    house.give("rival", 2e7)
    house.give("whale", 2e7)
    house.ripen(10)
    house.trade("giant", "whale", [(0, FAR, False, 1900.0, -9_000.0)], -600_000)
    house.fall(1_500.0, 40_000, seconds=60)
    for spot in (1_450.0, 1_400.0, 1_350.0, 1_300.0, 1_250.0):
        if not house.health("giant", Price.TRIGGER).healthy:
            break
        house.fall(spot, 40_000, seconds=60)
    house.flag("giant")
    house.ripen(20)
    h = house.health("giant")
    assert h.convex * 10 > h.mm
    house.bid("giant", "rival")
    after = house.health("giant")
    assert 1.249 < after.equity / after.mm < 1.256


# ─── 8, 9: depth and smile ────────────────────────────────────────────────────────────────────────


def test_08_draining_the_pool_changes_no_requirement(house: House) -> None:
    before = house.health("alice").mm
    pool, usd = house.dep.pools[0], 10**6
    house.send(house.governor, house.dep.tokens[0], house.c["Token"].call("mint", house.governor, 10**7 * usd))
    house.send(house.governor, house.dep.tokens[1], house.c["Token"].call("mint", house.governor, 5_000 * WAD))
    for token in house.dep.tokens[:2]:
        house.send(house.governor, token, house.c["Token"].call("approve", pool, 10**40))
    house.send(house.governor, pool, house.c["SpotPool"].call("add", 5_000 * WAD, 10**7 * usd))
    house.send(house.governor, pool, house.c["SpotPool"].call("remove", 4_999 * WAD, 10**7 * usd - 2_000 * usd))
    assert house.health("alice").mm == pytest.approx(before, rel=1e-4)


def test_09_pumping_the_smile_moves_it_by_its_band_only(house: House) -> None:
    """+20 vol points in one message: atm counts with at most 10 % of its own average."""
    before = house.health("alice")
    house.publish_smile(0, FAR, 600_000 + 200_000)
    after = house.health("alice")
    assert (before.equity - after.equity) * 100 < 12 * before.mm
    assert after.equity / after.mm > 0.9 * before.equity / before.mm


# ─── 10, 11: prices ───────────────────────────────────────────────────────────────────────────────


def test_10_a_wick_of_one_block_flags_nobody(house: House) -> None:
    """O8: only spot is bad, the trigger is not; a minute later spot is well again."""
    house.publish(0, 1_600.0)
    house.ripen(10)
    house.publish(0, 1_300.0)
    assert not house.health("alice", Price.SPOT).healthy
    args = (house.account("alice"), house.health("alice", Price.SPOT).worst)
    assert house.refused("keeper", "Liquidator", "flag", *args) in ("Healthy", "Level", "NotYet")


def test_11_nobody_buys_in_the_block_of_the_flag_or_before_two_prices(house: House) -> None:
    house.fall(1_400.0, 40_000)
    house.flag("alice")
    args = (house.account("alice"), house.account("rival"), WAD, 10**40, house.change("alice"))
    refused = house.refused("rival", "Liquidator", "bid", *args)
    assert refused in ("NotYet", "SealedStage")
    house.at(house.now + 5)
    assert house.refused("rival", "Liquidator", "bid", *args) == "NotYet"  # no price since
    house.ripen(12)
    assert house.refused("rival", "Liquidator", "bid", *args) == ""


def test_11_selling_ahead_of_a_known_price_gains_less_than_the_fee_and_the_move(house: House) -> None:
    """O9: who knows the next price and owns both sides still only moves his own money about."""
    sunk(house, 1_400.0)
    house.ripen(10)
    before = worth(house, "alice", "rival")
    house.bid("alice", "rival")
    house.publish(0, 1_393.0)
    assert worth(house, "alice", "rival") <= before


# ─── 12: the sealed stage ─────────────────────────────────────────────────────────────────────────


def test_12_keeping_a_sealed_bid_shut_costs_the_bond(house: House) -> None:
    for name in ("eve", "rival"):
        house.govern("Sealed", "invite", house.who(name), True)
    house.give("eve", 100_000)
    house.fall(1_400.0, 40_000)
    house.flag("alice")
    before = worth(house, "eve", "rival")
    for name in ("eve", "rival"):
        args = (house.account("alice"), house.account(name), bytes([1] * 32), bytes(32))
        if house.refused(name, "Sealed", "commit", *args) == "":
            house.do(name, "Sealed", "commit", *args)
    mm = house.health("alice").mm
    house.ripen(30)
    house.do("anyone", "Sealed", "release", house.account("alice"))
    lost = before - worth(house, "eve", "rival")
    assert lost == pytest.approx(2 * mm * p_of(house).bond // WAD, rel=0.05)
    buying = (house.account("alice"), house.account("whale"), WAD, 10**40, house.change("alice"))
    assert house.refused("whale", "Liquidator", "bid", *buying) == ""  # and delays the public by two windows only


# ─── 13: takeover ─────────────────────────────────────────────────────────────────────────────────


def test_13_the_backstop_may_not_take_what_is_still_divisible(house: House) -> None:
    house.govern("Liquidator", "setBackstop", house.who("rival"), True)
    sunk(house, 1_400.0)
    h, p = house.offer("alice"), p_of(house)
    assert h.equity > h.mm * p.h_take // WAD
    args = (house.account("alice"), house.account("rival"), 10**40, house.change("alice"))
    assert house.refused("rival", "Liquidator", "takeover", *args) == "NotYet"
    house.ripen(p.t1)
    assert house.refused("rival", "Liquidator", "takeover", *args) == ""


def test_13_nor_more_than_its_share_of_an_epoch(house: House) -> None:
    """A cap between the requirement of one account and that of two: the second waits for the next epoch."""
    house.govern("Liquidator", "setBackstop", house.who("rival"), True)
    house.give("bob", 60_000)
    house.ripen(10)
    house.trade("bob", "whale", [PUT], -6_700)
    least = house.health("alice").mm
    house.govern("Params", "propose", capped(house, least * 4 // 3).as_abi())
    house.govern("Params", "accept", 2)
    house.fall(1_400.0, 40_000)
    for name in ("alice", "bob"):
        house.flag(name)
    house.ripen(p_of(house).t1 + 30)
    mm, cap = house.offer("alice").mm, p_of(house).take_per_epoch
    assert mm < cap < mm + house.offer("bob").mm
    args = {name: (house.account(name), house.account("rival"), 10**40) for name in ("alice", "bob")}
    house.do("rival", "Liquidator", "takeover", *args["alice"], house.change("alice"))
    assert house.refused("rival", "Liquidator", "takeover", *args["bob"], house.change("bob")) == "OverCap"
    bob = (house.account("bob"), house.account("bob/1"), 10**40, house.change("bob"))
    assert house.refused("bob", "Liquidator", "takeover", *bob) == "Unauthorised"
    house.fall(1_400.0, 40_000, seconds=20)
    later = p_of(house).epoch
    assert house.refused("rival", "Liquidator", "takeover", *args["bob"], house.change("bob"), later=later) == "Stale"
    house.skip(house.now + later)
    house.ripen(p_of(house).grace + 20)
    assert house.refused("rival", "Liquidator", "takeover", *args["bob"], house.change("bob")) == ""


def capped(house: House, usd: int) -> ParamSet:
    return replace(house.sets, auction=replace(house.sets.auction, take_per_epoch=usd))


# ─── 15, 16, 17: edges ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("h", [0.05, 0.10, 0.20])
def test_15_waiting_past_the_kink_of_the_fee_gains_no_more_than_the_slope(h: float) -> None:
    """Rule 12: the bidder's gain never rises faster than (1 + phi) Q per rho, and never falls."""
    from keeper.protocols.options.params import local
    from keeper.protocols.options.risk import Health

    p, q = local((wad(1),)).auction, wad(1_000_000)
    health = Health(int(h * q), q, q, 0, q, 0, 1, False, False)
    gains = []
    for rho in range(0, 251):
        o = auction.make_offer(health, p, wad(rho) // 1000, 10**30)
        gains.append((o.equity - o.total) * o.fmax // WAD)
    whole = [g for rho, g in enumerate(gains) if rho / 1000 >= h]
    steps = [b - a for a, b in pairwise(whole)]
    assert all(0 <= step <= (WAD + p.fee) * q // WAD // 1000 + 2 for step in steps)
    assert gains == sorted(gains)


def test_16_the_smallest_slice_gives_nothing_away(house: House) -> None:
    """R1: rounding is against the bidder, and a slice below the least one is refused."""
    sunk(house, 1_400.0)
    least = p_of(house).min_slice
    args = (house.account("alice"), house.account("rival"), least - 1, 10**40, house.change("alice"))
    assert house.refused("rival", "Liquidator", "bid", *args) == "NothingToDo"
    before = house.health("alice", later=1)
    house.bid("alice", "rival", most=least)
    after = house.health("alice")
    given = before.equity - after.equity
    fair = least * (before.mm * house.offer("alice").rho_paid // WAD) // WAD
    assert given <= fair + 10 and after.equity - after.mm >= before.equity - before.mm


def test_17_an_account_without_requirement_is_no_auction(house: House) -> None:
    assert house.refused("keeper", "Liquidator", "flag", house.account("nobody"), 0) == "Healthy"
    assert auction.fmax(-5, 0, 0, wad("0.1"), p_of(house)) == WAD
    assert auction.fmax(5, 0, 0, wad("0.1"), p_of(house)) == 0


# ─── 18: recovery ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cash", [-50, 0, 50])
@pytest.mark.parametrize("collateral", [0, 40])
@pytest.mark.parametrize(("longs", "shorts"), [(0, 100), (30, 100), (30, 0)])
def test_18_the_recovery_rate_is_a_share(cash: int, collateral: int, longs: int, shorts: int) -> None:
    """Negative cash is a debt like the others: r is in [0, 1] for every sign, and nothing is divided by zero."""
    from keeper.protocols.options.waterfall import Balance

    b = Balance(max(cash, 0) + collateral + longs, shorts + max(-cash, 0))
    assert 0 <= b.rate <= WAD
    if b.debts:
        assert b.rate == min(WAD, b.assets * WAD // b.debts)


# ─── 19: the clock ────────────────────────────────────────────────────────────────────────────────


def test_19_curing_by_a_wei_and_falling_again_does_not_reset_the_clock(house: House) -> None:
    sunk(house, 1_430.0)
    house.ripen(30)
    running = house.state.auction(house.account("alice"))
    assert running is not None
    house.give("alice", 0.000001)
    assert house.refused("alice", "Liquidator", "cure", house.account("alice")) == "NotRestored"
    house.give("alice", 20_000)
    house.do("alice", "Liquidator", "cure", house.account("alice"))
    house.fall(1_150.0, 40_000, seconds=60)
    house.flag("alice")
    again = house.state.auction(house.account("alice"))
    assert again is not None and again.since == running.since
    house.ripen(12)
    assert house.offer("alice").rho > p_of(house).rho1 * 3 // 4


# ─── 20: dust ─────────────────────────────────────────────────────────────────────────────────────


def test_20_a_rest_that_is_dust_goes_with_the_slice(house: House) -> None:
    p = p_of(house)
    assert auction.fmax(wad("1.2"), wad("1.3"), 0, 0, p) == WAD  # a dollar and thirty cents of requirement
    sunk(house, 1_400.0)
    o = house.offer("alice")
    assert 0 < o.fmax < WAD and o.mm * (WAD - o.fmax) // WAD >= p.dust


def test_20_one_wei_left_behind_stops_nothing(house: House) -> None:
    """R2: a donation of one wei of collateral to an insolvent account changes nothing: deposits need its owner."""
    args = (house.account("alice"), 1, 1)
    assert house.refused("rival", "Clearing", "deposit", *args) == "Unauthorised"
    house.give("alice", 1e-18, asset=1)
    sunk(house, 800.0)
    names = sorted(("whale", "small", "tiny"), key=lambda n: -house.size(n, PUT) / house.health(n).equity)
    creditors = [house.account(n) for n in names]
    house.do("keeper", "Waterfall", "deleverage", house.account("alice"), word_of(PUT), creditors)
    assert house.size("alice", PUT) == 0

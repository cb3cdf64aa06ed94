"""The liquidator pays for the pool slippage he causes: what a price that he moved brings him is less than the charge.

``Liquidator._impact`` asks impact ((F + e)^2 - F^2) / depth for a slice of delta e, after the delta F that was sold
before it and has not faded. It looks at what is bought and never at swaps, so it is the same wherever, whenever and by
whom that is hedged. With w the pool's share in the published price, R its reserve and x the part of it that he sells,
he is paid 2 w x e for R x^2, and impact e^2 / depth >= (w e)^2 / R makes that a loss for every x (the square of a
difference) as long as impact >= w^2 depth / R.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keeper.cli.explain import WON
from keeper.core import health as screen
from keeper.model import Bid, Kind, Moment
from keeper.protocols.options import auction
from keeper.protocols.options.risk import Portfolio, Price
from keeper.simulation.node import Anvil
from keeper.units import WAD, wad
from tests.worlds.house import EXPIRIES, USD, House, Leg
from tests.worlds.options import GENESIS

pytestmark = pytest.mark.chain
W = 0.1  # the pool's share in the published price, as in keeper/simulation/market.py
R = 20e6  # US dollars on either side of the pool: the depth of the parameters
PUTS: Leg = (0, EXPIRIES[2], False, 1_900.0, -4_500.0)
GIANTS = ("giant", "titan")


@pytest.fixture(scope="module")
def market() -> Iterator[House]:
    """Two accounts with puts on a tenth of the pool each, in auction after a fall; 20 million on either side of it."""
    with Anvil(timestamp=GENESIS) as anvil:
        house = House(anvil).open()
        for name, dollars in (("giant", 4.2e6), ("titan", 4.2e6), ("whale", 4e7), ("rival", 2e7), ("other", 2e7)):
            house.give(name, dollars)
        house.give("keeper", 2e7)
        house.insure(1e6)
        house.ripen(10)
        for name in GIANTS:
            house.trade(name, "whale", [PUTS], -300_000)
        for spot in range(1_950, 1_200, -50):
            house.fall(float(spot), 40_000, seconds=60)
            if not house.health("giant", Price.TRIGGER).healthy:
                break
        for name in GIANTS:
            house.flag(name)
        house.ripen(20)
        pooled(house)
        yield house


@pytest.fixture
def house(market: House) -> Iterator[House]:
    with market.undone():
        yield market


def pooled(house: House) -> None:
    """Reserves at the price of the moment, and tokens for who trades there."""
    base = R / house.spots()[0]
    for who, dollars, units in ((house.governor, R, base), (house.who("eve"), R, base)):
        for token, amount in ((0, round(dollars * USD)), (1, round(units * WAD))):
            house.send(house.governor, house.dep.tokens[token], house.c["Token"].call("mint", who, amount))
            approve = house.c["Token"].call("approve", house.dep.pools[0], 10**40)
            house.send(who, house.dep.tokens[token], approve)
    house.send(house.governor, house.dep.pools[0], house.c["SpotPool"].call("add", round(base * WAD), round(R * USD)))


def worth(house: House, *names: str) -> int:
    return sum(house.health(name, Price.SPOT).equity for name in names)


def dump(house: House, dollars: float) -> int:
    """Eve sells so much into the pool, in a transaction of her own; what it costs her at the price before, usd."""
    spot = house.spots()[0]
    units = round(dollars / spot * WAD)
    token, who = house.dep.tokens[0], house.who("eve")
    had = house.ask("Token", token, "balanceOf", who)
    house.send(who, house.dep.pools[0], house.c["SpotPool"].call("swap", True, units, 0, who))
    got = house.ask("Token", token, "balanceOf", who) - had
    return round(units * spot) - int(got) * (WAD // USD)


def reported(house: House, true: float) -> float:
    """What an oracle of which a share W is the pool says."""
    pool = house.state.pool(0)
    assert pool is not None
    return (1 - W) * true + W * pool.quote / pool.base * WAD / USD


def charge(house: House, name: str, fraction: int) -> int:
    """What a slice costs beside price and fee if it is bought in the next second, by our telling."""
    running = house.state.auction(house.account(name))
    assert running is not None
    h = house.health(name, later=1)
    return auction.pressure(house.state, running.version, h).charge(fraction, house.now + 1)


def buy(house: House, name: str, by: str, most: int = WAD) -> dict[str, int]:
    """The numbers of the sale."""
    before = house.node.head().number
    house.bid(name, by, most)
    topic = "0x" + house.c["Liquidator"].events["Sold"].topic.hex()
    query = {"fromBlock": hex(before + 1), "address": house.dep.liquidator, "topics": [topic]}
    [log] = house.node.rpc("eth_getLogs", query)
    words = [int(log["data"][2 + 64 * i : 66 + 64 * i], 16) for i in range(8)]
    names = ("takeover", "fraction", "rho", "price", "fee", "equity", "mm", "impact")
    return dict(zip(names, words, strict=True))


def discount(sale: dict[str, int]) -> int:
    """What the bidder is paid for the risk, after the fee: the most that a purchase may bring him."""
    whole = sale["fraction"] * sale["rho"] // WAD * sale["mm"] // WAD
    return whole - (sale["fee"] - sale["impact"])


# ─── the attack ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0, 3.0])
def test_a_price_that_the_buyer_moved_brings_him_less_than_he_pays(house: House, part: float) -> None:
    """He sells into the pool from another address, waits until it is published, buys, and the price comes back.

    ``part`` of the amount that would pay him most: x = w e / R.
    """
    true, before = house.spots()[0], worth(house, "rival", "other")
    e = house.health("giant").exposures[0] / WAD
    cost = dump(house, part * W * e * house.offer("giant").fmax / WAD) if part else 0
    house.ripen(10, (reported(house, true), 40_000))
    sales = [buy(house, "giant", "rival"), buy(house, "titan", "other")]
    house.ripen(10, (true, 40_000))
    beyond = worth(house, "rival", "other") - before - cost - sum(map(discount, sales))
    # Positions gain or lose by the seconds that pass; a thousandth of the discounts is more than that.
    assert beyond <= sum(map(discount, sales)) // 1_000
    moved = sum(round((true - reported(house, true)) / true * s["fraction"] / WAD * e) for s in sales)
    assert sum(s["impact"] for s in sales) > wad(2 * moved)


def test_selling_what_was_bought_makes_the_next_account_dearer_not_cheaper(house: House) -> None:
    """He hedges the first purchase from another address, and buys the second at the price which that has made."""
    true, before = house.spots()[0], worth(house, "rival", "other")
    first = buy(house, "giant", "rival")
    cost = dump(house, house.health("giant").exposures[0] / WAD * first["fraction"] / WAD)
    house.ripen(10, (reported(house, true), 40_000))
    assert house.spots()[0] < true * 0.997
    second = buy(house, "titan", "other")
    house.ripen(10, (true, 40_000))
    beyond = worth(house, "rival", "other") - before - cost - discount(first) - discount(second)
    assert beyond < 0
    assert second["impact"] > 2 * first["impact"]  # the cross term: (F + e)^2 - F^2 = 3 e^2 where F = e


# ─── the charge ───────────────────────────────────────────────────────────────────────────────────


def test_the_charge_is_the_one_the_keeper_reckons_with_and_goes_to_the_insurance(house: House) -> None:
    for name, by in (("giant", "rival"), ("titan", "other"), ("giant", "whale")):
        if not house.auctioned(name):
            continue
        was = house.state.clearing()
        fraction = min(WAD // 5, house.offer(name).fmax)
        expected = charge(house, name, fraction)
        sale = buy(house, name, by, fraction)
        is_ = house.state.clearing()
        assert 0 < sale["impact"] == expected
        assert is_.fund + is_.reserve - was.fund - was.reserve == sale["fee"] > sale["impact"]
        flow = house.state.flow(0)
        assert (flow.time, flow.usd) == tuple(house.ask("Liquidator", house.dep.liquidator, "flows", 0))


def test_it_does_not_depend_on_who_buys_or_in_how_many_pieces(house: House) -> None:
    whole = charge(house, "giant", WAD // 10)
    first = buy(house, "giant", "rival", WAD // 20)["impact"]
    second = buy(house, "giant", "other", WAD // 19)["impact"]  # of what is left: the same again
    seconds = 2 / house.params.auction.impact_time  # in which what was sold has begun to fade
    assert whole * (1 - seconds) <= first + second <= whole * (1 + 1e-3)


def test_many_small_accounts_are_charged_as_one_large_one(house: House) -> None:
    """Attack 7 gains nothing here: what counts is what is sold, not of whom."""
    with house.undone():
        giant = charge(house, "giant", WAD // 10)
        assert giant == buy(house, "giant", "rival", WAD // 10)["impact"]
        after = buy(house, "titan", "rival", WAD // 10)["impact"]
    both = replace(pressure(house), exposures=tuple(2 * e for e in pressure(house).exposures))
    assert giant + after == pytest.approx(both.charge(WAD // 10, house.now + 1), rel=0.05)


def pressure(house: House) -> auction.Pressure:
    return auction.pressure(house.state, 1, house.health("giant", later=1))


def test_it_fades_and_the_other_way_costs_nothing(house: House) -> None:
    alone = charge(house, "titan", WAD // 10)
    buy(house, "giant", "rival", WAD // 10)
    after = charge(house, "titan", WAD // 10)
    house.ripen(house.params.auction.impact_time // 2)
    later = charge(house, "titan", WAD // 10)
    assert after > 2 * alone and alone < later < after
    back = replace(pressure(house), exposures=tuple(-e for e in pressure(house).exposures))
    assert back.charge(WAD // 20, house.now + 1) == 0 < back.charge(WAD, house.now + 1)


def test_the_price_limit_holds_for_all_of_it(house: House) -> None:
    fraction, change = WAD // 10, house.change("giant")
    with house.undone():
        sale = buy(house, "giant", "rival", fraction)
    whole, part = (sale["price"] + sale["fee"]) * WAD // fraction, sale["impact"] * WAD // fraction
    args = (house.account("giant"), house.account("rival"), fraction)
    assert house.refused("rival", "Liquidator", "bid", *args, whole - part // 2, change) == "PriceAboveLimit"
    assert house.refused("rival", "Liquidator", "bid", *args, whole + 10**6, change) == ""


def test_the_keeper_counts_it_and_its_bid_allows_for_it(house: House) -> None:
    """The term is one of those that ``keeper explain`` prints."""
    house.give("governor", 2e7)  # the adapter's own account
    house.ripen(10)
    at = Moment(house.node.head().number + 1, house.now + 1, 10**9)
    reports = screen.condemned(house.adapter, house.book, at)
    found = {o.key.id: o for o in house.adapter.opportunities(house.book, reports, at) if o.kind is Kind.BID}
    o = found[house.account("giant")]
    assert o.costs.slippage == charge(house, "giant", o.plan.fraction) > wad(100)
    assert "cost_slippage" in WON and o.net == o.gain - o.costs.total
    [bid] = [c for c in house.adapter.calls(Bid(o, floor=o.gain - 10 * wad(1))) if c.target == house.dep.liquidator]
    house.send(house.governor, bid.target, bid.data)
    assert house.holds_id(house.account("governor")) != Portfolio(0, ())

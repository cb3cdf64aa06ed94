"""The waterfall on the deployed contracts: close-out, queue at the recovery rate, shared loss, gate, breaker."""

from __future__ import annotations

import pytest

from keeper.protocols.options import auction
from keeper.protocols.options.risk import Price
from keeper.units import WAD, wad
from tests.protocol.conftest import PUT
from tests.worlds.house import EXPIRIES, USD, House, word

pytestmark = pytest.mark.chain

SERIES = word(PUT) >> 128


def sunk(house: House, spot: float) -> House:
    """Alice in auction after a fall to ``spot``, when anyone may act on it."""
    house.fall(spot, 40_000)
    house.flag("alice")
    house.ripen(20)
    return house


def by_score(house: House, names: list[str]) -> list[str]:
    """Those first whose equity depends most on the claim."""
    return sorted(names, key=lambda n: -house.size(n, PUT) / house.health(n).equity)


def deleverage(house: House, names: list[str], by: str = "keeper") -> None:
    names = by_score(house, names)
    house.do(by, "Waterfall", "deleverage", house.account("alice"), SERIES, [house.account(n) for n in names])


def claims(house: House, names: list[str]) -> dict[str, int]:
    """What each creditor is owed at mark, usd."""
    value = house.assess(house.holds("alice"), Price.BID)[0] - house.holds("alice").cash  # of all short puts, negative
    total = -house.size("alice", PUT)
    return {n: -value * house.size(n, PUT) // total for n in names}


# ─── queue ────────────────────────────────────────────────────────────────────────────────────────


def test_creditors_recover_the_same_share_and_their_loss_is_the_deficit(house: House) -> None:
    """F6: the sum of closed claims x (1 - r) is the deficit."""
    sunk(house, 800.0)
    names = ["tiny", "small", "whale"]
    before, owed, equity = (
        {n: house.health(n).equity for n in names},
        claims(house, names),
        house.health("alice").equity,
    )
    assert equity < 0
    deleverage(house, names)
    lost = {n: before[n] - house.health(n).equity for n in names}
    rate = 1 + equity / sum(owed.values())
    for name in names:
        assert lost[name] / owed[name] == pytest.approx(1 - rate, rel=1e-6)
    assert sum(lost.values()) == pytest.approx(-equity, rel=1e-6)
    assert house.size("alice", PUT) == 0 and not house.auctioned("alice")
    assert 0 <= house.holds("alice").cash < 10**6  # wei: a rate has 18 decimals, rounded against the creditors
    assert house.total() == house.backed()


def test_the_fund_and_the_gamma_reserve_pay_first_within_their_limits(house: House) -> None:
    house.insure(100_000)
    house.insure(10_000, reserve=True)
    sunk(house, 800.0)
    equity, mm, p = house.health("alice").equity, house.health("alice").mm, house.params.auction
    deleverage(house, ["tiny", "small", "whale"])
    clearing = house.state.clearing()
    cap = min(wad(100_000) * p.fund_per_auction // WAD, mm * p.rho_fund // WAD)
    assert wad(100_000) - clearing.fund == pytest.approx(cap, rel=1e-6)
    assert clearing.reserve == 0
    assert -equity > wad(15_000)
    assert house.total() == house.backed()


def test_a_step_takes_no_more_than_there_is_and_the_rate_stays(house: House) -> None:
    sunk(house, 800.0)
    deleverage(house, ["tiny"])
    assert house.size("tiny", PUT) == 0 and house.size("alice", PUT) == wad(-95)
    first = rates(house)[0]
    deleverage(house, ["small", "whale"])
    assert rates(house) == pytest.approx([first] * 3, rel=1e-7)  # marks move by a second


def rates(house: House) -> list[int]:
    """Every recovery rate so far, wad."""
    event = house.c["Waterfall"].events["Deleveraged"]
    logs = house.node.rpc(
        "eth_getLogs", {"fromBlock": "0x0", "address": house.dep.waterfall, "topics": ["0x" + event.topic.hex()]}
    )
    return [int(log["data"][2:][256:320], 16) for log in logs]


def test_the_list_must_be_sorted_and_solvent_accounts_are_left_alone(house: House) -> None:
    sunk(house, 800.0)
    args = (house.account("alice"), SERIES)
    wrong = [house.account(n) for n in reversed(by_score(house, ["whale", "tiny", "small"]))]
    assert house.refused("keeper", "Waterfall", "deleverage", *args, wrong) == "NotSorted"
    assert house.refused("keeper", "Waterfall", "deleverage", house.account("whale"), SERIES, wrong) == "NotFlagged"
    assert house.refused("keeper", "Waterfall", "deleverage", *args, [house.account("keeper")]) == "NothingToDo"


def test_while_the_fund_can_pay_there_is_no_queue(house: House) -> None:
    house.insure(10_000_000)
    sunk(house, 1200.0)
    assert house.offer("alice").equity < 0 and house.offer("alice").refused == 0
    args = (house.account("alice"), SERIES, [house.account("whale")])
    assert house.refused("keeper", "Waterfall", "deleverage", *args) == "NotYet"


def test_who_would_end_below_his_requirement_is_passed_over(house: House) -> None:
    """F5: a candidate whose hedge this is keeps it."""
    house.trade("tiny", "whale", [(0, EXPIRIES[2], False, 1800.0, -4.5)], -250.0)
    house.do("tiny", "Clearing", "withdraw", house.account("tiny"), 0, 23_750 * USD, house.who("tiny"))
    sunk(house, 800.0)
    assert house.health("tiny").healthy
    deleverage(house, ["tiny", "small", "whale"])
    assert house.size("tiny", PUT) == wad(5)
    assert house.size("alice", PUT) == wad(-5)


# ─── close-out ────────────────────────────────────────────────────────────────────────────────────


def test_a_solvent_account_that_nobody_buys_is_closed_against_its_counterparties(house: House) -> None:
    sunk(house, 1400.0)
    p, args = house.params.auction, (house.account("alice"), [house.account("whale")])
    assert house.refused("keeper", "Waterfall", "closeOut", *args, []) == "NotYet"
    house.ripen(p.t1)
    h, before = house.health("alice"), house.health("whale")
    f = auction.fmax(h.equity, h.mm, h.convex, p.rho1, p)
    assert 0 < f < WAD
    house.do("keeper", "Waterfall", "closeOut", *args, [(SERIES, 0)])
    after, whale = house.health("alice"), house.health("whale")
    assert after.equity / after.mm == pytest.approx(1 + p.buffer / WAD, rel=1e-4)
    paid = h.equity - after.equity
    assert paid == pytest.approx(f * p.rho1 / WAD * h.mm / WAD, rel=1e-6)
    assert whale.equity - before.equity == pytest.approx(paid, rel=1e-6)
    assert not house.auctioned("alice")
    assert house.total() == house.backed()


def test_a_close_out_takes_its_share_of_every_leg_exactly(house: House) -> None:
    sunk(house, 1400.0)
    house.ripen(house.params.auction.t1)
    account, whale, small = (house.account(n) for n in ("alice", "whale", "small"))
    refused = [
        house.refused("keeper", "Waterfall", "closeOut", account, *args)
        for args in (
            ([whale], []),
            ([small], [(SERIES, 0)]),
            ([whale, whale], [(SERIES, 0)]),
            ([whale, account | 1 << 160], [(SERIES, 1)]),
        )
    ]
    assert refused == ["NotClosed", "NotClosed", "NotSorted", "SameOwner"]
    both = sorted((whale, small))
    house.do("keeper", "Waterfall", "closeOut", account, both, [(SERIES, both.index(a)) for a in (small, whale)])
    assert house.size("small", PUT) == 0 and house.size("whale", PUT) < wad(85)
    assert house.size("alice", PUT) + house.size("whale", PUT) + house.size("tiny", PUT) == 0


def test_a_close_out_follows_the_queue_and_nobody_gains_by_the_choice(house: House) -> None:
    """Those first whose equity depends most on it; whoever is chosen has what a bidder would, his fee included."""
    sunk(house, 1400.0)
    house.ripen(house.params.auction.t1)
    account, p = house.account("alice"), house.params.auction
    queue = ["tiny", "small", "whale"]
    both = sorted(house.account(name) for name in queue)
    assert by_score(house, ["whale", "small", "tiny"]) == queue
    order = [(SERIES, both.index(house.account(name))) for name in queue]
    wrong = [order[1], order[0], order[2]]
    assert house.refused("keeper", "Waterfall", "closeOut", account, both, wrong) == "NotSorted"
    assert house.refused("keeper", "Waterfall", "closeOut", account, both, order[:2]) == "NotClosed"
    for names in (["whale"], queue):
        with house.undone():
            h = house.health("alice", later=1)
            f = auction.fmax(h.equity, h.mm, h.convex, p.rho1, p)
            ids = sorted(house.account(n) for n in names)
            before = sum(house.health(n, later=1).equity for n in names)
            steps = [(SERIES, ids.index(house.account(n))) for n in names]
            house.do("whale", "Waterfall", "closeOut", account, ids, steps)
            gained = sum(house.health(n).equity for n in names) - before
            bid = f * (WAD - p.fee) // WAD * p.rho1 // WAD * h.mm // WAD
            assert gained - bid <= f * p.fee // WAD * p.rho1 // WAD * h.mm // WAD + wad(1)


# ─── shared loss ──────────────────────────────────────────────────────────────────────────────────


def ruined(house: House) -> House:
    """Alice in auction with a loss that only all together can bear."""
    sunk(house, 800.0)
    house.fall(800.0, 40_000, seconds=house.params.auction.t1 + house.params.auction.adl_delay)
    return house


def test_a_loss_that_is_left_lowers_all_positive_cash_by_the_same_share(house: House) -> None:
    ruined(house)
    before = {n: house.holds(n).cash for n in ("whale", "small", "tiny")}
    equity, alice = house.health("alice", later=1).equity, house.holds("alice").cash
    others = house.total() - alice
    house.do("keeper", "Waterfall", "socialise", house.account("alice"))
    index = house.state.clearing().index
    assert index == WAD * (others + equity) // others
    for name, cash in before.items():
        assert house.holds(name).cash == cash * index // WAD
        chain = house.ask("Clearing", house.dep.clearing, "accountOf", house.account(name))
        assert chain[0] == house.holds(name).cash
    assert house.health("alice").equity == 0
    assert 0 <= house.backed() - house.total() <= house.total() // WAD + 10  # wei: an index has 18 decimals


def test_what_is_owed_falls_at_once_and_is_the_same_after_a_touch(house: House) -> None:
    ruined(house)
    house.do("keeper", "Waterfall", "socialise", house.account("alice"))
    cash = house.holds("whale").cash
    house.give("whale", 1.0)
    assert house.holds("whale").cash == cash + wad(1)
    record = house.state.account(house.account("whale"))
    assert record is not None and record.index == house.state.clearing().index
    tracked, total = house.ask("Clearing", house.dep.clearing, "positiveCash"), positive(house)
    assert 0 <= tracked - total <= tracked // WAD + 10  # wei


def positive(house: House) -> int:
    return sum(max(0, house.holds_id(key.id).cash) for key in house.book.keys("account"))


def test_before_the_queue_had_its_time_no_loss_is_shared(house: House) -> None:
    sunk(house, 800.0)
    assert house.refused("keeper", "Waterfall", "socialise", house.account("alice")) == "NotYet"
    assert house.refused("keeper", "Waterfall", "socialise", house.account("whale")) == "NotFlagged"
    assert house.refused("keeper", "Waterfall", "socialise", house.account("nobody")) == "Solvent"


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_a_debt_without_legs_goes_to_the_fund_at_once_and_no_further_than_needed(house: House, spare: int) -> None:
    """F9: deficit = fund - 1, = fund, = fund + 1."""
    house.skip(EXPIRIES[2] - 100, (800.0, 40_000.0))
    house.ripen(120)
    house.do("keeper", "Clearing", "settle", house.account("alice"))
    debt = -house.holds("alice").cash
    assert debt > 0 and not house.holds("alice").legs
    house.give("insurer", 2 * debt / WAD)
    house.do("insurer", "Clearing", "fundFrom", house.account("insurer"), debt + spare, False)
    house.do("keeper", "Waterfall", "socialise", house.account("alice"))
    clearing = house.state.clearing()
    assert house.holds("alice").cash == 0
    assert clearing.fund == max(0, spare)
    assert (clearing.index == WAD) == (spare >= 0)
    assert house.total() <= house.backed()


def test_a_deficit_beyond_all_cash_stops_trading_and_divides_by_nothing(house: House) -> None:
    """F9: not less than the sum of positive cash; F10: the index is refused before it loses precision."""
    for name in ("whale", "small", "tiny", "keeper", "rival"):
        native = (house.holds(name).cash - wad(6_000)) // 10**12
        house.do(name, "Clearing", "withdraw", house.account(name), 0, native, house.who(name))
    ruined(house)
    before = house.total()
    house.do("keeper", "Waterfall", "socialise", house.account("alice"))
    assert house.state.breaker().level(house.now) == 3
    assert (house.state.clearing().index, house.total()) == (WAD, before)


# ─── gate ─────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_withdraws_while_insolvent_accounts_require_more_than_the_insurance(house: House) -> None:
    """F7: no race to withdraw before a loss is booked; the counter returns to zero (A8, F2)."""
    house.give("rich", 1_000)
    args = (house.account("rich"), 0, 10**6, house.who("rich"))
    sunk(house, 800.0)
    assert house.state.clearing().insolvent == insolvent(house)
    assert insolvent(house) == pytest.approx(house.health("alice").mm, rel=1e-6)
    assert house.state.breaker().level(house.now) == 1  # it tripped by itself
    assert house.refused("rich", "Clearing", "withdraw", *args) == "Gated"
    house.insure(10_000_000)
    assert house.refused("rich", "Clearing", "withdraw", *args) == ""
    house.bid("alice", "whale")
    assert house.state.clearing().insolvent == 0 == insolvent(house)


def insolvent(house: House) -> int:
    """The sum over accounts, as the contract has them."""
    return sum(house.ask("Clearing", house.dep.clearing, "insolventOf", key.id) for key in house.book.keys("account"))


def test_the_counter_follows_an_account_into_insolvency_and_out_of_it(house: House) -> None:
    house.insure(10_000_000)
    sunk(house, 1400.0)
    assert house.state.clearing().insolvent == 0
    house.fall(800.0, 40_000, seconds=60)
    house.do("keeper", "Liquidator", "note", house.account("alice"))
    assert house.state.clearing().insolvent == insolvent(house) > 0
    house.fall(1350.0, 40_000, seconds=120)
    house.do("keeper", "Liquidator", "note", house.account("alice"))
    assert house.state.clearing().insolvent == 0 == insolvent(house)

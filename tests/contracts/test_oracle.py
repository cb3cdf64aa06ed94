"""Cases of other people's oracles (section 5, O and P4), on the deployed contracts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import sqrt
from typing import Any

import pytest

from keeper.protocols.options import oracle
from keeper.protocols.options.risk import Portfolio, Price, market
from keeper.simulation.deploy import actor, options
from keeper.simulation.node import Anvil
from keeper.units import WAD
from tests.worlds.acts import act, loosen, price, refusal, smile
from tests.worlds.house import EXPIRIES, SPOTS, House, word
from tests.worlds.options import GENESIS, legs

pytestmark = pytest.mark.chain
LOWER, THAW, VOUCH, DISMISS, REPLACE = range(5)
C = oracle.LOCAL
PUT = (0, EXPIRIES[1], False, 1_900.0, -40.0)
STRANGER = actor("stranger")[1]


@pytest.fixture(scope="module")
def node() -> Iterator[House]:
    """Alice has sold puts and is well margined until about 1,680 dollars; the fund is rich."""
    with Anvil(timestamp=GENESIS) as anvil:
        house = House(anvil).open()
        for name, dollars in (("whale", 5e6), ("alice", 22_800), ("keeper", 2e6)):
            house.give(name, dollars)
        house.insure(1e6)
        house.ripen(2, SPOTS)
        house.trade("alice", "whale", [PUT], -1_500)
        yield house


@pytest.fixture
def house(node: House) -> Iterator[House]:
    with node.undone():
        yield node


def sink(h: House) -> None:
    """To where alice is condemned, in steps that trip nothing."""
    for spot in (1_800, 1_560):
        h.fall(spot, 40_000)


def flag_refused(h: House) -> str:
    worst = h.health("alice", Price.TRIGGER).worst
    return h.refused("keeper", "Liquidator", "flag", h.account("alice"), worst)


def bid_refused(h: House, later: int = 1) -> str:
    args = (h.account("alice"), h.account("keeper"), WAD, 10**40, h.change("alice"))
    return h.refused("keeper", "Liquidator", "bid", *args, later=later)


def rho(h: House) -> int:
    return h.offer("alice").rho


# ─── O1: a feed that is wrong ─────────────────────────────────────────────────────────────────────


def test_o1_a_frozen_feed_stops_flags_and_bids_but_no_deposit(house: House) -> None:
    sink(house)
    assert flag_refused(house) == ""
    with house.undone():
        act(house, "Oracle", "freeze", 0)
        assert flag_refused(house) == "Stale"
        house.give("alice", 1_000)
    house.flag("alice")
    house.ripen(20)
    assert bid_refused(house) == ""
    act(house, "Oracle", "freeze", 0)
    assert bid_refused(house) == "Stale"
    house.give("alice", 1_000)
    assert refusal(house, "Oracle", "publish", *price(house, 0, 1_560)) == ("FeedFrozen", (0,))
    assert refusal(house, "Oracle", "freeze", 1, sender=STRANGER) == ("Unauthorised", ())


def test_o1_what_stands_in_for_a_distrusted_price_is_the_mark(house: House) -> None:
    """cbETH at 1.12 dollars: the guardian freezes, and the settlement average never sees the wrong price again."""
    before = house.ask("Oracle", house.dep.oracle, "prices", 0)[1]
    house.publish(0, 1.12)
    act(house, "Oracle", "freeze", 0)
    spot, slow, *_ = house.ask("Oracle", house.dep.oracle, "prices", 0)
    assert abs(spot - before) < before // 25 and abs(spot - slow) < 10**11


def test_o1_the_first_price_after_it_must_be_near_the_last(house: House) -> None:
    act(house, "Oracle", "freeze", 0)
    loosen(house, THAW, 0)
    last = house.ask("Oracle", house.dep.oracle, "feed", 0)[0]
    for wrong in (1_590, 2_410):
        found = refusal(house, "Oracle", "publish", *price(house, 0, wrong))
        assert found == ("TooFar", (wrong * 10**8, last))
    assert refusal(house, "Oracle", "publish", *price(house, 0, 1_610)) is None
    with house.undone():
        loosen(house, VOUCH, 0)
        assert refusal(house, "Oracle", "publish", *price(house, 0, 1_590)) is None
    house.publish(0, 1_650)
    house.publish(0, 1_300)  # later ones are not bounded, they trip
    assert house.ask("Oracle", house.dep.oracle, "level") == 2


def test_o1_thawing_waits_freezing_does_not() -> None:
    with Anvil(timestamp=GENESIS) as anvil:
        h = House(anvil)
        words = ((h.publisher, h.who("guardian"), h.governor), replace(C, delay=86_400))
        config = (*words[0], *(getattr(words[1], name) for name in oracle.Config.__slots__))
        h.dep = replace(h.dep, oracle=h.driver.deploy(h.governor, h.c["Oracle"], config))
        act(h, "Oracle", "register", 0, 800_000)
        h.send(h.publisher, h.dep.oracle, h.c["Oracle"].call("publish", *price(h, 0, 2_000)))
        act(h, "Oracle", "freeze", 0, sender=h.who("guardian"))
        act(h, "Oracle", "raise", 3, sender=h.who("guardian"))
        for what, value in ((THAW, 0), (LOWER, 0)):
            assert refusal(h, "Oracle", "schedule", what, value, sender=h.who("guardian")) == ("Unauthorised", ())
            act(h, "Oracle", "schedule", what, value)
            ready = h.now + 86_400
            assert refusal(h, "Oracle", "execute", what, value) == ("NotReady", (ready, h.now))
            h.at(ready - 1)
            assert refusal(h, "Oracle", "execute", what, value) == ("NotReady", (ready, ready - 1))
            h.at(ready)
            with h.undone():  # the guardian may stop what loosens until the end
                act(h, "Oracle", "cancel", what, value, sender=h.who("guardian"))
                assert refusal(h, "Oracle", "execute", what, value) == ("NotReady", (0, h.now))
            act(h, "Oracle", "execute", what, value)
        assert h.ask("Oracle", h.dep.oracle, "level") == 0


def test_o1_a_publisher_is_replaced_in_the_open_and_the_old_key_is_worth_nothing_then() -> None:
    """The guardian freezes a feed whose key is lost; the governor's new key counts after the delay, and not before."""
    with Anvil(timestamp=GENESIS) as anvil:
        h = House(anvil)
        words = (h.publisher, h.who("guardian"), h.governor, *(getattr(C, n) for n in oracle.Config.__slots__[:-1]))
        h.dep = replace(h.dep, oracle=h.driver.deploy(h.governor, h.c["Oracle"], (*words, 86_400)))
        act(h, "Oracle", "register", 0, 800_000)
        act(h, "Oracle", "publish", *price(h, 0, 2_000))
        old, (new, address) = h.key, actor("new publisher")
        key = int.from_bytes(address)
        for sender in (h.who("guardian"), STRANGER, h.publisher):
            assert refusal(h, "Oracle", "schedule", REPLACE, key, sender=sender) == ("Unauthorised", ())
        for nothing in (0, int.from_bytes(h.publisher), key + 2**160):
            assert refusal(h, "Oracle", "schedule", REPLACE, nothing) == ("NothingToDo", ())
        act(h, "Oracle", "schedule", REPLACE, key)
        act(h, "Oracle", "freeze", 0, sender=h.who("guardian"))
        act(h, "Oracle", "schedule", THAW, 0)
        with h.undone():
            act(h, "Oracle", "cancel", REPLACE, key, sender=h.who("guardian"))
            h.at(h.now + 86_400)
            assert refusal(h, "Oracle", "execute", REPLACE, key) == ("NotReady", (0, h.now))
        assert refusal(h, "Oracle", "execute", REPLACE, key) == ("NotReady", (h.now - 2 + 86_400, h.now))
        h.at(h.now + 86_400)
        h.key = new
        found = refusal(h, "Oracle", "publish", *price(h, 0, 2_000))
        assert found and found[0] == "BadSignature"
        act(h, "Oracle", "execute", REPLACE, key)
        act(h, "Oracle", "execute", THAW, 0)
        assert refusal(h, "Oracle", "publish", *price(h, 0, 2_000)) is None
        h.key = old
        found = refusal(h, "Oracle", "publish", *price(h, 0, 2_000))
        assert found and found[0] == "BadSignature"


def test_nobody_but_the_governor_opens_a_feed_and_only_once(house: House) -> None:
    assert refusal(house, "Oracle", "register", 2, 800_000, sender=STRANGER) == ("Unauthorised", ())
    for u, usual in ((0, 800_000), (4, 800_000), (2, 0), (2, 5_000_001)):
        found = refusal(house, "Oracle", "register", u, usual)
        assert found and found[0] == "BadConfig" and found[1][1] in (u, usual)
    assert refusal(house, "Oracle", "publish", *price(house, 2, 10)) == ("Unknown", (2, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"window": 0},
        {"slow_t": 0},
        {"fall_t": 1},
        {"premium": WAD - 1},
        {"smile_band": WAD},
        {"trip": 0},
        {"trip": 2 * WAD},
    ],
    ids=str,
)
def test_a_configuration_out_of_bounds_is_not_deployed(house: House, change: dict[str, int]) -> None:
    config = replace(C, **change)
    words = (house.publisher, house.governor, house.governor, *(getattr(config, n) for n in oracle.Config.__slots__))
    with pytest.raises(Exception, match=options()["Oracle"].errors["BadConfig"].selector.hex()):
        house.driver.deploy(house.governor, house.c["Oracle"], words)


# ─── O4, O5: outages and pauses ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["outage", "level 3", "frozen"])
def test_o4_rho_after_six_hours_is_rho_before_them(house: House, how: str) -> None:
    sink(house)
    house.flag("alice")
    house.ripen(20)
    before, since, feed = rho(house), house.now, house.state.feed(0)
    assert feed is not None
    if how == "level 3":
        act(house, "Oracle", "raise", 3)
    if how == "frozen":
        act(house, "Oracle", "freeze", 0)
    house.at(since + 21_560)
    live = feed.time + C.max_age - since if how == "outage" else 1
    assert rho(house) == before + house.params.auction.rho1 * live // house.params.auction.t1
    if how == "level 3":
        loosen(house, LOWER, 0)
    if how == "frozen":
        loosen(house, THAW, 0)
    house.publish(0, 1_560)
    house.publish(1, 40_000)
    assert rho(house) - before <= house.params.auction.rho1 * (live + 5) // house.params.auction.t1
    assert bid_refused(house) == "NotYet"  # a grace after it, for owners to come back
    house.ripen(house.params.auction.grace)
    assert bid_refused(house) == ""


def test_o5_after_a_pause_the_first_flag_waits_for_the_grace(house: House) -> None:
    act(house, "Oracle", "raise", 2)
    sink(house)
    assert flag_refused(house) == "Level"
    loosen(house, LOWER, 0)
    lowered = house.now
    house.publish(0, 1_560)
    assert flag_refused(house) == "NotYet"
    house.at(lowered + house.params.auction.grace - 2)
    assert flag_refused(house) == "NotYet"
    house.publish(0, 1_560)
    assert flag_refused(house) == ""


def test_o5_after_a_trip_too(house: House) -> None:
    sink(house)
    house.publish(0, 1_300)
    assert house.state.breaker().level(house.now) == 2 and flag_refused(house) == "Level"
    until = house.state.breaker().trip_until
    assert until == house.now + C.trip_for
    house.ripen(until - house.now, (1_560.0, 40_000.0))
    assert house.state.breaker().level(house.now) == 0 and flag_refused(house) == "NotYet"
    house.ripen(house.params.auction.grace, (1_560.0, 40_000.0))
    assert flag_refused(house) == ""


def test_a_feed_that_is_wrong_for_minutes_keeps_tripping_until_the_mark_believes_it(house: House) -> None:
    for _ in range(4):
        house.publish(0, 1_500, house.now + 4)
        assert house.state.breaker().trip_until == house.now + C.trip_for
    house.ripen(200, (1_500.0, 40_000.0))
    assert house.ask("Oracle", house.dep.oracle, "level") == 0


# ─── O6: one bad expiry ───────────────────────────────────────────────────────────────────────────


def test_o6_a_stale_smile_blocks_nothing_and_has_no_confidence(house: House) -> None:
    """Only the smile of alice's expiry is stale; her account is valued, condemned, flagged and sold all the same."""
    for _ in range(30):
        house.ripen(20, (1_560.0, 40_000.0))
        house.publish_smile(0, EXPIRIES[0], 700_000)
    stale, fresh = (house.ask("Oracle", house.dep.oracle, "smile", 0, e) for e in (EXPIRIES[1], EXPIRIES[0]))
    assert stale[4] == 0 and fresh[4] == 10_000
    h = market(house.book, 1, house.now, Price.TRIGGER).assess(house.holds("alice"))
    assert (h.equity, h.mm) == house.assess(house.holds("alice"), Price.TRIGGER)[:2] and not h.healthy
    doubted = 40 * 1_560 * house.params.risk.confidence
    with house.undone():
        house.publish_smile(0, EXPIRIES[1], 650_000)
        sure = house.assess(house.holds("alice"), Price.TRIGGER)
    assert h.mm > sure[1] + doubted * 9 // 10 - 40 * WAD
    house.flag("alice")
    house.ripen(20)
    assert bid_refused(house) == ""


def test_o6_the_fallback_is_the_realised_volatility_reached_without_a_jump(house: House) -> None:
    """Rule 9 in the absence of a smile: no more than a tenth from the smooth atm, which follows it."""
    seen = []
    for i in range(60):
        house.ripen(10, (2_000.0 + i % 2 * 0.8, 40_000.0))
        seen.append(house.ask("Oracle", house.dep.oracle, "smile", 0, EXPIRIES[2])[0])
    feed, raw = house.state.feed(0), house.state.smile(0, EXPIRIES[2])
    assert feed and raw
    target = WAD * 5 // 4 * sqrt(feed.variance / 10**9)
    assert raw.atm * 10**12 * 1.2 < target < raw.atm * 10**12 * 2
    assert seen[-1] == pytest.approx(target, rel=0.03)
    assert max(b / a for a, b in pairwise(seen)) < 1.15


@pytest.mark.parametrize("numbers", [(1, 10**6, 10**6, 10**6), (5 * 10**6, -(10**6), -(10**6), -(10**6))], ids=str)
def test_o6_a_malformed_smile_is_limited_and_valued(house: House, numbers: tuple[int, ...]) -> None:
    house.at(house.now + 1)
    house.send(
        house.publisher,
        house.dep.oracle,
        house.c["Oracle"].call("publishSmile", *smile(house, 0, EXPIRIES[1], *numbers)),
    )
    ours = market(house.book, 1, house.now, Price.BID).assess(house.holds("alice"))
    assert (ours.equity, ours.mm) == house.assess(house.holds("alice"), Price.BID)[:2]


def test_rule_9_skew_and_curvature_move_by_a_step_per_message(house: House) -> None:
    was = house.state.smile(0, EXPIRIES[1])
    house.publish_smile(0, EXPIRIES[1], 650_000, 500_000, -500_000)
    now = house.state.smile(0, EXPIRIES[1])
    assert was and now and now.skew == was.skew + C.smile_step and now.curv == was.curv - C.smile_step


# ─── O7, O8: wicks ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("low", "why"), [(1_560, "Healthy"), (1_000, "Level")])
def test_o8_a_wick_of_one_block_flags_nobody(house: House, low: int, why: str) -> None:
    """Within the trip the clamp protects, beyond it the breaker does."""
    house.fall(1_800, 40_000)
    house.publish(0, low)
    spot, trigger = (house.assess(house.holds("alice"), mode) for mode in (Price.SPOT, Price.TRIGGER))
    assert spot[0] < spot[1] and trigger[0] > trigger[1] and flag_refused(house) == why


def test_o7_a_price_that_stays_is_believed_in_time(house: House) -> None:
    house.fall(1_800, 40_000)
    house.ripen(150, (1_560.0, 40_000.0))
    assert flag_refused(house) == ""


def test_a_stale_mark_alone_flags_nobody_either(house: House) -> None:
    """The other half of rule 5: bad at the clamped price, healthy at spot."""
    sink(house)
    house.publish(0, 1_780)
    at_trigger = house.assess(house.holds("alice"), Price.TRIGGER)
    assert at_trigger[0] < at_trigger[1] and flag_refused(house) == "Healthy"


# ─── O11, O12: messages ───────────────────────────────────────────────────────────────────────────


def test_o11_when_a_message_may_be_from(house: House) -> None:
    feed = house.state.feed(0)
    assert feed is not None
    house.at(feed.time + 3 * C.max_age)
    told: dict[int, Any] = {
        feed.time: "OutOfOrder",
        feed.time - 1: "OutOfOrder",
        feed.time + 1: "TooOld",
        house.now - C.max_age - 1: "TooOld",
        house.now - C.max_age: None,
        house.now: None,
        house.now + 1: "FromTheFuture",
    }
    for time, expected in told.items():
        found = refusal(house, "Oracle", "publish", *price(house, 0, 2_000, time))
        assert (found and found[0]) == expected, time


def test_o11_stale_begins_one_second_after_the_maximum_age(house: House) -> None:
    house.publish(0, 2_000)
    published = house.now
    for age, stale in ((C.max_age, False), (C.max_age + 1, True)):
        house.at(published + age)
        assert house.ask("Oracle", house.dep.oracle, "pulse", 0)[3] is stale


def test_o12_what_no_message_may_say(house: House) -> None:
    house.at(house.now + 1)
    for spot, confidence in ((0, 10_000), (2_000, 10_001), (2**50 / 10**8, 10_000)):
        found = refusal(house, "Oracle", "publish", *price(house, 0, spot, confidence=confidence))
        assert found and found[0] == "BadMessage" and found[1][1] in (round(spot * 10**8), confidence)
    e = EXPIRIES[1]
    bad = [(e, 0, 0, 0, 0), (e, 5 * 10**6 + 1, 0, 0, 0), (e, 1, 2**31, 0, 0), (e, 1, 0, -(2**31) - 1, 0)]
    bad += [(e, 1, 0, 0, 10**6 + 1), (e, 1, 0, 0, -(10**6) - 1), (e + 1, 1, 0, 0, 0), (e + 1461 * 86_400, 1, 0, 0, 0)]
    for expiry, *numbers in bad:
        found = refusal(house, "Oracle", "publishSmile", *smile(house, 0, expiry, *numbers))
        assert found and found[0] == "BadMessage" and found[1][1] in (expiry, *numbers)
    forged = (0, 2_000 * 10**8, house.now, 10_000, bytes(65))
    assert refusal(house, "Oracle", "publish", *forged) == ("BadSignature", ("0x" + "00" * 20,))


def test_o12_a_doubted_price_costs_margin_and_stops_nothing(house: House) -> None:
    sure = house.assess(house.holds("alice"), Price.BID)
    house.publish(0, 2_000, confidence=0)
    doubted = house.assess(house.holds("alice"), Price.BID)
    charge = 40 * 2_000 * house.params.risk.confidence
    assert doubted[1] - sure[1] == pytest.approx(charge, rel=1e-3) and not doubted[8]


# ─── settlement ───────────────────────────────────────────────────────────────────────────────────


def test_o11_the_average_at_its_edges_is_that_of_the_messages(house: House) -> None:
    """One second before and after the window begins, and at and after the expiry."""
    expiry = EXPIRIES[0]
    start = expiry - C.window
    house.publish(0, 2_000, start - 25)
    for at, fixed, open_ in ((start - 1, 0, WAD), (start, 0, WAD), (start + 1, 2_000 * WAD // 60, 59 * WAD // 60)):
        house.at(at)
        assert house.ask("Oracle", house.dep.oracle, "observed", 0, expiry) == (fixed, open_)
    house.publish(0, 2_600, start + 15)  # 15 s at 2,000, then 30 s at 2,600, then 15 s at 1,400
    house.publish(0, 1_400, start + 45)
    house.at(expiry - 1)
    assert house.ask("Oracle", house.dep.oracle, "observed", 0, expiry)[1] == WAD // 60
    house.at(expiry)
    average = (15 * 2_000 + 30 * 2_600 + 15 * 1_400) * WAD // 60
    assert house.ask("Oracle", house.dep.oracle, "observed", 0, expiry) == (average, 0)
    assert refusal(house, "Oracle", "settlement", 0, expiry) == ("NotSettled", (0, expiry))
    house.publish(0, 9_999, expiry)
    assert house.ask("Oracle", house.dep.oracle, "settlement", 0, expiry) == average
    house.publish(0, 5, expiry + 3_000)
    assert house.ask("Oracle", house.dep.oracle, "settlement", 0, expiry) == average


def test_an_outage_over_the_whole_window_settles_at_the_last_price(house: House) -> None:
    expiry = EXPIRIES[0]
    house.publish(0, 1_900, expiry - 4_000)
    house.publish(0, 2_500, expiry + 4_000)
    assert house.ask("Oracle", house.dep.oracle, "settlement", 0, expiry) == 1_900 * WAD


@pytest.mark.parametrize("left", [3_000, 61, 60, 59, 30, 1, 0, -1, -100], ids=str)
def test_o11_an_account_near_expiry_is_valued_at_every_second(house: House, left: int) -> None:
    expiry = EXPIRIES[0]
    pf = Portfolio(0, legs((0, expiry, False, 2_100, -1), (0, expiry, True, 1_900, 1), (1, expiry, True, 40_000, -1)))
    house.publish(0, 2_000, expiry - 3_500)
    house.publish(0, 2_050, expiry - 90)
    house.at(max(house.now, expiry - left))
    for mode in Price:
        ours = market(house.book, 1, house.now, mode).assess(pf)
        theirs = house.assess(pf, mode)
        assert (ours.equity, ours.mm, ours.im, ours.loss, ours.stale) == (*theirs[:3], theirs[4], theirs[8])
    if left <= 0:  # nothing moves any more, so nothing can be lost
        assert ours.loss == 0 and ours.equity == (-50 + 150) * WAD - max(0, _settled(house, 1) - 40_000 * WAD)


def _settled(h: House, u: int) -> int:
    fixed, _ = h.ask("Oracle", h.dep.oracle, "observed", u, EXPIRIES[0])
    return int(fixed)


# ─── P4: levels ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_p4_what_each_level_stops(house: House, level: int) -> None:
    """Deposits and reductions work at every level, also of an account that could not open anything."""
    house.give("bob", 50_000)
    if level:
        act(house, "Oracle", "raise", level)
    house.give("alice", 1_000)
    house.trade("alice", "whale", [(*PUT[:4], 1.0)], 40)
    open_ = ("Clearing", "trade", house.account("alice"), house.account("whale"))
    bigger = (*open_, [word((*PUT[:4], -1.0))], 0, 2**40, 1, b"")
    assert house.refused("alice", *bigger) == ("" if level == 0 else "NotReduced")
    out = ("Clearing", "withdraw", house.account("alice"), 0, 1, house.who("alice"))
    assert house.refused("alice", *out) == ("" if level == 0 else "Level")
    assert refusal(house, "Oracle", "raise", level) == ("NothingToDo", ())


def test_the_level_rises_by_guardian_and_trippers_and_by_nobody_else(house: House) -> None:
    assert refusal(house, "Oracle", "raise", 1, sender=STRANGER) == ("Unauthorised", ())
    assert refusal(house, "Oracle", "trip", 1, b"x".ljust(32, b"\0"), sender=STRANGER) == ("Unauthorised", ())
    assert refusal(house, "Oracle", "raise", 4) == ("BadMessage", (b"level".ljust(32, b"\0"), 4))
    assert refusal(house, "Oracle", "addTripper", STRANGER, sender=STRANGER) == ("Unauthorised", ())
    act(house, "Oracle", "addTripper", house.governor)
    act(house, "Oracle", "trip", 1, b"test".ljust(32, b"\0"))
    assert house.ask("Oracle", house.dep.oracle, "level") == 1
    assert refusal(house, "Oracle", "schedule", LOWER, 1) == ("NothingToDo", ())  # it would not lower
    loosen(house, DISMISS, int.from_bytes(house.governor))
    assert refusal(house, "Oracle", "trip", 2, b"x".ljust(32, b"\0")) == ("Unauthorised", ())


def test_prices_are_for_everybody_to_carry(house: House) -> None:
    """Anyone may send what the publisher has signed; nobody may change it."""
    house.at(house.now + 1)
    args = price(house, 0, 2_001)
    assert refusal(house, "Oracle", "publish", *args, sender=STRANGER) is None
    for changed in ((args[0], args[1] + 1, *args[2:]), (1, *args[1:])):
        found = refusal(house, "Oracle", "publish", *changed, sender=STRANGER)
        assert found and found[0] == "BadSignature"


def test_nothing_is_announced_before_it_is_tight(house: House) -> None:
    """A timelock that could be started in advance would be none."""
    for what, value in ((LOWER, 0), (THAW, 0), (VOUCH, 0), (DISMISS, int.from_bytes(STRANGER))):
        assert refusal(house, "Oracle", "schedule", what, value) == ("NothingToDo", ())
    act(house, "Oracle", "raise", 1)
    act(house, "Oracle", "schedule", LOWER, 0)
    assert refusal(house, "Oracle", "execute", LOWER, 0) is None
    act(house, "Oracle", "raise", 3)
    assert refusal(house, "Oracle", "execute", LOWER, 0) == ("NotReady", (0, house.now))
    act(house, "Oracle", "freeze", 0)
    loosen(house, THAW, 0)
    act(house, "Oracle", "schedule", VOUCH, 0)
    act(house, "Oracle", "freeze", 0)
    loosen(house, THAW, 0)
    assert refusal(house, "Oracle", "execute", VOUCH, 0) == ("NotReady", (0, house.now))

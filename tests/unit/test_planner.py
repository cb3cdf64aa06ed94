"""What is done together: upkeep, then the best set; the adapter has the last word; nobody waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import pytest

from keeper.core.attempts import Attempts
from keeper.core.planner import Limits, choose
from keeper.core.rivals import BINS, Odds
from keeper.core.scanner import rank
from keeper.core.table import Side, Table, gas_limit
from keeper.model import (
    BlockRef,
    Capital,
    Costs,
    Decision,
    Hedge,
    Key,
    Kind,
    Liquidate,
    Moment,
    Needs,
    Opportunity,
    Reason,
    Receipt,
    Skip,
    TxEvent,
    TxState,
    Wait,
)
from keeper.ports import Adapter, View
from keeper.units import wad

AT = Moment(10, 1_000, 10**9)
VIEW = cast(View, None)
BOOK = ((0, 0), (0, 0))


@dataclass
class House:
    """An adapter that only knows capital; ``afford`` is exact and may be kinder or stricter than the picture."""

    room: int = wad(1_000_000)
    tokens: tuple[int, ...] = ()
    strict: bool = False
    asked: int = 0
    name = "house"

    def capital(self, view: View, at: Moment) -> Capital:
        return Capital(self.tokens, self.room, BOOK)

    def afford(self, view: View, chosen: Sequence[Opportunity], at: Moment) -> int:
        self.asked += 1
        if self.strict and len(chosen) > 1:
            return -1
        return self.room - sum(o.evidence.get("margin", 0) for o in chosen)


@dataclass(frozen=True)
class Rising:
    start: int
    end: int
    most: int

    def gain(self, at: int) -> int:
        return self.most if at >= self.end else 0

    def reaches(self, gain: int) -> int | None:
        return self.end if gain <= self.most else None


def made(n: int, gain: int, *, kind: Kind = Kind.LIQUIDATE, margin: int = 0, **more: Any) -> Opportunity:
    flat = ((0, 0), (wad(margin), wad(margin)))
    needs = Needs(gas=300_000, margin=wad(margin), losses=more.pop("losses", flat), tokens=more.pop("tokens", ()))
    evidence = {"margin": wad(more.pop("truly", margin))}
    costs = Costs(gas=wad(1), failure=wad(1))
    plain = (n.to_bytes(24), "house", Key("account", n), kind, AT, wad(gain), costs, needs, None)
    return Opportunity(*plain, evidence=evidence, **more)


def alone(house: House) -> Table:
    return Table({"house": Side(cast(Adapter, house), VIEW)}, AT)


def done(decisions: Sequence[Decision], house: House, limits: Limits, busy: Sequence[Opportunity] = ()) -> list[Any]:
    """True, or the reason why not, of each."""
    chosen = choose(decisions, alone(house), AT, busy, limits)
    assert [d.opportunity.id for d in chosen] == [d.opportunity.id for d in decisions]
    return [d.why if isinstance(d, Skip) else True for d in chosen]


def act(*opportunities: Opportunity) -> list[Decision]:
    return [Hedge(o) if o.kind in (Kind.HEDGE, Kind.TOP_UP) else Liquidate(o, 0) for o in opportunities]


def test_the_set_beats_the_order() -> None:
    """First come, first served would take the first and nothing else."""
    a, b, c = made(1, 100, margin=90), made(2, 80, margin=50), made(3, 70, margin=50)
    assert done(act(a, b, c), House(wad(100)), Limits()) == [Reason.CAPITAL_RESERVED, True, True]


def test_slots_and_block_gas_are_shared() -> None:
    three = [made(n, 10 * n) for n in (1, 2, 3)]
    assert done(act(*three), House(), Limits(max_inflight=2)) == [Reason.SET_NOT_CHOSEN, True, True]
    assert done(act(*three), House(), Limits(block_gas=2 * gas_limit(three[0]))) == [Reason.SET_NOT_CHOSEN, True, True]


def test_what_is_on_its_way_takes_its_share() -> None:
    busy = made(9, 50, margin=60)
    assert done(act(made(1, 10, margin=50)), House(wad(100)), Limits(), [busy]) == [Reason.CAPITAL_RESERVED]
    assert done(act(made(1, 10)), House(), Limits(max_inflight=1), [busy]) == [Reason.SET_NOT_CHOSEN]
    assert done(act(made(9, 10)), House(), Limits(), [busy]) == [Reason.INFLIGHT_DUPLICATE]


def test_one_action_on_an_account() -> None:
    a = made(1, 100)
    b = replace(made(2, 90), key=a.key)
    assert done(act(a, b), House(), Limits()) == [True, Reason.INFLIGHT_DUPLICATE]


def test_upkeep_comes_first_and_is_not_judged_by_profit() -> None:
    own = made(1, 0, kind=Kind.HEDGE)
    assert done(act(own, made(2, 100)), House(), Limits(max_inflight=1)) == [True, Reason.SET_NOT_CHOSEN]


def test_the_adapter_has_the_last_word() -> None:
    """It refuses two together, which the picture allows; the better one stays."""
    assert done(act(made(1, 10), made(2, 20)), House(strict=True), Limits()) == [Reason.CAPITAL_RESERVED, True]


def test_what_the_picture_refuses_is_still_judged_exactly() -> None:
    """Its scenario losses look too large, but what we hold offsets them."""
    hedged = made(1, 10, margin=500, truly=0)
    assert done(act(hedged), House(wad(100)), Limits()) == [True]


def test_margin_is_that_of_the_worst_scenario_together() -> None:
    up, down = made(1, 50, losses=((wad(80), 0), (0, 0))), made(2, 50, losses=((0, wad(80)), (0, 0)))
    assert done(act(up, down), House(wad(100)), Limits()) == [True, True]
    assert done(act(up, replace(up, id=bytes(24), key=Key("account", 3))), House(wad(100), strict=True), Limits()) == [
        True,
        Reason.CAPITAL_RESERVED,
    ]


def test_tokens_are_shared() -> None:
    a, b = made(1, 100, tokens=(7,)), made(2, 99, tokens=(7,))
    assert done(act(a, b), House(tokens=(10,), strict=True), Limits()) == [True, Reason.CAPITAL_RESERVED]


def test_expected_profit_decides_not_what_winning_would_bring() -> None:
    sure, dream = made(1, 60, chance=wad(1)), made(2, 100, chance=wad("0.2"))
    assert dream.expected == (dream.net * 2 - wad(8)) // 10
    assert done(act(sure, dream), House(), Limits(max_inflight=1)) == [True, Reason.SET_NOT_CHOSEN]
    assert done(act(dream), House(), Limits(min_profit=wad(25))) == [Reason.BELOW_MIN_PROFIT]


def test_what_was_not_chosen_says_what_it_would_displace() -> None:
    decisions = act(made(1, 100), made(2, 40))
    _, skip = choose(decisions, alone(House()), AT, [], Limits(max_inflight=1))
    assert isinstance(skip, Skip)
    assert skip.opportunity.evidence["displaces"] >= wad(38)


def test_needs_of_other_scenarios_are_taken_at_their_margin() -> None:
    """The parameters changed while it was on its way."""
    old = made(1, 50, margin=60, losses=((1, 2, 3),))
    assert done(act(made(2, 50, margin=50, truly=50)), House(wad(100)), Limits(), [old]) == [Reason.CAPITAL_RESERVED]


def waiting(n: int, gain: int, margin: int, until: int = 1_024) -> Wait:
    """A bid that would bring so much at ``until``, and nothing before."""
    rising = Rising(AT.timestamp, until, wad(gain))
    odds = Odds((0,) * (BINS + 1), wad(1_000), 0, 12, wad(1))
    bid = replace(made(n, 0, kind=Kind.BID, margin=margin), curve=rising, odds=odds)
    return Wait(bid, until, Reason.AUCTION_PRICE_HIGH)


def test_capital_is_kept_for_a_better_bid_that_waits() -> None:
    house, now = House(wad(100)), act(made(1, 30, margin=60))
    assert done([*now, waiting(2, 100, 60)], house, Limits()) == [Reason.CAPITAL_RESERVED, True]
    assert done([*now, waiting(2, 20, 60)], house, Limits()) == [True, True]


def test_ample_capital_is_kept_for_nobody() -> None:
    assert done([*act(made(1, 30, margin=60)), waiting(2, 100, 60)], House(wad(1_000)), Limits()) == [True, True]


def test_a_takeover_is_refused_while_the_auction_is_worth_more() -> None:
    later = waiting(2, 100, 10)
    takeover = replace(made(1, 30, kind=Kind.TAKEOVER), key=later.opportunity.key)
    assert done([*act(takeover), later], House(), Limits()) == [Reason.NO_EDGE, True]
    assert done([*act(replace(takeover, gain=wad(150))), later], House(), Limits()) == [True, True]


def test_a_threshold_beats_first_come_when_capital_is_short() -> None:
    """strategies.md 7: poor offers come first, rich ones are seen coming; with room for all, nothing changes."""

    def earned(room: int, keep: bool) -> int:
        won, used, rich = 0, 0, [waiting(100 + n, 60, 50) for n in range(10)]
        for n in range(10):  # poor ones fall due block by block while rich ones still run
            house = House(wad(room - used))
            first = done([*act(made(n, 20, margin=50)), *(rich if keep else [])], house, Limits())[0]
            won, used = (won + 19, used + 50) if first is True else (won, used)
        return won + 59 * min(len(rich), (room - used) // 50)

    assert earned(500, keep=True) > 1.15 * earned(500, keep=False)
    assert earned(2_000, keep=True) == earned(2_000, keep=False)


def test_nobody_waits_for_ever() -> None:
    """A thousand at once, four slots, and the two hundred that look best always fail."""
    limits, house, attempts = Limits(max_inflight=4), House(), Attempts()
    everyone = {n: made(n, 10_000 - n) for n in range(1_000)}
    served, receipt = set[int](), Receipt(bytes(32), BlockRef(0, b"", b"", 0, 0, 0, 1), False, 1, 1)
    for block in range(700):
        attempts.forget(block, block - 10)
        open_ = [o for n, o in everyone.items() if n not in served]
        ranked = rank(open_, set(), attempts.resting)
        able: list[Decision] = [Skip(o, o.refusal) if o.refusal else Liquidate(o, 0) for o in ranked]
        for d in choose(able, alone(house), AT, [], limits):
            if isinstance(d, Skip):
                continue
            intent, n = d.opportunity.id + block.to_bytes(8), d.opportunity.key.id
            attempts.begin(intent, d.opportunity, block)
            if n < 200:
                attempts.hear(TxEvent(intent, TxState.INCLUDED, receipt), block)
            else:
                served.add(n)
    assert served == set(range(200, 1_000))


def test_a_rollback_takes_failures_back() -> None:
    attempts, o = Attempts(), made(1, 1)
    for block in (10, 20):
        attempts.begin(bytes([block]) * 32, o, block)
        attempts.hear(TxEvent(bytes([block]) * 32, TxState.ABANDONED, why=Reason.SIM_REVERTED), block)
    attempts.forget(25, 0)
    assert attempts.resting == {o.id}
    attempts.rollback(15)
    attempts.forget(14, 0)
    assert attempts.resting == frozenset()


@pytest.mark.parametrize("seed", range(40))
def test_one_alone_is_judged_as_it_would_be_among_others(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the linear picture, or without it where there is nothing to choose."""
    dice, verdicts = Random(seed), set[str]()
    for _ in range(40):
        one = made(
            1,
            dice.choice((-1, 0, 1, 5, 50)),
            margin=dice.choice((0, 40, 90, 200)),
            truly=dice.choice((0, 40, 90, 200)),
            tokens=dice.choice(((), (5,), (50,))),
            kind=dice.choice((Kind.LIQUIDATE, Kind.BID, Kind.HEDGE)),
            chance=wad(dice.choice((0, 1))),
        )
        busy = [
            made(n, 10, margin=dice.choice((0, 60)), tokens=(20,)) for n in dice.sample(range(1, 9), dice.randrange(3))
        ]
        limits = Limits(max_inflight=dice.choice((1, 2, 16)), block_gas=dice.choice((10**6, 25 * 10**6)), min_profit=0)
        house = House(wad(100), (dice.choice((30, 70)),), strict=dice.random() < 0.2)
        found = done(act(one), house, limits, busy)
        with monkeypatch.context() as patched:
            patched.setattr("keeper.core.planner._Plan._single", lambda *_: False)
            assert done(act(one), house, limits, busy) == found
        verdicts.add(str(found[0]))
    assert len(verdicts) >= 4

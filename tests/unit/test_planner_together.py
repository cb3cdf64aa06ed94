"""Several protocols at one table: one set for all, from one capital, in one block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from keeper.core.planner import Limits, choose
from keeper.core.rivals import BINS, Odds
from keeper.core.table import Failed, Side, Table, gas_limit
from keeper.errors import AdapterFault
from keeper.model import (
    Address,
    Capital,
    Costs,
    Decision,
    Key,
    Kind,
    Liquidate,
    Moment,
    Needs,
    Opportunity,
    Reason,
    Skip,
    Wait,
)
from keeper.ports import Adapter, View
from keeper.units import wad

AT = Moment(10, 1_000, 10**9)
VIEW = cast(View, None)
CASH, COIN = b"c" * 20, b"e" * 20
Verdict = bool | Reason


@dataclass
class House:
    """An adapter that knows what it has; its exact judgement is that no token of its own runs out."""

    tokens: Mapping[Address, int] = field(default_factory=lambda: {CASH: 100})
    room: int = 0
    losses: tuple[tuple[int, ...], ...] = ()
    fails: bool = False

    def capital(self, view: View, at: Moment) -> Capital:
        if self.fails:
            raise AdapterFault("no price")
        return Capital(tuple(self.tokens.values()), self.room, self.losses, tuple(self.tokens))

    def afford(self, view: View, chosen: Sequence[Opportunity], at: Moment) -> int:
        taken = (sum(o.needs.tokens[i] for o in chosen if o.needs.tokens) for i in range(len(self.tokens)))
        left = min((have - use for have, use in zip(self.tokens.values(), taken, strict=True)), default=0)
        lost = sum(max(row) for o in chosen for row in o.needs.losses)
        return min(left, self.room - lost)


@dataclass(frozen=True)
class Then:
    """A hundred dollars from then on."""

    start: int

    def gain(self, at: int) -> int:
        return wad(100) if at >= self.start else 0

    def reaches(self, gain: int) -> int | None:
        return self.start if gain <= wad(100) else None


TWO = {"a": House(), "b": House()}


def made(protocol: str, n: int, gain: int, *tokens: int, kind: Kind = Kind.LIQUIDATE, lost: int = 0) -> Opportunity:
    needs = Needs(gas=300_000, tokens=tokens, margin=lost, losses=((lost,),) if lost else ())
    costs = Costs(gas=wad(1), failure=wad(1))
    key = Key("account", n)
    return Opportunity(f"{protocol}{n}".encode().rjust(24), protocol, key, kind, AT, wad(gain), costs, needs, None)


def verdicts(
    wanted: Sequence[Opportunity],
    houses: Mapping[str, House],
    limits: Limits | None = None,
    busy: Sequence[Opportunity] = (),
    waiting: Sequence[Wait] = (),
) -> list[Verdict]:
    table = Table({name: Side(cast(Adapter, house), VIEW) for name, house in houses.items()}, AT)
    decisions: list[Decision] = [Liquidate(o, 0) for o in wanted]
    chosen = choose([*decisions, *waiting], table, AT, busy, limits or Limits())[: len(wanted)]
    assert [d.opportunity.id for d in chosen] == [o.id for o in wanted]
    return [d.why if isinstance(d, Skip) else True for d in chosen]


def worth(wanted: Sequence[Opportunity], found: Sequence[Verdict]) -> int:
    return sum(o.expected for o, verdict in zip(wanted, found, strict=True) if verdict is True)


def in_turn(wanted: Sequence[Opportunity], houses: Mapping[str, House]) -> list[Verdict]:
    """One protocol after the other, each with what those before it have left: what a keeper of each alone would do."""
    found, before = dict[bytes, Verdict](), list[Opportunity]()
    for name, house in houses.items():
        mine = [o for o in wanted if o.protocol == name]
        spent = sum(o.needs.tokens[0] for o in before)
        left = replace(house, tokens={CASH: house.tokens[CASH] - spent})
        for o, verdict in zip(mine, verdicts(mine, {name: left}), strict=True):
            found[o.id] = verdict
            before += [o] if verdict is True else []
    return [found[o.id] for o in wanted]


def test_one_cash_and_two_protocols_the_better_use_gets_it() -> None:
    """The first one wants all of the cash for 30; the second would make 50 of it."""
    wanted = [made("a", 1, 30, 100), made("b", 2, 25, 50), made("b", 3, 25, 50)]
    together, apart = verdicts(wanted, TWO), in_turn(wanted, TWO)
    assert together == [Reason.CAPITAL_RESERVED, True, True]
    assert apart == [True, Reason.CAPITAL_RESERVED, Reason.CAPITAL_RESERVED]
    assert worth(wanted, together) > worth(wanted, apart) * 3 // 2


def test_the_order_of_the_protocols_does_not_matter() -> None:
    wanted = [made("a", 1, 30, 100), made("b", 2, 25, 50), made("b", 3, 25, 50)]
    assert verdicts(wanted, {"b": House(), "a": House()}) == verdicts(wanted, TWO)


def test_no_token_is_spent_twice_whoever_spends_it() -> None:
    """Each of the two could afford its own; together they want more than the desk has."""
    wanted = [made("a", 1, 30, 80), made("b", 2, 20, 80)]
    assert verdicts(wanted, TWO) == [True, Reason.CAPITAL_RESERVED]
    apart = {"a": House(), "b": House({COIN: 100})}
    assert verdicts(wanted, apart) == [True, True]  # not the same token: nothing is shared


def test_what_is_in_flight_for_one_is_missing_for_the_other() -> None:
    busy = made("a", 9, 10, 80)
    wanted = [made("b", 1, 30, 50)]
    assert verdicts(wanted, TWO, busy=[busy]) == [Reason.CAPITAL_RESERVED]
    assert verdicts(wanted, TWO) == [True]


def test_slots_and_block_gas_go_to_the_best_of_all() -> None:
    wanted = [made("a", 1, 10, 0), made("a", 2, 40, 0), made("b", 1, 30, 0), made("b", 2, 20, 0)]
    best = [Reason.SET_NOT_CHOSEN, True, True, Reason.SET_NOT_CHOSEN]
    assert verdicts(wanted, TWO, Limits(max_inflight=2)) == best
    assert verdicts(wanted, TWO, Limits(block_gas=2 * gas_limit(wanted[0]))) == best


def test_accounts_of_the_same_number_in_two_protocols_are_two() -> None:
    """As one account, at most one of the pair were in the set: the third item would win, and leave no cash for them."""
    wanted = [made("a", 1, 30, 50), made("b", 1, 30, 50), made("a", 2, 40, 100)]
    assert verdicts(wanted, TWO) == [True, True, Reason.CAPITAL_RESERVED]


def test_what_waits_in_one_protocol_holds_back_nothing_in_the_other() -> None:
    """A bid that waits on an account keeps others off that account, and off no account of the same number elsewhere."""
    later = AT.timestamp + 12
    odds = Odds((0,) * (BINS + 1), wad(1_000), 0, 12, wad(1))
    waits = Wait(replace(made("a", 1, 0, 10), curve=Then(later), odds=odds), later, Reason.AUCTION_PRICE_HIGH)
    assert verdicts([made("a", 1, 20, 10)], TWO, waiting=[waits]) == [Reason.NO_EDGE]
    assert verdicts([made("b", 1, 20, 10)], TWO, waiting=[waits]) == [True]


def test_of_two_actions_on_one_account_the_better_is_done_though_both_would_fit() -> None:
    wanted = [made("a", 1, 10, 10), replace(made("a", 1, 20, 10), id=b"another".rjust(24)), made("b", 1, 5, 10)]
    assert verdicts(wanted, TWO) == [Reason.INFLIGHT_DUPLICATE, True, True]


def test_margin_in_one_house_carries_no_loss_in_the_other() -> None:
    rich, poor = House({}, room=wad(100), losses=((0,),)), House({}, room=wad(10), losses=((0,),))
    wanted = [made("a", 1, 10, lost=wad(50)), made("b", 2, 40, lost=wad(50))]
    assert verdicts(wanted, {"a": rich, "b": poor}) == [True, Reason.CAPITAL_RESERVED]
    assert verdicts(wanted, {"a": poor, "b": rich}) == [Reason.CAPITAL_RESERVED, True]


def test_margin_of_the_second_house_is_shared_by_what_it_wants() -> None:
    rich = House({}, room=wad(100), losses=((0,),))
    wanted = [made("a", 1, 10, lost=wad(50)), made("b", 2, 40, lost=wad(60)), made("b", 3, 30, lost=wad(60))]
    assert verdicts(wanted, {"a": rich, "b": rich}) == [True, True, Reason.CAPITAL_RESERVED]


def test_upkeep_of_any_protocol_comes_before_profit_of_all() -> None:
    wanted = [made("a", 1, 100, 0), made("b", 2, 0, 0, kind=Kind.HEDGE)]
    assert verdicts(wanted, TWO, Limits(max_inflight=1)) == [Reason.SET_NOT_CHOSEN, True]


def test_who_fails_is_named_so_that_the_others_can_go_on() -> None:
    with pytest.raises(Failed) as caught:
        verdicts([made("a", 1, 10, 0), made("b", 2, 10, 0)], {"a": House(fails=True), "b": House()})
    assert caught.value.protocol == "a"

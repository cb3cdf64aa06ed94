"""Nonsense in the market is a located error or a stated refusal, never a silent wrong number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from keeper.core.book import Book
from keeper.core.desk import Desk
from keeper.model import Key, Reason, Record
from keeper.observe.decisions import EVENTS
from keeper.ports import Adapter
from keeper.protocols.options.oracle import Feed
from keeper.protocols.options.records import Account, Leg, State, smile_key
from keeper.protocols.options.risk import Market, Price, portfolio
from keeper.units import WAD
from tests.worlds.crowd import NOW, SPOTS, Crowd, people, series

GOOD, BAD, POOR = 10**40, 10**41, 10**42


def crowd() -> Crowd:
    """One account in what stays known, one in what gets lost, and one that is under water in what stays known."""
    c = Crowd()
    c.settle(
        [
            (GOOD, Account(10_000 * WAD, (Leg(series(0, 7, True, 100), -WAD),), (), 1)),
            (
                BAD,
                Account(-10_000 * WAD, (Leg(series(0, 3, True, 100), -WAD), Leg(series(1, 3, True, 88), -WAD)), (), 1),
            ),
            (POOR, Account(-10_000 * WAD, (Leg(series(0, 7, True, 100), -WAD),), (), 1)),
        ]
    )
    return c


def spot(c: Crowd, u: int, **fields: Any) -> None:
    feed: Feed = c.records[Key("feed", u)]
    c.records[Key("feed", u)] = replace(feed, **fields)


LOST: dict[str, Callable[[Crowd], object]] = {
    "has no smile": lambda c: c.records.pop(smile_key(1, NOW + 3 * 86_400)),
    "has no price": lambda c: c.records.pop(Key("feed", 1)),
    "is not in the parameters": lambda c: c.records.update(
        {Key("params", 1): replace(c.sets, risk=replace(c.sets.risk, depths=c.sets.risk.depths[:1]))}
    ),
}


@pytest.mark.parametrize("why", LOST)
def test_holders_of_what_has_no_value_are_refused_and_the_others_are_not(why: str) -> None:
    c = crowd()
    assert {key.id for key in c.columns.suspects(c, c.at)} == {BAD, POOR}
    LOST[why](c)
    assert {key.id for key in c.columns.suspects(c, c.at)} == {POOR}
    refused = c.columns.refused(c, c.at)
    assert [key.id for key in refused] == [BAD]
    assert why in refused[Key("account", BAD)]
    if len(c.records[Key("params", 1)].risk.depths) == 2:
        health = c.columns.assess(State(c), c.at, Price.TRIGGER)
        assert [bool(np.isnan(x)) for x in health.equity] == [False, True, False]


def test_collateral_without_a_price_is_refused() -> None:
    c = crowd()
    c.settle([(BAD, Account(-10_000 * WAD, (), (0, 0, 10**8), 1))])
    c.records.pop(Key("feed", 1))
    assert {key.id for key in c.columns.suspects(c, c.at)} == {POOR}
    assert "underlying 1 has no price" in c.columns.refused(c, c.at)[Key("account", BAD)]


def test_a_price_of_zero_is_an_error_that_says_where() -> None:
    c = crowd()
    spot(c, 1, spot=0, slow=0, fast=0)
    with pytest.raises(ValueError, match="underlying 1 has price 0"):
        c.columns.suspects(c, c.at)


def test_a_value_that_is_no_number_is_an_error_that_names_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    from keeper.margin import portfolio as telling

    c, term = crowd(), telling.term

    def broken(*args: object) -> telling.Term:
        t = term(*args)  # type: ignore[arg-type]
        t.gain[0, 3] = np.nan
        return t

    monkeypatch.setattr(telling, "term", broken)
    with pytest.raises(ValueError, match=r"the call on underlying \d at .* has no finite value"):
        c.columns.suspects(c, c.at)


def test_expired_series_are_worth_what_they_settle_at() -> None:
    """Until somebody settles them they count at the settlement average, as on chain."""
    c = Crowd()
    c.settle(people(3, 300))
    c.now = NOW + 3 * 86_400 + 7_200
    for u in range(len(SPOTS)):
        c.price(u, SPOTS[u] * 1.02)
        spot(c, u, sum=SPOTS[u] * 10**8 * 86_400 * 3)
        c.records[Key("steps", u)] = 2
        for i, day in enumerate((1, 3)):
            at = NOW + day * 86_400 - 1_801
            c.records[Key("step", u << 40 | i)] = (at, SPOTS[u] * 10**8, SPOTS[u] * 10**8 * (at - NOW))
    from keeper.protocols.options.oracle import Step

    for key, value in list(c.records.items()):
        if key.kind == "step":
            c.records[key] = Step(*value)
    market = Market(State(c), c.sets.risk, c.now, Price.TRIGGER)
    health = c.columns.assess(State(c), c.at, Price.TRIGGER)
    for row, id in enumerate(c.columns.accounts):
        account = c.columns.get(Key("account", id))
        assert account is not None
        exact = market.assess(portfolio(account, State(c).clearing()))
        off = 1e-9 * float(health.gross[row]) + 1e-6
        assert health.equity[row] - health.mm[row] == pytest.approx((exact.equity - exact.mm) / WAD, abs=off)


def test_what_was_refused_is_known_after_the_look_and_reported_when_it_changes() -> None:
    """Once, with a reason of the closed list; and again when it is over."""
    c = crowd()
    book = cast(Book, SimpleNamespace(columns=c.columns))
    desk = Desk(cast(Adapter, SimpleNamespace(name="options")), book, ())
    smile = c.records[smile_key(1, NOW + 3 * 86_400)]
    told = list[list[Record]]()
    for lost in (False, True, False, False):
        if lost:
            LOST["has no smile"](c)
        c.columns.suspects(c, c.at)
        told.append(list(desk.unvalued(len(told))))
    assert [len(each) for each in told] == [0, 1, 0, 0]
    [record] = told[1]
    assert record.event in EVENTS
    assert record.fields["why"] is Reason.PRICE_UNKNOWN
    assert (record.fields["count"], record.fields["accounts"]) == (1, f"0x{BAD:x}")
    assert "has no smile" in record.fields["detail"]
    c.records[smile_key(1, NOW + 3 * 86_400)] = smile
    c.columns.suspects(c, c.at)
    [record] = desk.unvalued(9)
    assert record.fields["count"] == 0
    assert c.columns.refusals == {}

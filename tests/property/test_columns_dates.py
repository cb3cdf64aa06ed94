"""What is kept of the terms of a listing, and had ready for the next block, is what would be made anew."""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random
from typing import Any

import numpy as np
import pytest

from keeper.margin.scan.table import Inputs
from keeper.model import Key
from keeper.protocols.options import market, oracle
from keeper.protocols.options.records import State, smile_key
from keeper.protocols.options.risk import Price
from tests.worlds.crowd import DAYS, NOW, SPOTS, Crowd, people

MODES = (Price.TRIGGER, Price.SPOT, Price.INITIAL)


def told(c: Crowd, mode: Price, dates: market.Dates | None) -> Inputs | str:
    try:
        return market.inputs(State(c), c.columns.store.listing, c.at, mode, c.sets.risk, dates)
    except ValueError as error:
        return str(error)


def same(a: Inputs | str, b: Inputs | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    every = ((getattr(a, f.name), getattr(b, f.name)) for f in fields(Inputs))
    return all(np.array_equal(x, y, equal_nan=True) if isinstance(x, np.ndarray) else x == y for x, y in every)


def step(c: Crowd, dice: Random) -> None:
    """Something changes: a price, how sure it is, a smile, which of them there are, the rules, who holds what, time."""
    u, day = dice.randrange(2), dice.choice(DAYS)
    feed: Any = c.records[Key("feed", u)]
    match dice.choice((0, 0, 0, 0, 0, 0, *range(9))):
        case 0 | 1:
            c.price(u, SPOTS[u] * dice.uniform(0.9, 1.1), dice.choice((10_000, 9_000)))
        case 2:
            c.smile(u, day, dice.uniform(0.3, 0.9), dice.choice((10_000, 8_000)))
        case 3:
            c.records.pop(smile_key(u, NOW + day * 86_400), None)
        case 4:
            c.records[Key("config", 0)] = replace(c.records[Key("config", 0)], smile_age=dice.choice((0, 60, 1_200)))
        case 5:
            c.records[Key("feed", u)] = replace(feed, variance=feed.variance + dice.randrange(10**9), sum=feed.sum + 1)
        case 6:
            c.settle(people(dice.randrange(100), 3))
        case 7:
            c.now += dice.choice((1, 12, 3_000, 86_400 - 900))
        case 8:
            c.now -= dice.choice((0, 1, 12))  # a block was rolled back


@pytest.mark.parametrize("seed", range(20))
def test_terms_that_are_kept_are_those_that_would_be_made(seed: int) -> None:
    dice, hits = Random(seed), 0
    c = Crowd(now=NOW + dice.choice((0, 86_400 - 2_000, 3 * 86_400 - 900)))  # in settlement windows too
    c.settle(people(seed, 20))
    dates: market.Dates = {}
    for _ in range(80):
        step(c, dice)
        if dice.random() < 0.5:
            c.columns.ahead(c, replace(c.at, timestamp=c.now + 12))
        before = {now: id(one) for now, one in dates.items()}
        mode = dice.choice(MODES)
        assert same(told(c, mode, dates), told(c, mode, None))
        hits += before.get(c.now) is not None and before.get(c.now) == id(dates.get(c.now))
        assert len(dates) <= market.MOMENTS
    assert hits > 5, "nothing was ever used again"


def test_a_price_finds_all_that_time_alone_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ``ahead``, a look at that moment works no term out, though the price is new; a new smile is seen."""
    c = Crowd()
    c.settle(people(3, 200))
    c.columns.suspects(c, c.at)
    c.columns.ahead(c, replace(c.at, timestamp=c.now + 12))
    c.now += 12
    c.price(0, SPOTS[0] * 0.97)
    fresh = Crowd(now=c.now)
    fresh.records |= c.records
    fresh.settle(people(3, 200))
    expected = fresh.columns.suspects(fresh, fresh.at)
    monkeypatch.setattr(market, "_term", lambda *_: pytest.fail("a term was worked out while a block waited"))
    monkeypatch.setattr(oracle, "observed", lambda *_: pytest.fail("an average was looked for"))
    assert c.columns.suspects(c, c.at) == expected
    c.smile(0, DAYS[3], 0.9)
    with pytest.raises(pytest.fail.Exception):
        c.columns.suspects(c, c.at)

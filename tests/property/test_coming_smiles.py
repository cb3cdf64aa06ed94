"""The next smiles by rule and pool: what a publisher who looks at the same price would send, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest

from keeper.core.book import Book
from keeper.core.desk import EXPECTED, Desk, coming
from keeper.core.health import condemned
from keeper.model import Key, Moment, Pending
from keeper.ports import View
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.records import Pool, State, quoted_key, smile_key
from keeper.protocols.options.settings import Contracts, Settings, SmileRule
from keeper.protocols.options.whatif import published
from keeper.simulation.node import Anvil
from keeper.simulation.publisher import Rule, SmileFeed
from keeper.simulation.surface import Regime, Surface
from keeper.units import wad
from tests.worlds.crowd import DAYS, NOW, SPOTS, Crowd, people
from tests.worlds.options import EXPIRIES, GENESIS, OptionsWorld
from tests.worlds.options import SPOTS as PRICES

ORACLE = b"\7" * 20
RULE, PUBLISHED = SmileRule(wad("0.02"), 300, wad("1.6")), Rule(20_000, 300)
REGIME = Regime()  # of the same response
EXPIRING = [NOW + day * 86_400 for day in DAYS]


def settings(*rules: SmileRule) -> Settings:
    return Settings(Contracts(ORACLE, ORACLE, ORACLE, ORACLE, (), ()), 0, bytes(20), smiles=rules)


def quoted(c: Crowd, surface: Surface, spot: float, at: int) -> None:
    """Every smile as the surface has it, at this price."""
    for expiry in EXPIRING:
        s = surface.smile(expiry)
        old = c.records[smile_key(0, expiry)]
        c.records[smile_key(0, expiry)] = replace(old, atm=s.atm, smooth=s.atm * 10**12, time=at)
        c.records[quoted_key(0, expiry)] = round(spot * 10**8)


def pool(c: Crowd, price: float) -> None:
    c.records[Key("pool", 0)] = Pool(10_000 * 10**18, round(10_000 * price * 10**6))


def told(calls: Iterator[Pending]) -> Mapping[int, Mapping[str, Any]]:
    found = (CONTRACTS["Oracle"].decode(call.data) for call in calls)
    return {args["expiry"]: args for name, args in filter(None, found) if name == "publishSmile"}


@pytest.mark.parametrize("seed", range(20))
def test_they_are_those_that_the_publisher_sends(seed: int) -> None:
    """Where the price in the pool is the one that he sees: the same expiries, the same volatilities."""
    dice, c = Random(seed), Crowd()
    surface, feeds = Surface(REGIME, NOW, SPOTS[0]), {e: SmileFeed(0, e, PUBLISHED) for e in EXPIRING}
    for expiry, feed in feeds.items():
        feed.publish(NOW, surface.smile(expiry))
    quoted(c, surface, SPOTS[0], NOW)
    now, price = NOW + dice.choice((4, 200, 300, 360)), SPOTS[0] * dice.choice((1.0, 0.999, 0.97, 1.02, 0.7, 1.05))
    surface.move(now, price)
    pool(c, price)
    c.ref = replace(c.ref, timestamp=now)
    adapter = Options(settings(RULE))
    found = told(iter(adapter.expected(c, Moment(2, now, 0))))
    due = {expiry for expiry, feed in feeds.items() if feed.due(now, surface.smile(expiry))}
    assert set(found) == due
    for expiry, args in found.items():
        assert args["atm"] == pytest.approx(surface.smile(expiry).atm, abs=300)  # ppm; what it forgets meanwhile
        assert args["time"] == now


def test_without_a_price_or_a_response_only_age_counts_and_nothing_is_made_up() -> None:
    c = Crowd()
    quoted(c, Surface(REGIME, NOW, SPOTS[0]), SPOTS[0], NOW)
    c.ref = replace(c.ref, timestamp=NOW + 4)
    for rule, fall in ((RULE, False), (replace(RULE, response=0), True)):
        if fall:
            pool(c, SPOTS[0] * 0.7)
        for now, wanted in ((NOW + 8, 0), (NOW + 300, len(DAYS))):
            found = told(iter(Options(settings(rule)).expected(c, Moment(2, now, 0))))
            assert len(found) == wanted
            assert all(args["atm"] == c.records[smile_key(0, e)].atm for e, args in found.items())
    assert list(Options(settings()).expected(c, Moment(2, NOW + 300, 0))) == []
    over = told(iter(Options(settings(RULE)).expected(c, Moment(2, EXPIRING[2], 0))))
    assert set(over) == set(EXPIRING[3:])  # of an expiry that is over nothing comes


def test_a_message_as_new_as_the_block_is_believed_before_the_pool() -> None:
    c = Crowd()
    quoted(c, Surface(REGIME, NOW, SPOTS[0]), SPOTS[0], NOW - 4)
    pool(c, SPOTS[0] * 0.9)
    adapter, at = Options(settings(RULE)), Moment(2, NOW + 4, 0)
    assert told(iter(adapter.expected(c, at))) == {}  # the price of NOW is that of the last smiles
    c.ref = replace(c.ref, timestamp=NOW + 2)
    assert len(told(iter(adapter.expected(c, at)))) == len(DAYS)


def test_whom_the_next_smiles_condemn_is_known_before_they_come() -> None:
    """Prices stand still: it is the volatility that takes them. All of them, and nobody else."""
    c = Crowd()
    quoted(c, Surface(REGIME, NOW, SPOTS[0]), SPOTS[0], NOW)
    c.settle(people(8, 60, 8))
    pool(c, SPOTS[0] * 0.8)
    c.ref = replace(c.ref, timestamp=NOW + 4)
    at = Moment(2, NOW + 8, 0)
    adapter, book = Options(settings(RULE)), cast(Book, c)
    desk = Desk(adapter, book, ())
    desk.unhealthy = {report.key.id: report for report in condemned(adapter, book, at)}
    named, view = [report.key for report in coming(desk, at)[1]], cast(View, c)
    for call in adapter.expected(c, at):
        after = published(view, call.data, at.timestamp)
        assert after is not None  # the contract would take it, but for the signature
        view = after
    wanted = {r.key for r in condemned(adapter, book, at, view)} - {Key("account", id) for id in desk.unhealthy}
    assert wanted and named == sorted(wanted)[:EXPECTED]


@pytest.mark.chain
def test_the_price_at_which_a_smile_was_quoted_is_remembered_and_taken_back() -> None:
    with Anvil(timestamp=GENESIS) as node:
        world = OptionsWorld(node)
        world.open_markets()
        state, key = State(world.book), (0, EXPIRIES[0])
        assert state.quoted(*key) == PRICES[0] * 10**8
        with world.undone():
            world.publish(0, PRICES[0] * 1.01)
            assert state.quoted(*key) == PRICES[0] * 10**8
            world.publish_smile(*key, 700_000)
            assert state.quoted(*key) == round(PRICES[0] * 1.01 * 10**8)
        assert state.quoted(*key) == PRICES[0] * 10**8

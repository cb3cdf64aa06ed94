"""The slack index names exactly what a scan of all names, over random walks of spot, volatility and time."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from keeper.margin.scan import kernels
from keeper.model import BlockRef, Key
from keeper.protocols.options import oracle
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.oracle import REALISTIC
from tests.property.test_columns_bulk import event
from tests.worlds.crowd import DAYS, SPOTS, Crowd, people, person

BLOCKS = 120


class Walk:
    """Two books of the same accounts in the same market, one with an index."""

    def __init__(self, seed: int, kernel: str, count: int) -> None:
        self.dice = Random(seed)
        self.crowd = Crowd(columns=Columns(kernels.named(kernel), index_from=0))
        self.plain = Columns(kernels.named(kernel), index_from=10**9)
        self.accounts = dict(people(seed, count, 10, 0.5))
        for id, account in self.accounts.items():
            self.put(id, account)
        self.looked, self.whole, self.spots = 0, 0, [float(spot) for spot in SPOTS]

    def put(self, id: int, account: object) -> None:
        for columns in (self.crowd.columns, self.plain):
            columns.put(Key("account", id), account)

    def step(self, wild: float) -> None:
        """12 seconds: prices move, one smile is published, some people trade."""
        c, dice = self.crowd, self.dice
        c.now += 12
        for u in range(len(SPOTS)):
            self.spots[u] *= 1 + dice.gauss(0, wild)
            feed, _ = oracle.publish(
                c.records[Key("feed", u)],
                round(self.spots[u] * 10**8),
                c.now,
                10_000,
                c.now,
                REALISTIC,
            )
            c.records[Key("feed", u)] = feed
        c.smile(
            dice.randrange(2), dice.choice(DAYS), 0.6 + dice.gauss(0, 20 * wild), dice.choice((10_000, 10_000, 9_500))
        )
        c.ref = replace(c.ref, number=c.ref.number + 1, hash=dice.randbytes(32), timestamp=c.now)
        for id in dice.sample(sorted(self.accounts), 3):
            self.put(id, person(dice, 10, 0.5) if dice.random() < 0.8 else None)

    def compare(self) -> int:
        """How many were named; by both the same."""
        c = self.crowd
        scans = Counting(c.columns)
        named = c.columns.suspects(c, c.at)
        self.whole += scans.whole
        self.looked += 1
        assert named == self.plain.suspects(c, c.at)
        return len(named)


class Counting:
    """Scans of all that a book takes."""

    def __init__(self, columns: Columns) -> None:
        self.whole, inner = 0, Columns._whole

        def counted(lanes: object) -> object:
            self.whole += 1
            return inner(columns, lanes)  # type: ignore[arg-type]

        columns._whole = counted  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("kernel", kernels.installed())
@pytest.mark.parametrize(("seed", "wild"), [(1, 0.0002), (2, 0.001), (3, 0.01)])
def test_the_index_names_what_the_scan_names(kernel: str, seed: int, wild: float) -> None:
    walk, named = Walk(seed, kernel, 1_500), set[int]()
    for _ in range(BLOCKS):
        walk.step(wild)
        named.add(walk.compare())
    assert len(named) > 1, "nothing ever changed"
    if wild < 0.001:
        assert walk.whole < BLOCKS / 4, "an index that scans all accounts is none"


def test_a_change_of_the_rules_is_a_scan_of_all() -> None:
    walk = Walk(5, "plain", 500)
    walk.compare()
    c = walk.crowd
    c.records[Key("params", 1)] = replace(c.sets, risk=replace(c.sets.risk, mm_factor=2 * c.sets.risk.mm_factor))
    assert walk.compare() > 0
    assert walk.whole == 2


def test_time_alone_brings_accounts_within_reach() -> None:
    walk = Walk(6, "plain", 1_000)
    named = set()
    for _ in range(40):
        walk.crowd.now += 3_600
        for u in range(len(SPOTS)):
            walk.crowd.price(u, SPOTS[u])
        walk.crowd.ref = BlockRef(1, walk.dice.randbytes(32), bytes(32), walk.crowd.now, 0, 0, 1)
        named.add(walk.compare())
    assert len(named) > 1


@pytest.mark.parametrize("count", [3, 40])
def test_accounts_that_are_written_at_once_are_looked_at(count: int) -> None:
    """In the same market: all of them ruined, then well again, then brought back to ruin. Some are new."""
    walk, dice = Walk(7, "plain", 1_000), Random(8)
    c, both = walk.crowd, (walk.crowd.columns, walk.plain)
    keys = [Key("account", id) for id in (*dice.sample(sorted(walk.accounts), count - 1), 7)]

    def told(cash: int) -> list[Any]:
        events = {key: event(replace(person(dice, 10), cash=cash), dice) for key in keys}
        return [columns.put_all(events) for columns in both]

    def named() -> bool:
        walk.compare()
        found = set(c.columns.suspects(c, c.at)) & set(keys)
        assert not found or found == set(keys)
        return bool(found)

    walk.compare()
    told(-(10**27))
    assert named()
    undo = told(10**27)
    c.columns._index = None
    assert not named()  # and an index knows them so
    for columns, each in zip(both, undo, strict=True):
        columns.restore(each)
    assert named()
    assert walk.whole == 2, "an index that scans all accounts is none"

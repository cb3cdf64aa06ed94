"""What is liquidatable only through the keeper's own trades is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from keeper.core import health
from keeper.core.book import Book
from keeper.model import BlockBatch, Key, Kind, Moment, Opportunity, Reason
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.records import Push
from keeper.protocols.options.whatif import moved
from keeper.protocols.whatif import WhatIf
from keeper.units import wad
from tests.worlds.market import Scene, crash

pytestmark = pytest.mark.chain
FALL = 0.22


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("impact"), 12, accounts=40) as found:
        yield found


def flags(scene: Scene, fall: float, sold: float, age: int = 4, weight: str = "0.1") -> dict[int, Opportunity]:
    """After a fall of all prices, the desk having sold that share of each pool's base ``age`` seconds ago."""
    w = scene.world
    at = Moment(w.book.ref.number + 1, w.now + w.block_time, 10**9)
    adapter, pushes = Options(replace(w.settings, pool_weight=wad(weight))), {}
    for u in (0, 1):
        pool = w.state.pool(u)
        assert pool is not None
        pushes[Key("push", u)] = (Push(at.timestamp - age, int(pool.base * sold)),)
    view = WhatIf(moved(w.book, (0, 1), 1 - fall), pushes if sold else {})
    found = adapter.opportunities(view, health.condemned(adapter, w.book, at, view), at)
    return {o.key.id: o for o in found if o.kind is Kind.FLAG}


def refused(found: dict[int, Opportunity]) -> set[int]:
    return {account for account, o in found.items() if o.refusal is Reason.OWN_IMPACT}


def test_who_would_be_well_without_our_trades_is_left_alone(scene: Scene) -> None:
    before, after = flags(scene, FALL, 0.0), flags(scene, FALL, 0.3)
    assert before and not refused(before)
    own = refused(after)
    assert own and own < set(after), "some are near the line, some are not"
    lifted = flags(scene, 1 - (1 - FALL) / (1 - 0.1 + 0.1 * 0.7**2), 0.0)
    assert set(after) - own == set(lifted)


@pytest.mark.parametrize("fall", [0.1, 0.15, 0.2, 0.3])
def test_more_own_trades_never_add_an_opportunity(scene: Scene, fall: float) -> None:
    able = [set(f) - refused(f) for f in (flags(scene, fall, sold) for sold in (0.0, 0.02, 0.05, 0.1, 0.3))]
    assert all(more <= less for less, more in pairwise(able))


def test_old_trades_and_pools_without_weight_do_not_count(scene: Scene) -> None:
    assert not refused(flags(scene, FALL, 0.3, age=121))
    assert not refused(flags(scene, FALL, 0.3, weight="0"))


def test_the_book_remembers_our_own_swaps_only(scene: Scene) -> None:
    """The arbitrageur trades every block; a swap of the desk is one more record, and a rollback takes it back."""
    w = scene.world
    assert w.state.pushes(0) == () == w.state.pushes(1)
    adapter = Options(replace(w.settings, desk=w.arbitrageur.address))
    seen = Book(adapter, w.ref(0))
    for number in range(1, w.book.ref.number + 1):
        ref = w.ref(number)
        seen.apply(BlockBatch(ref, tuple(w._logs(ref))))
    trades = [push for u in (0, 1) for push in seen.get(Key("push", u)) or ()]
    assert trades and all(push.sold for push in trades)
    seen.rollback(w.ref(w.book.ref.number - 11))
    assert len([p for u in (0, 1) for p in seen.get(Key("push", u)) or ()]) < len(trades)


def costs(scene: Scene, fall: float, crowd: str) -> dict[int, Opportunity]:
    w = scene.world
    at = Moment(w.book.ref.number + 1, w.now + w.block_time, 10**9)
    adapter = Options(replace(w.settings, crowd=wad(crowd), band=0, least_hedge=1))
    view = moved(w.book, (0, 1), 1 - fall)
    found = adapter.opportunities(view, health.condemned(adapter, w.book, at, view), at)
    return {o.key.id: o for o in found if o.kind is Kind.FLAG}


def test_the_others_who_must_sell_make_our_hedge_dearer(scene: Scene) -> None:
    """By account: a term of its own, nothing else changes; and one that stands alone has nobody before it."""
    without, with_ = costs(scene, FALL, "0"), costs(scene, FALL, "0.25")
    assert set(without) == set(with_) and len(with_) > 2
    assert all(o.costs.crowd == 0 for o in without.values())
    assert any(o.costs.crowd > 0 for o in with_.values())
    for account, o in with_.items():
        assert o.costs == replace(without[account].costs, crowd=o.costs.crowd)
        assert o.net == without[account].net - o.costs.crowd
    more = costs(scene, FALL, "0.5")
    assert all(more[account].costs.crowd >= o.costs.crowd for account, o in with_.items())
    alone = next((f for f in (x / 200 for x in range(1, 60)) if len(costs(scene, f, "0.25")) == 1), None)
    assert alone is not None
    assert all(o.costs.crowd == 0 for o in costs(scene, alone, "0.25").values())

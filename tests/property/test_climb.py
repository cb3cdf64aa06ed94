"""What must be true of sets that are filled and that climb, however many at once."""

from __future__ import annotations

import numpy as np
import pytest

from keeper.core.climb import Pool, Sets, State
from keeper.core.exchange import exchanged
from keeper.core.items import Item, Room, Scaled
from keeper.core.prices import Prices
from keeper.core.starts import FIRST, combined, elsewhere, large, upset
from tests.worlds.sets import instance


def made(seed: int, size: int) -> tuple[list[Item], Room, Pool]:
    """Items in the order of the pool."""
    items, room = instance(seed, size)
    scaled = Scaled(items, room)
    prices = Prices(scaled)
    prices.cut([prices.binding(np.zeros(0, np.int64)), prices.binding(prices.relaxed())])
    prices.improve(30, 0.0)
    order = np.argsort(-scaled.v, kind="stable")
    losses = scaled.losses[:, :, order].transpose(2, 0, 1).copy()
    pool = Pool(scaled.v[order], prices.rows[order], prices.room, prices.mu, losses, scaled.base, scaled.group[order])
    return [items[i] for i in scaled.index[order]], room, pool


def fits(items: list[Item], room: Room, chosen: list[int]) -> bool:
    found = [items[i] for i in chosen]
    return room.fits(found) and len({item.group for item in found}) == len(found)


def lists(sets: Sets) -> list[list[int]]:
    return [np.flatnonzero(one).tolist() for one in sets]


@pytest.mark.parametrize("seed", range(20))
def test_filled_sets_fit_and_nothing_more_does(seed: int) -> None:
    items, room, pool = made(seed, 60)
    for chosen in lists(pool.filled(elsewhere(pool, seed, 16)).sets[:, :-1]):
        assert fits(items, room, chosen)
        assert not any(fits(items, room, [*chosen, i]) for i in range(len(items)) if i not in chosen)


@pytest.mark.parametrize("seed", range(20))
def test_climbed_sets_fit_and_no_exchange_betters_them(seed: int) -> None:
    items, room, pool = made(seed, 60)
    state = pool.filled(elsewhere(pool, seed, 4))  # few enough that all climb to the end
    before = pool.values(state.sets[:, :-1])
    sets = pool.climbed(state, 100)
    assert (pool.values(sets) >= before - 1e-9).all()
    for chosen in lists(sets):
        assert fits(items, room, chosen)
        others = [i for i in range(len(items)) if i not in chosen]
        for out in [*chosen, -1] if len(chosen) < 18 else []:
            rest = [i for i in chosen if i != out]
            better = [i for i in others if items[i].value > (items[out].value if out >= 0 else 0) * (1 + 1e-9)]
            assert not any(fits(items, room, [*rest, i]) for i in better)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_kept_of_a_state_is_right_after_many_exchanges(seed: int) -> None:
    _, _, pool = made(seed, 80)
    state = pool.filled(elsewhere(pool, seed, 8))
    pool.climbed(state, 12)
    again = State(pool, state.sets[:, :-1])
    assert np.allclose(state.left, again.left[:, : state.left.shape[1]])
    assert np.allclose(state.total, again.total)


@pytest.mark.parametrize("seed", range(10))
def test_orders_begin_with_what_they_are_to_begin_with(seed: int) -> None:
    _, _, pool = made(seed, 60)
    sets = pool.climbed(pool.filled(elsewhere(pool, seed, 16)), 40)
    best = sets[int(pool.values(sets).argmax())]
    begun = large(elsewhere(pool, 1, 8), best, 0, 4)
    first = begun[-4:].argmax(axis=1)
    assert not best[first].any() and (begun[-4:].max(axis=1) == np.inf).all()
    one_more = upset(pool, sets, np.arange(60.0)[: pool.n])
    assert ((one_more == np.inf).sum(axis=1) == 1).all()
    assert (pool.filled(one_more).sets[np.arange(len(one_more)), one_more.argmax(axis=1)]).all()
    shared = combined(pool, sets, 2)
    for order, chosen in zip(shared, pool.filled(shared).sets[:, :-1], strict=True):
        assert (order >= FIRST).any() and chosen[order >= FIRST].all()  # what two sets that fit share fits


@pytest.mark.parametrize("seed", range(10))
def test_exchanges_of_two_only_better(seed: int) -> None:
    items, room, pool = made(seed, 60)
    for start in pool.climbed(pool.filled(elsewhere(pool, seed, 4)), 40):
        found = exchanged(pool, start, pool.reduced[:-1])
        assert fits(items, room, np.flatnonzero(found).tolist())
        assert pool.values(found[None])[0] >= pool.values(start[None])[0] - 1e-9


def test_copies_beyond_what_fits_are_left_out() -> None:
    item = Item(10, 0, (3, 1))
    items = [Item(10, i, (3, 1)) for i in range(9)] + [Item(7, "a", (1, 1)), Item(7, "b", (1, 1))]
    assert Scaled(items, Room((10, 5))).index.tolist() == [0, 1, 2, 9, 10]
    assert Scaled([item] * 9, Room((10, 5))).index.tolist() == list(range(9))  # one of them at most, not three

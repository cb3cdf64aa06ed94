"""The chosen set against the exact optimum, and what must be true of any choice.

``KEEPER_SETS_SEED`` tries other instances; those that the search was tuned with have seeds below a hundred thousand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keeper.core.items import Item, Room
from keeper.core.selection import EXACT, select
from tests.worlds.sets import instance, optimum

SEED = int(os.environ.get("KEEPER_SETS_SEED", "700000"))
SIZES = (6, 10, 16, 24, 40, 60, 100, 200)  # in turn


@pytest.mark.parametrize("batch", range(20))
def test_the_set_is_within_one_per_cent_of_the_optimum(batch: int) -> None:
    """Two hundred instances; small sets are exact, and the stated bound is one."""
    for seed in range(SEED + batch * 10, SEED + batch * 10 + 10):
        size = SIZES[seed % len(SIZES)]
        items, room = instance(seed, size)
        found, best = select(items, room), optimum(items, room)
        assert room.fits([items[i] for i in found.chosen])
        assert found.value == sum(items[i].value for i in found.chosen)
        assert found.value >= best * (1 - (1e-6 if size <= EXACT else 0.01)), seed
        assert found.bound >= best * (1 - 1e-6), seed


TRAPS = (7017, 7093, 50239, 50362)  # sets that hardly any exchange betters, more than one per cent below the best


@pytest.mark.parametrize("seed", (*range(SEED, SEED + 12), *TRAPS))
def test_a_thousand_are_within_one_per_cent(seed: int) -> None:
    items, room = instance(seed, 1_000)
    assert select(items, room).value >= optimum(items, room) * 0.99


Shape = Callable[[list[Item], Room, Random], tuple[list[Item], Room]]

SHAPES: dict[str, Shape] = {
    "all equal": lambda items, room, dice: ([replace(items[0], group=i) for i in range(len(items))], room),
    "many ties": lambda items, room, dice: ([replace(i, value=dice.choice((1, 2, 3)) * 10**18) for i in items], room),
    "one huge": lambda items, room, dice: ([replace(items[0], value=10**6 * items[0].value), *items[1:]], room),
    "one huge that fits alone": lambda items, room, dice: (
        [Item(max(i.value for i in items[1:]) * 2, -1, room.rows, items[0].losses), *items[1:]],
        room,
    ),
    "hardly any capital": lambda items, room, dice: (
        items,
        replace(room, rows=(*room.rows[:2], min(i.uses[2] for i in items) * 3)),
    ),
    "hardly any margin": lambda items, room, dice: (items, replace(room, margin=room.required([]) + 10**18)),
    "everything fits": lambda items, room, dice: (
        items,
        Room(tuple(100 * r for r in room.rows), room.losses, 100 * room.margin),
    ),
    "three of one another": lambda items, room, dice: ([replace(i, group=k // 3) for k, i in enumerate(items)], room),
    "all of one group": lambda items, room, dice: ([replace(i, group=0) for i in items], room),
    "of eight kinds": lambda items, room, dice: (
        [replace(dice.choice(items[:8]), group=k) for k in range(len(items))],
        room,
    ),
    "value by size": lambda items, room, dice: ([replace(i, value=i.uses[2] + 1) for i in items], room),
    "a few of all the cash": lambda items, room, dice: (
        [_larger(i, dice.randrange(3, 8), room) if dice.random() < 0.05 else i for i in items],
        room,
    ),
}


def _larger(item: Item, times: int, room: Room) -> Item:
    gas, slot, cash = item.uses
    losses = tuple(tuple(times * loss for loss in row) for row in item.losses)
    return replace(item, value=times * item.value, uses=(gas, slot, min(times * cash, room.rows[2])), losses=losses)


@pytest.mark.parametrize("shape", SHAPES)
def test_nor_do_awkward_shapes_cost_more_than_one_per_cent(shape: str) -> None:
    for size in (12, 30, 80, 600):
        dice = Random(f"{shape} {size}")
        items, room = SHAPES[shape](*instance(SEED + size, size), dice)
        found, best = select(items, room), optimum(items, room)
        chosen = [items[i] for i in found.chosen]
        assert room.fits(chosen) or not chosen
        assert len({item.group for item in chosen}) == len(chosen)
        assert found.value >= best * 0.99, size
        assert found.bound >= best * (1 - 1e-6), size


@pytest.mark.parametrize("seed", (SEED, 50_000, 50_010))
def test_copies_do_not_crowd_out_the_rest(seed: int) -> None:
    dice = Random(seed)
    items, room = instance(seed, 1_000)
    kinds = [dice.choice(items) for _ in range(8)]
    items = [replace(dice.choice(kinds), group=k) for k in range(1_000)]
    assert select(items, room).value >= optimum(items, room) * 0.99


amounts = st.integers(0, 30)


@st.composite
def small(draw: st.DrawFn) -> tuple[list[Item], Room]:
    losses = st.tuples(*[st.tuples(amounts, amounts)] * 2)
    item = st.builds(Item, st.integers(-5, 50), st.integers(0, 6), st.tuples(amounts, amounts), losses)
    own = st.tuples(*[st.tuples(st.integers(-20, 20), st.integers(-20, 20))] * 2)
    room = Room(draw(st.tuples(amounts, amounts)), draw(own), draw(st.integers(-10, 60)))
    return draw(st.lists(item, max_size=9)), room


@settings(max_examples=300, deadline=None)
@example(([Item(1, 0, (0, 0), ((0, 0), (0, 1)))], Room((0, 0), ((0, 0), (0, 0)), 0)))
@example(([Item(1, 0, (1, 0), ())], Room((0, 0))))
@given(small())
def test_small_sets_are_chosen_as_by_trying_all(case: tuple[list[Item], Room]) -> None:
    items, room = case
    found = select(items, room)
    chosen = [items[i] for i in found.chosen]
    assert room.fits(chosen) or not chosen
    assert len({item.group for item in chosen}) == len(chosen)
    every = (s for k in range(len(items) + 1) for s in combinations(items, k) if len({i.group for i in s}) == k)
    best = max((sum(i.value for i in s) for s in every if room.fits(s)), default=0)
    assert found.value == found.bound == max(best, 0)


def test_two_runs_choose_the_same() -> None:
    items, room = instance(5, 300)
    assert select(items, room) == select(items, room)


def test_nothing_is_chosen_when_there_is_no_room_left() -> None:
    items, room = instance(1, 20)
    assert select(items, Room(room.rows, room.losses, -1)).chosen == ()
    assert select(items, Room((0, 0, 0), room.losses, room.margin)).chosen == ()


def test_without_margin_only_the_rows_count() -> None:
    items = [Item(5, 0, (2,)), Item(4, 1, (1,)), Item(3, 2, (1,))]
    assert select(items, Room((2,))).chosen == (1, 2)

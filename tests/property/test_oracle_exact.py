"""The oracle in Python equals the contract word for word, whatever happens to it in whatever order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple
from itertools import pairwise
from math import exp, log, sqrt

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.protocols.options import oracle
from keeper.simulation.node import Anvil
from keeper.units import WAD, YEAR
from tests.worlds.acts import act, loosen
from tests.worlds.options import EXPIRIES, GENESIS, OptionsWorld

pytestmark = pytest.mark.chain
C = oracle.LOCAL
LOWER, THAW, VOUCH = range(3)
FUNCTION = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    with Anvil(timestamp=GENESIS) as node:
        w = OptionsWorld(node)
        w.open_markets()
        yield w


# ─── any history ──────────────────────────────────────────────────────────────────────────────────

Step = Callable[[OptionsWorld], None]


def spot(bps: int, wait: int) -> Step:
    """A price so many bps from the last, after a while; refused while frozen."""

    def step(w: OptionsWorld) -> None:
        last = w.state.feed(0)
        assert last is not None
        if not last.frozen:
            w.publish(0, last.spot * (1 + bps / 10_000) / 10**8, w.now + wait)

    return step


def surface(atm: int, skew: int, curv: int) -> Step:
    return lambda w: w.publish_smile(0, EXPIRIES[1], atm, skew, curv)


def freeze_or_thaw(w: OptionsWorld) -> None:
    feed = w.state.feed(0)
    if feed and not feed.frozen:
        act(w, "Oracle", "freeze", 0)
    else:
        loosen(w, THAW, 0)


def level(to: int) -> Step:
    def step(w: OptionsWorld) -> None:
        raised = w.state.breaker().raised
        if to > raised:
            act(w, "Oracle", "raise", to)
        elif to < raised:
            loosen(w, LOWER, to)

    return step


WAITS = st.one_of(st.integers(1, 60), st.integers(1, 4_000))
STEPS = st.one_of(
    st.builds(spot, st.one_of(st.just(0), st.integers(-1_900, 1_900)), WAITS),
    st.builds(spot, st.integers(-1_900, 1_900), st.integers(1, 20)),
    st.builds(surface, st.integers(1, 5 * 10**6), st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)),
    st.builds(level, st.integers(0, 3)),
    st.just(freeze_or_thaw),
    st.builds(lambda wait: lambda w: w.at(w.now + wait), WAITS),
)


@settings(max_examples=40, deadline=None, suppress_health_check=FUNCTION)
@given(steps=st.lists(STEPS, min_size=2, max_size=12), lag=st.integers(1, 400))
def test_any_history_leaves_the_same_state(world: OptionsWorld, steps: list[Step], lag: int) -> None:
    with world.undone():
        for step in steps:
            step(world)
        world.at(world.now + lag)
        same(world)


def same(w: OptionsWorld) -> None:
    def ask(function: str, *args: int) -> tuple[int, ...]:
        answer = w.ask("Oracle", w.dep.oracle, function, *args)
        return tuple(answer) if isinstance(answer, tuple) else (answer,)

    state, now, config = w.state, w.now, w.state.config()
    breaker, feed, raw = state.breaker(), state.feed(0), state.smile(0, EXPIRIES[1])
    assert feed is not None and raw is not None and config == C
    assert astuple(breaker) == ask("breaker")
    assert (breaker.level(now),) == ask("level")
    assert (breaker.calm_since,) == ask("calmSince")
    assert astuple(feed) == ask("feed", 0)
    assert astuple(raw) == ask("rawSmile", 0, EXPIRIES[1])
    quote = oracle.prices(feed, now, C)
    assert tuple(quote) == ask("prices", 0)
    assert tuple(oracle.stress(feed, now, C)) == ask("stress", 0)
    assert tuple(oracle.smile(raw, feed, now, C)) == ask("smile", 0, EXPIRIES[1])
    assert (oracle.clock(feed, now, C), feed.round, feed.resumed, quote.stale) == ask("pulse", 0)


# ─── synthetic volatility, without a chain ────────────────────────────────────────────────────────


def fed(prices: list[tuple[int, float]], usual: int = 800_000) -> oracle.Feed:
    """A feed after (seconds, price) messages."""
    feed = oracle.registered(usual)
    for time, price in prices:
        feed, _ = oracle.publish(feed, round(price * 10**8), time, 10_000, time, C)
    return feed


PATHS = st.lists(st.tuples(st.integers(1, 25), st.integers(-300, 300)), min_size=1, max_size=15)


def walk(moves: list[tuple[int, int]]) -> list[tuple[int, float]]:
    time, price, path = GENESIS, 2_000.0, [(GENESIS, 2_000.0)]
    for dt, bps in moves:
        time, price = time + dt, price * (1 + bps / 10_000)
        path.append((time, price))
    return path


@settings(max_examples=200, deadline=None)
@given(moves=PATHS)
def test_realised_variance_is_the_sum_of_squared_returns_that_fade(moves: list[tuple[int, int]]) -> None:
    path = walk(moves)
    variance = 0.0
    for (_, before), (time, after) in pairwise(path):
        variance += log(after / before) ** 2 * YEAR / C.rise_t * exp(-(path[-1][0] - time) / C.rise_t)
    assert fed(path).variance / 10**9 == pytest.approx(variance, rel=1e-6, abs=1e-7)


@settings(max_examples=200, deadline=None)
@given(moves=PATHS, data=st.data())
def test_o10_repeating_a_price_changes_nothing(moves: list[tuple[int, int]], data: st.DataObject) -> None:
    """Invariants 11 and 14: any number of pokes leaves marks and volatility where they are."""
    path = walk(moves)
    poked = [path[0]]
    for (time, before), after in pairwise(path):
        pokes = data.draw(st.lists(st.integers(time + 1, after[0] - 1), unique=True)) if after[0] > time + 1 else []
        poked += [(t, before) for t in sorted(pokes)] + [after]
    now = path[-1][0] + 20
    one, two = (oracle.stress(fed(p), now, C) for p in (path, poked))
    assert tuple(one) == pytest.approx(tuple(two), rel=1e-6)
    slow, other = (oracle.prices(fed(p), now, C).slow for p in (path, poked))
    assert slow == pytest.approx(other, rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(moves=PATHS, wait=st.integers(0, 10_000))
def test_sigma_rises_at_once_and_falls_slowly(moves: list[tuple[int, int]], wait: int) -> None:
    feed = fed(walk(moves))
    before, after = (oracle.stress(feed, feed.time + t, C).sigma / WAD for t in (0, wait))
    live = min(wait, C.max_age)
    assert after == pytest.approx(before * exp(-live / (2 * C.fall_t)), rel=1e-6)
    assert oracle.stress(feed, feed.time, C).sigma / WAD >= sqrt(feed.variance / 10**9) * (1 - 1e-9)


@settings(max_examples=200, deadline=None)
@given(moves=PATHS)
def test_the_eased_factor_never_climbs_faster_than_one_per_cent_a_minute(moves: list[tuple[int, int]]) -> None:
    """Rule 6: volatility acts on Q slowly and on Q_im at once."""
    path = walk(moves)
    states = [fed(path[: n + 1]) for n in range(len(path))]
    for a, b in pairwise(states):
        x, y = oracle.stress(a, a.time, C), oracle.stress(b, b.time, C)
        assert y.eased <= x.eased * 1.01 ** ((b.time - a.time) / 60) * (1 + 1e-9)
        assert y.eased <= y.at_once


def test_a_crash_stretches_initial_margin_at_once_and_maintenance_in_time() -> None:
    feed = fed([(GENESIS, 2_000.0), (GENESIS + 10, 1_800.0)])
    at_once = oracle.stress(feed, feed.time, C)
    assert at_once.at_once == 4 * WAD and at_once.eased < WAD * 1002 // 1000
    for minute in range(1, 6):
        for _ in range(12):
            feed, _ = oracle.publish(feed, 1_800 * 10**8, feed.time + 5, 10_000, feed.time + 5, C)
        assert feed.eased / 10**9 == pytest.approx(1.01**minute, rel=1e-6)


def test_an_outage_does_not_count_as_one_violent_second() -> None:
    """A fall over six dead hours is not a fall in an instant, and calm is not assumed while nobody looks."""
    gap = fed([(GENESIS, 2_000.0), (GENESIS + 21_600, 1_900.0)])
    instant = fed([(GENESIS, 2_000.0), (GENESIS + 1, 1_900.0)])
    assert gap.variance - instant.variance < 0
    still = fed([(GENESIS, 2_000.0)])
    late, later = (oracle.stress(still, GENESIS + t, C) for t in (C.max_age, 86_400))
    assert late == later

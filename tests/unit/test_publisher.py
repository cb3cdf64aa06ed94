"""Deviation or heartbeat, never within the minimum interval."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.simulation.publisher import Rule, SmileFeed, SmileMessage, SpotFeed, SpotMessage
from keeper.simulation.surface import Smile

RULE = Rule(deviation=5_000, heartbeat=60, minimum=4)
SPOT = 2_000 * 10**8


def smile(atm: int) -> Smile:
    return Smile(atm, -90_000, 90_000, 0)


def spot_feed(rule: Rule = RULE) -> SpotFeed:
    """A feed that published SPOT at 1000."""
    feed = SpotFeed(0, rule)
    feed.publish(1000, SPOT)
    return feed


def test_the_first_price_is_due_at_once() -> None:
    assert SpotFeed(0, RULE).due(1000, SPOT)


def test_a_message_carries_what_was_asked() -> None:
    assert SpotFeed(1, RULE).publish(1000, SPOT) == SpotMessage(underlying=1, spot=SPOT, time=1000)


@pytest.mark.parametrize("sign", [1, -1])
def test_exactly_half_a_per_cent_is_due(sign: int) -> None:
    assert spot_feed().due(1012, SPOT + sign * SPOT // 200)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_unit_less_is_not(sign: int) -> None:
    assert not spot_feed().due(1012, SPOT + sign * (SPOT // 200 - 1))


def test_an_unchanged_price_is_due_at_the_heartbeat() -> None:
    feed = spot_feed()
    assert (feed.due(1059, SPOT), feed.due(1060, SPOT)) == (False, True)


def test_within_the_minimum_even_a_crash_waits() -> None:
    feed = spot_feed()
    assert (feed.due(1003, SPOT // 2), feed.due(1004, SPOT // 2)) == (False, True)


def test_asking_changes_nothing() -> None:
    feed = spot_feed()
    assert [feed.due(1012, SPOT // 2) for _ in range(3)] == [True] * 3


Ticks = st.lists(st.tuples(st.integers(0, 30), st.integers(10**8, 10**13)), min_size=1, max_size=60)
Rules = st.builds(Rule, st.integers(1, 100_000), st.integers(10, 120), st.integers(0, 10))


def play(rule: Rule, ticks: list[tuple[int, int]]) -> list[tuple[int, int, SpotMessage | None]]:
    feed, now, heard = SpotFeed(0, rule), 0, []
    for wait, spot in ticks:
        now += wait
        heard.append((now, spot, feed.publish(now, spot) if feed.due(now, spot) else None))
    return heard


@given(Rules, Ticks)
def test_two_messages_are_never_closer_than_the_minimum(rule: Rule, ticks: list[tuple[int, int]]) -> None:
    times = [message.time for _, _, message in play(rule, ticks) if message]
    assert all(b - a >= rule.minimum for a, b in pairwise(times))


@given(Rules, Ticks)
def test_outside_the_minimum_nothing_on_record_is_off_by_the_deviation_or_older_than_the_heartbeat(
    rule: Rule, ticks: list[tuple[int, int]]
) -> None:
    last = SpotMessage(0, 0, 0)
    for now, spot, message in play(rule, ticks):
        last = message or last
        if now - last.time >= rule.minimum:
            assert message or abs(spot - last.spot) * 10**6 < rule.deviation * last.spot
            assert now - last.time < rule.heartbeat


@given(Rules, Ticks)
def test_nothing_is_published_without_a_cause(rule: Rule, ticks: list[tuple[int, int]]) -> None:
    last: SpotMessage | None = None
    for now, spot, message in play(rule, ticks):
        if message and last:
            moved = abs(spot - last.spot) * 10**6 >= rule.deviation * last.spot
            assert moved or now - last.time >= rule.heartbeat
        last = message or last


def smile_feed() -> SmileFeed:
    """A feed of the expiry at 9000 that published 60 vol points at 1000."""
    feed = SmileFeed(0, 9000, Rule(deviation=20_000, heartbeat=300))
    feed.publish(1000, smile(600_000))
    return feed


def test_a_smile_message_names_its_expiry() -> None:
    message = SmileFeed(1, 9000).publish(1000, smile(600_000))
    assert message == SmileMessage(underlying=1, expiry=9000, smile=smile(600_000), time=1000)


def test_a_smile_is_due_when_its_vol_moved_by_two_points() -> None:
    feed = smile_feed()
    assert (feed.due(1012, smile(619_999)), feed.due(1012, smile(620_000))) == (False, True)


def test_a_smile_is_refreshed_even_at_rest() -> None:
    feed = smile_feed()
    assert (feed.due(1299, smile(600_000)), feed.due(1300, smile(600_000))) == (False, True)


def test_an_expired_smile_is_never_due() -> None:
    feed = smile_feed()
    assert (feed.due(8999, smile(600_000)), feed.due(9000, smile(600_000))) == (True, False)

"""What was expected is recognised by what it does, not by when it was decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.expected import Expected
from keeper.model import Call, Costs, Key, Kind, Liquidate, Moment, Needs, Opportunity, TxIntent

THEN, NOW = Moment(10, 1_000, 1), Moment(11, 1_012, 1)
TARGET = b"t" * 20


def action(kind: Kind = Kind.FLAG, id: int = 7, protocol: str = "options") -> Liquidate:
    o = Opportunity(bytes(24), protocol, Key("account", id), kind, THEN, 0, Costs(), Needs(), None)
    return Liquidate(o, 0)


def call(at: Moment, data: bytes = b"flag") -> Call:
    """With a deadline in it."""
    return Call(TARGET, data + (at.timestamp + 60).to_bytes(32))


def intent(at: Moment, **fields: object) -> TxIntent:
    made = TxIntent(at.number.to_bytes(32), call(at), 100_000, 10**18, at.timestamp + 60, "flag", at)
    return replace(made, **fields)  # type: ignore[arg-type]


@pytest.fixture
def expected() -> Expected:
    found = Expected()
    assert found.hold([(action(), intent(THEN))])
    return found


def test_the_same_action_goes_out_in_the_bytes_of_before(expected: Expected) -> None:
    real = intent(NOW)
    found = expected.fitting(action(), real, call)
    assert (found.call, found.valid_until) == (call(THEN), THEN.timestamp + 60)
    assert (found.id, found.at, found.budget) == (real.id, real.at, real.budget)


@pytest.mark.parametrize("other", [action(Kind.BID), action(id=8), action(protocol="morpho")])
def test_another_action_does_not(expected: Expected, other: Liquidate) -> None:
    assert expected.fitting(other, intent(NOW), call) == intent(NOW)


def test_nor_does_one_that_would_now_do_something_else(expected: Expected) -> None:
    assert expected.fitting(action(), intent(NOW), lambda at: call(at, b"bids")) == intent(NOW)


def test_nor_one_that_needs_more_gas_or_comes_too_late(expected: Expected) -> None:
    hungry = intent(NOW, gas_limit=100_001)
    assert expected.fitting(action(), hungry, call) == hungry
    late = intent(Moment(20, THEN.timestamp + 61, 1))
    assert expected.fitting(action(), late, call) == late
    frugal = intent(NOW, gas_limit=90_000)
    assert expected.fitting(action(), frugal, call).gas_limit == 100_000


def test_it_is_said_once_that_nothing_is_expected_any_more(expected: Expected) -> None:
    assert expected.intents == (intent(THEN),)
    assert expected.hold([(action(), None)])
    assert not expected.intents
    assert not expected.hold([])

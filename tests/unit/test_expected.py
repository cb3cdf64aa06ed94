"""What was expected is recognised by what it does, not by when it was decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.expected import Expected
from keeper.model import Call, Costs, Key, Kind, Liquidate, Moment, Needs, Opportunity, TxIntent

THEN, NOW = Moment(10, 1_000, 1), Moment(11, 1_012, 1)
TARGET = b"t" * 20


def action(kind: Kind = Kind.FLAG, id: int = 7, protocol: str = "options", gas: int = 10_000) -> Liquidate:
    o = Opportunity(bytes(24), protocol, Key("account", id), kind, THEN, 0, Costs(), Needs(gas=gas), None)
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


def written(
    expected: Expected, act: Liquidate, at: Moment, data: bytes = b"flag", made: list[Moment] | None = None
) -> TxIntent:
    """As the kernel asks for it; ``made``: for which moments a call was made."""

    def calling(at: Moment) -> Call:
        if made is not None:
            made.append(at)
        return call(at, data)

    return expected.written(act, at, calling, lambda made: intent(at, call=made))


def test_the_same_action_goes_out_in_the_bytes_of_before(expected: Expected) -> None:
    made = list[Moment]()
    real, found = intent(NOW), written(expected, action(), NOW, made=made)
    assert (found.call, found.valid_until) == (call(THEN), THEN.timestamp + 60)
    assert (found.id, found.at, found.budget) == (real.id, real.at, real.budget)
    assert made == [THEN]  # and is wrapped once


@pytest.mark.parametrize("other", [action(Kind.BID), action(id=8), action(protocol="morpho"), action(gas=200_000)])
def test_another_action_does_not(expected: Expected, other: Liquidate) -> None:
    assert written(expected, other, NOW) == intent(NOW)


def test_nor_does_one_that_would_now_do_something_else(expected: Expected) -> None:
    assert written(expected, action(), NOW, b"bids") == intent(NOW, call=call(NOW, b"bids"))


@pytest.mark.parametrize(("seconds", "same"), [(30, True), (31, False)])
def test_nor_one_whose_deadline_has_come_near(expected: Expected, seconds: int, same: bool) -> None:
    at = Moment(20, THEN.timestamp + seconds, 1)
    assert (written(expected, action(), at).call == call(THEN)) is same


def test_what_is_expected_for_many_blocks_keeps_its_bytes_until_they_are_too_old_for_the_next(
    expected: Expected,
) -> None:
    """Those that are held when a block comes are young enough for it, whenever it comes."""
    bytes_held, at = list[Call](), THEN
    for _ in range(12):
        soon = Moment(at.number + 1, at.timestamp + 12, 1)
        expected.renew(soon)
        assert expected.hold([(action(), written(expected, action(), at))])
        bytes_held.append(expected.intents[0].call)
        assert written(expected, action(), soon).call == bytes_held[-1]
        at = soon
    assert [bytes_held.count(one) for one in dict.fromkeys(bytes_held)] == [2] * 6


def test_it_is_said_that_what_was_too_old_is_expected_no_longer(expected: Expected) -> None:
    expected.renew(Moment(20, THEN.timestamp + 31, 1))
    assert not expected.intents
    assert expected.hold([]) and not expected.hold([])


def test_what_needs_less_gas_than_was_signed_takes_what_was_signed(expected: Expected) -> None:
    made = expected.written(action(), NOW, call, lambda made: intent(NOW, call=made, gas_limit=90_000))
    assert made.gas_limit == 100_000


def test_it_is_said_once_that_nothing_is_expected_any_more(expected: Expected) -> None:
    assert expected.intents == (intent(THEN),)
    assert expected.hold([(action(), None)])
    assert not expected.intents
    assert not expected.hold([])

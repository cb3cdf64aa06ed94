"""Rules like those of exchanges: their scenarios, one published vector, and sums by hand."""

from typing import Any

import pytest

from keeper.margin.rules.bind import Unreadable
from keeper.margin.rules.presets import PRESETS
from tests.unit.margin_files import assessed, expiry, line, option, profits

# ─── like Deribit ─────────────────────────────────────────────────────────────────────────────────

# Example of the response of private/pme/simulate: a perpetual from -16 % to +8 % of spot in steps of 4 %, in bitcoin.
PERPETUAL = [-0.05991206933333334, -0.04289159509090909, -0.027351162086956524, -0.013105765166666668]
PERPETUAL += [0.0, 0.012097629384615385]


def test_a_perpetual_is_paid_in_bitcoin_as_deribit_publishes() -> None:
    units = -PERPETUAL[0] * 0.84 / 0.16
    feed = {"perp": {"price": 2000}}
    found = assessed("deribit", perps=[{"size": units}], feed=feed).scans[0].pnl
    ours = [pnl / 2000 for name, pnl in found if ", vol" not in name]
    assert ours[: len(PERPETUAL)] == pytest.approx(PERPETUAL, rel=1e-9)


def test_the_scenarios_are_nine_steps_times_three_and_eight_extremes() -> None:
    scenarios = PRESETS["deribit"].scenarios
    assert [one.spot for one in scenarios[:27:3]] == [0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12, 1.16]
    assert [(one.spot, one.beyond) for one in scenarios[27:]] == [
        (spot, 100_000.0) for spot in (0.34, 0.67, 1.5, 2, 3, 4, 5, 6)
    ]


def linear(parameters: dict[str, Any] | None = None, **said: Any) -> Any:
    return assessed("deribit", {"inverse": False, **(parameters or {})}, **said)


def test_rolls_and_large_deltas_are_charged_within_the_factor() -> None:
    held: dict[str, Any] = {"perps": [{"size": 1000}], "futures": [{"expiry": "e", "size": -400}]}
    result = linear(**held, feed={"perp": {"price": 2000}})
    # 600 units of delta: loss 16 %; roll 1 % of 1,400 units; delta shock 10 % x (1.2 m / 20 m) of 1.2 m
    assert line(result, "loss")[1] == pytest.approx(-600 * 2000 * 0.16, rel=1e-12)
    assert line(result, "roll")[1] == pytest.approx(-1400 * 2000 * 0.01, rel=1e-12)
    assert line(result, "size")[1] == pytest.approx(-0.1 * 1.2e6**2 / 20e6, rel=1e-12)
    assert result.requirement == pytest.approx((0.8 * 227_200, 227_200), rel=1e-12)


def test_the_delta_shock_has_a_top() -> None:
    result = linear(perps=[{"size": 100_000}], feed={"perp": {"price": 2000}})
    assert line(result, "size")[1] == pytest.approx(-0.1 * 200e6, rel=1e-12)


@pytest.mark.parametrize(("size", "counted"), [(-1000, 188_000), (-100, 0)])
def test_of_an_extreme_only_the_loss_beyond_a_threshold_counts(size: float, counted: float) -> None:
    result = linear({"vol": {"up": 0, "least_up": 0}}, options=[option("call", 3000, size)])
    # 9,000 each when spot is six times itself, of which 16 % / 500 % count
    assert result.scans[0].loss == pytest.approx(counted, rel=1e-12)


def test_an_option_that_is_paid_in_the_underlying_loses_with_it() -> None:
    held = [option("put", 3000, 1)]  # worth 1,000 today: half a coin
    rules: dict[str, Any] = {"scenarios": [{"spot": 1.25}], "factor": {"mm": 1, "im": 1}, "size": None}
    assert profits(assessed("deribit", rules, options=held))["spot +25 %"] == pytest.approx(500 / 1.25 - 1000)


def test_profits_cannot_be_paid_in_what_is_worth_nothing() -> None:
    with pytest.raises(Unreadable, match=r"parameters.inverse goes with no scenario that takes spot to 0"):
        assessed("deribit", {"scenarios": [{"spot": 0}]}, options=[option("call", 3000, 1)])


# ─── like Bybit ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "strike", "forward", "maintenance", "initial"),
    [
        ("call", 2100, 2000, 0.03 * 2000 + 0.002 * 2000, 0.10 * 2000),  # 15 % less 5 % out of the money
        ("call", 2020, 2000, 64, 0.14 * 2000),
        ("call", 1900, 2000, 64 + 100, 0.15 * 2000 + 100),
        ("put", 1900, 2000, 64, 0.10 * 2000),
        ("put", 2100, 2000, 64 + 100, 0.15 * 2000 + 100),
        ("call", 1000, 4000, 0.03 * 3000 + 4 + 3000, 0.15 * 2000 + 3000),  # 3 % of the mark is more than of spot
        ("put", 9000, 2000, 0.03 * 7000 + 4 + 7000, 0.15 * 2000 + 7000),
    ],
)
def test_a_short_option_needs_what_bybits_table_says(
    kind: str, strike: float, forward: float, maintenance: float, initial: float
) -> None:
    held: dict[str, Any] = {"options": [option(kind, strike, -1)], "expiries": {"e": expiry(forward=forward)}}
    result = assessed("bybit", **held)
    assert (-result.maintenance, -result.initial) == pytest.approx((maintenance, initial), rel=1e-12)


def test_a_hedge_gives_nothing_back() -> None:
    spread = assessed("bybit", options=[option("call", 2100, -1), option("call", 2110, 1)])
    assert spread.initial == assessed("bybit", options=[option("call", 2100, -1)]).initial

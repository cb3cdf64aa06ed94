"""Published numbers: prices, volatilities, SPAN's scenarios, and the margin examples of OCC."""

from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest

from keeper.margin import vol
from keeper.margin.rules.parameters import Range
from keeper.margin.rules.presets import PRESETS
from keeper.margin.rules.revalue import worth
from tests.unit.margin_files import YEAR, assessed, of, option, profits

# ─── Black (1976), with the edges of lyra-finance/lyra-utils (test/math/Black76.t.sol) ────────────

BLACK = [  # seconds, volatility, forward, strike, discount, call, put
    (604_800, 1, 1500, 1500, 1, 82.805080668634559515, 82.805080668634559515),
    (2_592_000, 0.25, 1000, 1200, 0.9991784198737006, 0.137082128426579297, 199.972766103166719631),
    (172_800, 0.75, 1000, 700, 0.9998904169635637, 299.967125089526177817, 0.00000000045708468),
    (YEAR, 25, 1000, 700, 0.9801986733067553, 980.198673306755267731, 686.139071314728653306),
    (YEAR, 5, 1000, 700, 0.9801986733067553, 970.034553583819047162, 675.974951591792546424),
    (YEAR, 4, 1e-18, 340282366920938463463.374607431768211455, 1, 0, 340282366920938463463.374607431768211455),
    (YEAR, 4, 340282366920938463463.374607431768211455, 1e-18, 1, 340282366920938463463.374607431768211455, 0),
    (YEAR, 4, 1000, 0, 0.99, 990, 0),
    (YEAR, 4, 0, 1000, 0.99, 0, 990),
    (YEAR, 0, 1000, 700, 0.5, 150, 0),
    (YEAR, 0, 1000, 1000, 0.5, 0, 0),
    (YEAR, 4, 0, 0, 0.99, 0, 0),
]


@pytest.mark.parametrize(("seconds", "sigma", "f", "k", "discount", "call", "put"), BLACK)
def test_an_option_is_worth_what_black_says(
    seconds: float, sigma: float, f: float, k: float, discount: float, call: float, put: float
) -> None:
    found = worth([True, False], f, k, sigma * sqrt(seconds / YEAR))[0] * discount
    assert found == pytest.approx([call, put], rel=1e-13, abs=2e-13 * min(f, k))


@pytest.mark.parametrize(("f", "k", "w", "delta"), [(1, 0, 1, 1), (1000, 700, 24, 1), (1000, 700, 0, 1), (0, 1, 1, 0)])
def test_the_edges_have_a_delta(f: float, k: float, w: float, delta: float) -> None:
    assert worth([True, False], f, k, w)[1].tolist() == [delta, delta - 1]


HAUG = [  # QuantLib after Haug (1998): call, strike, spot, carry yield, rate, years, volatility, value
    (True, 65, 60, 0.00, 0.08, 0.25, 0.30, 2.1334),
    (False, 95, 100, 0.05, 0.10, 0.50, 0.20, 2.4648),
    (False, 19, 19, 0.10, 0.10, 0.75, 0.28, 1.7011),
    (True, 1.60, 1.56, 0.08, 0.06, 0.50, 0.12, 0.0291),
    (False, 70, 75, 0.05, 0.10, 0.50, 0.35, 4.0870),
    (True, 40, 42, 0.08, 0.04, 0.75, 0.35, 5.0975),
]


@pytest.mark.parametrize(("call", "k", "spot", "q", "r", "t", "sigma", "value"), HAUG)
def test_a_file_gives_haugs_values(
    call: bool, k: float, spot: float, q: float, r: float, t: float, sigma: float, value: float
) -> None:
    said = {"seconds": t * YEAR, "forward": spot * exp((r - q) * t), "rate": r, "vol": sigma}
    held = [option("call" if call else "put", k, 1)]
    result = assessed("span", options=held, expiries={"e": said}, feed={"spot": spot})
    assert result.mark == pytest.approx(value, abs=1e-4)


# ─── volatility ───────────────────────────────────────────────────────────────────────────────────


def test_svi_is_its_formula() -> None:
    a, b, rho, m, sigma, forward, tau = 0.04, 0.4, -0.3, 0.1, 0.2, 2000.0, 0.25
    x = log(2300 / forward) - m
    variance = a + b * (rho * x + sqrt(x * x + sigma * sigma))
    assert vol.svi(2300, a, b, rho, m, sigma, forward, tau) == pytest.approx(sqrt(variance / tau), rel=1e-15)


def test_the_wings_of_svi_end_at_four_deviations() -> None:
    end = 2000 * exp(4 * sqrt(0.04 + 0.4 * 0.2))
    wide, wider = (vol.svi(k, 0.04, 0.4, 0, 0, 0.2, 2000, 0.25) for k in (end, 100 * end))
    assert wide == pytest.approx(wider, rel=1e-14)


def test_the_variance_of_svi_has_a_top_and_strike_nothing_none() -> None:
    assert vol.svi(2000, 500, 0, 0, 0, 0, 2000, 1) == 12
    assert vol.svi(0, 500, 0, 0, 0, 0, 2000, 1) == 0


@pytest.mark.parametrize(
    ("strike", "curv", "sigma"),
    [
        (2000, 0.04, 0.6),
        (2000 * exp(0.5), 0.04, 0.46),
        (2000 * exp(-50), 0.04, 5),
        (2000 * exp(5), -1, 0.05),
        (0, 1, 0.6),
    ],
)
def test_the_smile_is_a_parabola_between_bounds(strike: float, curv: float, sigma: float) -> None:
    assert vol.smile(strike, 0.6, -0.18, curv, 2000, 0.5) == pytest.approx(sigma, rel=1e-14)


@pytest.mark.parametrize(("call", "strike"), [(True, 90), (True, 100), (True, 130), (False, 70), (False, 110)])
@pytest.mark.parametrize("sigma", [0.3, 0.6, 3])
def test_an_implied_volatility_gives_its_price_back(call: bool, strike: float, sigma: float) -> None:
    price = float(worth(call, 100, strike, sigma * 0.5)[0])
    again = vol.implied(call, price, 100, strike, 0.5)
    assert float(worth(call, 100, strike, again * 0.5)[0]) == pytest.approx(price, rel=1e-14)


@pytest.mark.parametrize(("call", "price"), [(True, 10), (True, 100), (False, 0), (False, 90)])
def test_no_volatility_gives_a_price_at_its_bounds(call: bool, price: float) -> None:
    with pytest.raises(ValueError, match="no volatility gives it"):
        vol.implied(call, price, 100, 90, 0.5)


# ─── SPAN ─────────────────────────────────────────────────────────────────────────────────────────

SPAN = [  # price move and volatility move in scan ranges, percent of the loss
    *((0, 1, 100), (0, -1, 100), (1 / 3, 1, 100), (1 / 3, -1, 100), (-1 / 3, 1, 100), (-1 / 3, -1, 100)),
    *((2 / 3, 1, 100), (2 / 3, -1, 100), (-2 / 3, 1, 100), (-2 / 3, -1, 100), (1, 1, 100), (1, -1, 100)),
    *((-1, 1, 100), (-1, -1, 100), (2, 0, 35), (-2, 0, 35)),
]


def test_the_sixteen_scenarios_are_those_of_span() -> None:
    ours = [(one.ranges or 0.0, one.by, 100 * one.weight) for one in PRESETS["span"].scenarios]
    assert np.allclose(ours, SPAN, rtol=0, atol=1e-12)


def test_ranges_may_differ_up_and_down() -> None:
    scan = Range(up=0.06, down=0.08)
    factors = [one.factor(scan) for one in PRESETS["tims"].scenarios]
    assert factors == pytest.approx([0.92, 0.936, 0.952, 0.968, 0.984, 1.012, 1.024, 1.036, 1.048, 1.06])


# ─── TIMS: margin requirement examples of CBOE and OCC, close of 23 February 2007 ─────────────────

PRICES = {("call", 95): 4.53, ("call", 100): 1.68, ("call", 105): 0.40, ("put", 95): 1.02, ("put", 100): 3.18}
IBM: list[tuple[list[tuple[str, int, int]], int, int]] = [  # options by hundreds, shares, requirement
    ([("call", 100, -1)], 0, 115_429),
    ([("put", 100, -1)], 0, 137_527),
    ([("call", 100, -1)], 10_000, 129_804),
    ([("put", 95, 1)], 10_000, 37_538),
    ([("call", 100, 1), ("put", 100, -1)], 0, 154_313),
    ([("put", 95, 1), ("call", 105, -1)], 0, 91_118),
    ([("put", 95, 1), ("call", 105, -1)], 10_000, 33_522),
    ([("call", 95, 1), ("call", 105, -1)], 0, 40_881),
    ([("put", 100, 1), ("call", 100, 1)], 0, 7_500),
]


def ibm(held: list[tuple[str, int, int]], shares: int) -> dict[str, Any]:
    """57 days at 5.25 %; the rate and the day count are not in the published table."""
    options = [option(kind, k, 100 * n, multiplier=100, price=PRICES[kind, k]) for kind, k, n in held]
    feed = {"spot": 97.73, "expiries": {"e": {"seconds": 57 * 86_400, "rate": 0.0525}}}
    portfolio = {"options": options, "spot": [{"size": shares}]}
    return {"rules": "tims", "feeds": {"underlyings": {"IBM": feed}}, "portfolio": portfolio}


@pytest.mark.parametrize(("held", "shares", "requirement"), IBM)
def test_tims_gives_the_published_requirement(
    held: list[tuple[str, int, int]], shares: int, requirement: float
) -> None:
    assert of(ibm(held, shares)).requirement == pytest.approx((requirement, requirement), rel=3e-3)


def test_the_mark_is_the_price_that_was_given() -> None:
    assert of(ibm([("put", 95, 1), ("call", 105, -1)], 10_000)).mark == pytest.approx(983_500, rel=1e-14)


def test_every_option_has_a_minimum_long_or_short() -> None:
    result = of(ibm([("put", 100, 1), ("call", 100, 1)], 0))
    assert result.requirement == (7_500, 7_500)
    assert result.requirements[-1].what == "minimum IBM"


def test_a_put_is_worth_its_intrinsic_value_at_least() -> None:
    assert profits(of(ibm([("put", 100, -1)], 0)))["spot -1 ranges"] == pytest.approx(-137_495, abs=1)

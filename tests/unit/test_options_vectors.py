"""Fixed point against published numbers: Hull, Haug (QuantLib), Lyra's Black-76 with its edges, Ribbon's volatility."""

from __future__ import annotations

import csv
from functools import cache
from math import exp, sqrt
from typing import Final

import pytest

from keeper.protocols.options import maths
from keeper.protocols.options.normal import ONE
from keeper.units import WAD, YEAR, div_trunc, wad
from tests.shared_data import folder

VECTORS: Final = folder("vectors")
pytestmark = pytest.mark.skipif(VECTORS is None, reason="needs shared/data/vectors, see tests/shared_data.py")


@cache
def rows(name: str) -> list[dict[str, str]]:
    if VECTORS is None:
        return []
    with (VECTORS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def black76(is_call: bool, forward: float, strike: float, total: float, discount: float = 1.0) -> tuple[float, float]:
    """(discounted value, N(d1)) by the exact telling; ``total`` is sigma sqrt(t)."""
    f, k, w = (wad(repr(x)) for x in (forward, strike, total))
    v, n1 = maths.value(is_call, f, k, maths.ln_wad(f * WAD // k), w)
    return v * discount / WAD, n1 / ONE


@pytest.mark.parametrize("row", rows("quantlib-haug1998-european-values.csv"), ids=str)
def test_haug_1998_values(row: dict[str, str]) -> None:
    k, s, q, r, t, vol, value, tolerance = (float(row[n]) for n in list(row)[1:])
    forward, discount = s * exp((r - q) * t), exp(-r * t)
    found, _ = black76(row["type"] == "call", forward, k, vol * sqrt(t), discount)
    assert found == pytest.approx(value, abs=tolerance)


def known(name: str, *greeks: str) -> list[dict[str, str]]:
    """The rows about what the contract computes: no theta, no elasticity."""
    return [row for row in rows(name) if row["greek"].startswith(greeks)]


@pytest.mark.parametrize("row", known("quantlib-haug1998-european-greeks.csv", "delta", "gamma", "vega"), ids=str)
def test_haug_1998_greeks(row: dict[str, str]) -> None:
    k, s, q, r, t, vol, value, tolerance = (float(row[n]) for n in list(row)[2:])
    forward, w = s * exp((r - q) * t), vol * sqrt(t)
    call = row["type"] == "call"
    _, n1 = black76(call, forward, k, w)
    phi = maths.density(maths.ln_wad(wad(repr(forward)) * WAD // wad(repr(k))), wad(repr(w))) / WAD
    told = {
        "delta": exp(-q * t) * (n1 if call else n1 - 1),
        "gamma": exp(-q * t) * phi / (s * w),
        "vega": s * exp(-q * t) * phi * sqrt(t),
    }
    assert told[row["greek"]] == pytest.approx(value, abs=tolerance)


HULL = known("hull-example-greeks.csv", "delta", "gamma", "vega", "call", "rho")


@pytest.mark.parametrize("row", HULL, ids=str)
def test_hulls_example(row: dict[str, str]) -> None:
    s, k, r, t, vol, value, tolerance = (float(row[n]) for n in list(row)[2:])
    futures = row["model"] == "black-76"
    forward, discount, w = s if futures else s * exp(r * t), exp(-r * t), vol * sqrt(t)
    price, n1 = black76(True, forward, k, w, discount)
    phi = maths.density(maths.ln_wad(wad(repr(forward)) * WAD // wad(repr(k))), wad(repr(w))) / WAD
    carry = discount if futures else 1.0
    told = {
        "delta_call": carry * n1,
        "gamma": carry * phi / (s * w),
        "vega_per_vol_point": carry * s * phi * sqrt(t) / 100,
        "call_price": price,
        "call_price_undiscounted": price,
        "rho_call_per_rate_point": -price * t / 100 if futures else k * t * discount * _n2(forward, k, w) / 100,
        "rho_put_per_rate_point": -black76(False, forward, k, w, discount)[0] * t / 100,
    }
    assert told[row["greek"]] == pytest.approx(value, abs=tolerance)


def _n2(forward: float, strike: float, w: float) -> float:
    price, n1 = black76(True, forward, strike, w)
    return (forward * n1 - price) / strike


# A strike of 0 cannot be traded, and a price of 0 cannot be published.
LYRA = [row for row in rows("lyra-utils-black76.csv") if float(row["strike"]) and float(row["forward"])]


@pytest.mark.parametrize("row", LYRA, ids=lambda row: row["case"])
def test_black76_of_lyra_with_its_edges(row: dict[str, str]) -> None:
    left, vol, f, k, discount, call, put, delta = (float(row[n]) for n in list(row)[1:])
    w = vol * sqrt(left / YEAR)
    if "cap" in row["case"]:  # where total volatility is capped, the limits are these
        assert black76(True, f, k, w, discount)[0] == pytest.approx(f * discount, rel=1e-9)
        assert black76(False, f, k, w, discount)[0] == pytest.approx(k * discount, rel=1e-9)
        return
    whole = wad(row["forward"]), wad(row["strike"])
    if "max" in row["case"]:
        ln = maths.ln_wad(max(1, whole[0] * WAD // whole[1]))
        values = [maths.value(c, *whole, ln, wad(repr(w))) for c in (True, False)]
        assert [v / WAD for v, _ in values] == pytest.approx([call, put], rel=1e-9, abs=1e-9)
        return
    assert black76(True, f, k, w, discount)[0] == pytest.approx(call, abs=1e-9 * f)
    assert black76(False, f, k, w, discount)[0] == pytest.approx(put, abs=1e-9 * f)
    assert black76(True, f, k, w)[1] == pytest.approx(delta, abs=1e-9)


@pytest.mark.parametrize("case", ["short", "long"])
def test_realised_volatility_of_ribbon(case: str) -> None:
    """Our logarithm and root give their integers, by their sliding sums. An old return of 0 is an empty slot there."""
    mine = [row for row in rows("ribbon-rvol-realised-vol.csv") if row["case"] == case]
    size, returns, before, mean, squares = int(mine[0]["window_observations"]), list[int](), 0, 0, 0
    for row in mine:
        price = int(row["price_1e6"])
        new = div_trunc(maths.ln_wad(price * WAD // before), 10**10) if before else 0
        old = returns[-size] if len(returns) >= size else 0
        count = min(len(returns) + 1, size)
        after = mean + div_trunc(new - old, count) if old else mean + div_trunc(new - mean, count)
        squares += (new - old) * (new + old - after - mean) if old else (new - mean) * (new - after)
        mean, before = after, price
        returns.append(new)
        stdev = maths.sqrt(squares // count)
        if row["expected_stdev_1e8_after_commit"]:
            assert stdev == int(row["expected_stdev_1e8_after_commit"])
        if row["expected_annualised_1e8"]:
            yearly = maths.sqrt(YEAR // int(row["period_seconds"]))
            assert stdev * yearly == int(row["expected_annualised_1e8"])

"""The reference rules are those of both other tellings: ``margin/portfolio.py``, ``protocols/options/risk.py``."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.margin import portfolio
from keeper.margin.rules.parameters import Kind
from keeper.margin.rules.presets import PRESETS
from keeper.margin.rules.result import Result
from keeper.model import BlockRef, Key
from keeper.protocols.options import oracle
from keeper.protocols.options.columns import make_rules
from keeper.protocols.options.components import components
from keeper.protocols.options.maths import ln_wad
from keeper.protocols.options.params import RiskParams, Shock, realistic
from keeper.protocols.options.records import Leg, State, smile_key, step_key
from keeper.protocols.options.risk import Market, Portfolio, Price
from keeper.units import WAD, wad
from tests.unit.margin_files import of

NOW = 1_700_000_000
LEFTS = (1_000, 86_400, 7 * 86_400, 35 * 86_400)  # the first lies in the settlement window
SPOTS = (2_000.0, 40_000.0)
DEPTHS = (20_000_000, 30_000_000)
NAMES = ("ETH", "BTC")
CONFIG = replace(oracle.REALISTIC, slow_t=1800, smile_band=WAD // 2)
SHIPPED = realistic(tuple(wad(depth) for depth in DEPTHS)).risk
# as the contract keeps them: it fills in the logarithms
PARAMS = replace(
    SHIPPED, scenarios=tuple(one._replace(ln=ln_wad(WAD + one.spot * 10**14)) for one in SHIPPED.scenarios)
)
SMILE = (0.65, -0.09, 0.09, 0.04)  # atm, skew, curv, rate


def test_the_parameters_are_the_defaults_of_the_protocol() -> None:
    rules, p = PRESETS["reference"], PARAMS
    assert rules.size and rules.band and rules.stress_cap
    ours = (
        *(rules.factor.mm, rules.factor.im, rules.gross.mm, rules.gross.im, rules.naked.mm, rules.size.factor),
        *(rules.confidence.option.rate, rules.vol.short_power, rules.vol.long_power, rules.band, rules.stress_cap),
        *(rules.haircut.mm, rules.haircut.im),
    )
    theirs = (
        *(p.mm_factor, p.im_factor, p.floor_gross_mm, p.floor_gross_im, p.floor_naked, p.lambda_),
        *(p.confidence, p.vol_power_short, p.vol_power_long, p.trigger_band, p.stress_cap),
        *(p.assets[1].haircut_mm, p.assets[1].haircut_im),
    )
    assert ours == pytest.approx([one / WAD for one in theirs], rel=1e-15)
    assert rules.vol.shortest == p.vol_days_floor


def test_the_scenarios_are_those_of_the_protocol() -> None:
    ours = [
        (round(1e4 * (one.spot or 1)) - 10_000, round(1e4 * one.by), round(1e4 * one.weight))
        for one in PRESETS["reference"].scenarios
    ]
    assert ours == [(one.spot, one.vol, one.weight) for one in PARAMS.scenarios]
    assert {one.kind for one in PARAMS.scenarios} == {Shock.TERM}
    assert {one.vol for one in PRESETS["reference"].scenarios} == {Kind.TERM}


# ─── one portfolio, three tellings ────────────────────────────────────────────────────────────────

Held = tuple[int, int, bool, int, float]  # underlying, expiry, call, strike in per cent of spot, size


@st.composite
def held(draw: st.DrawFn) -> list[Held]:
    size = st.integers(-500_000, 500_000).filter(bool).map(lambda n: n / 1000)
    leg = st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans(), st.integers(40, 250), size)
    return draw(st.lists(leg, max_size=8, unique_by=lambda one: one[:4]))


MOVES = st.integers(-400, 400).map(lambda n: 1 + n / 4000)
CASES = {
    "legs": held(),
    "cash": st.integers(-(10**6), 10**7),
    "units": st.tuples(st.integers(0, 999), st.integers(0, 9)),
    "move": MOVES,
}


def strike(u: int, per_cent: int) -> float:
    return SPOTS[u] * per_cent / 100


CALM = (1.0, 1.0)  # stress for maintenance, and for the initial margin


def file(
    legs: list[Held], cash: float, units: tuple[int, int], move: float, stress: tuple[float, float] = CALM
) -> Result:
    """Spot has moved away from its mean; the feed of the first expiry has seen a part of the average."""
    underlyings = {}
    for u, name in enumerate(NAMES):
        spot = round(SPOTS[u] * move * 10**8) / 10**8
        known = {"known": spot * (1800 - LEFTS[0]) / 1800, "open": LEFTS[0] / 1800}
        said = {"rate": SMILE[3], "smile": dict(zip(("atm", "skew", "curv"), SMILE, strict=False))}
        expiries = {
            str(left): {"seconds": left, "vol_confidence": 0.9, **said, **(known if left < 1800 else {})}
            for left in LEFTS
        }
        wide = {"stress": stress[0], "stress_now": stress[1]}
        underlyings[name] = {"spot": spot, "mark": SPOTS[u], "confidence": 0.95, "expiries": expiries, **wide}
    options = [
        {
            "underlying": NAMES[u],
            "expiry": str(LEFTS[e]),
            "type": "call" if c else "put",
            "strike": strike(u, k),
            "size": n,
        }
        for u, e, c, k, n in legs
    ]
    collateral = [{"underlying": name, "amount": amount} for name, amount in zip(NAMES, units, strict=True)]
    parameters = {"size": {"depth": dict(zip(NAMES, DEPTHS, strict=True))}}
    feeds = {"underlyings": underlyings}
    portfolio = {"cash": cash, "options": options, "collateral": collateral}
    return of({"rules": "reference", "parameters": parameters, "feeds": feeds, "portfolio": portfolio})


def clamped(u: int, move: float) -> float:
    return min(max(round(SPOTS[u] * move * 10**8) / 10**8, SPOTS[u] * 0.95), SPOTS[u] * 1.05)


def floats(legs: list[Held], cash: float, units: tuple[int, int], move: float) -> portfolio.Health:
    rules = make_rules(PARAMS)
    sums = portfolio.Assessment(np.array([float(cash)]), rules)
    smile = portfolio.Smile(*SMILE, confidence=0.9)
    for u in range(2):
        price = clamped(u, move)
        terms = []
        for e, left in enumerate(LEFTS):
            mine = sorted((k, c, n) for v, f, c, k, n in legs if (v, f) == (u, e))
            calls, strikes = np.array([c for _, c, _ in mine], dtype=bool), np.array([strike(u, k) for k, _, _ in mine])
            known = round(SPOTS[u] * move * 10**8) / 10**8 * (1800 - left) / 1800 if left < 1800 else 0.0
            open_ = left / 1800 if left < 1800 else 1.0
            term = portfolio.term(price, left, known, open_, smile, calls, strikes, rules)
            terms.append((term, np.array([[n for _, _, n in mine]])))
        sums.add(u, price, [one for one in terms if one[1].size], np.array([[0.0, *map(float, units)]]))
    return sums.health


class Shelf:
    """A view of records that were put there."""

    def __init__(self, records: dict[Key, Any]) -> None:
        self.records = records
        self.ref = BlockRef(1, b"\1" * 32, bytes(32), NOW, 0, 0, 0)

    def get(self, key: Key) -> Any:
        return self.records.get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        return (key for key in self.records if key.kind == kind)


def exact(legs: list[Held], cash: int, units: tuple[int, int], move: float) -> Any:
    state, pf = contract(legs, cash, units, move)
    return Market(state, PARAMS, NOW, Price.TRIGGER).assess(pf)


def contract(
    legs: list[Held], cash: int, units: tuple[int, int], move: float, stress: tuple[float, float] = CALM
) -> tuple[State, Portfolio]:
    records: dict[Key, Any] = {Key("config", 0): CONFIG}
    atm, skew, curv, rate = (round(one * 10**6) for one in SMILE)
    for u in range(2):
        spot, mean = round(SPOTS[u] * move * 10**8), wad(SPOTS[u])
        records[Key("feed", u)] = replace(
            oracle.registered(800_000),
            spot=spot,
            eased=10**9,
            time=NOW,
            round=9,
            confidence=9_500,
            slow=mean // 10**6,
            fast=mean // 10**6,
            sum=10**20,
        )
        before = oracle.Step(NOW - 2_000, spot, 10**20 - 2_000 * spot)  # spot stood still in the window
        records |= {Key("steps", u): 1, step_key(u, 0): before}
        for left in LEFTS:
            records[smile_key(u, NOW + left)] = oracle.Smile(atm, skew, curv, rate, NOW, 9_000, atm * 10**12)
        feed = records[Key("feed", u)]
        records[Key("feed", u)] = replace(
            feed, peak=round(stress[1] * feed.usual) ** 2 // 1000, eased=round(stress[0] * 10**9)
        )
    words = [
        Leg(u << 112 | NOW + LEFTS[e] << 72 | int(c) << 64 | round(strike(u, k) * 10**8), round(n * 10**3) * 10**15)
        for u, e, c, k, n in legs
    ]
    pf = Portfolio(wad(cash), tuple(sorted(words)), (0, *(wad(one) for one in units)))
    return State(Shelf(records)), pf


@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_the_float_telling_is_the_same_to_1e_12(
    legs: list[Held], cash: int, units: tuple[int, int], move: float
) -> None:
    ours, theirs = file(legs, cash, units, move), floats(legs, cash, units, move)
    mm, im = ours.requirement
    size = 1e-12 * float(theirs.gross[0])  # where marks cancel, nothing is relative to what is left
    assert ours.mark == pytest.approx(float(theirs.equity[0]), rel=1e-12, abs=size)
    assert (mm, im) == pytest.approx((float(theirs.mm[0]), float(theirs.im[0])), rel=1e-12, abs=size)


@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_the_contract_agrees_to_1e_9_of_gross(legs: list[Held], cash: int, units: tuple[int, int], move: float) -> None:
    ours, theirs = file(legs, cash, units, move), exact(legs, cash, units, move)
    gross = sum(abs(n) * clamped(u, move) for u, _, _, _, n in legs) + sum(
        n * clamped(u, move) for u, n in enumerate(units)
    )
    mm, im = ours.requirement
    found = (ours.mark, mm, im)
    assert found == pytest.approx(
        [one / WAD for one in (theirs.equity, theirs.mm, theirs.im)], rel=1e-14, abs=1e-9 * gross + 1e-6
    )


@settings(max_examples=30, deadline=None)
@given(
    legs=held(),
    units=CASES["units"],
    move=st.integers(-80, 80).map(lambda n: 1 + n / 4000),  # within both bands
    eased=st.integers(100, 200).map(lambda n: n / 100),
    more=st.integers(0, 100).map(lambda n: n / 100),
)
def test_volatility_widens_the_scenarios_as_the_contract_does(
    legs: list[Held], units: tuple[int, int], move: float, eased: float, more: float
) -> None:
    ours = file(legs, 0, units, move, (eased, eased + more))
    state, pf = contract(legs, 0, units, move, (eased, eased + more))
    mm = Market(state, PARAMS, NOW, Price.TRIGGER).assess(pf).mm
    im = Market(state, PARAMS, NOW, Price.INITIAL).assess(pf).im
    gross = sum(abs(n) * SPOTS[u] for u, _, _, _, n in legs) + sum(n * SPOTS[u] for u, n in enumerate(units))
    assert ours.requirement == pytest.approx((mm / WAD, im / WAD), rel=1e-9, abs=1e-9 * gross + 1e-6)


@settings(max_examples=30, deadline=None)
@given(legs=held(), units=CASES["units"])
def test_the_components_of_a_loss_are_the_contracts(legs: list[Held], units: tuple[int, int]) -> None:
    """In the scenarios that ours are of: of two that cost the same, either is the worst."""
    ours, (state, pf) = file(legs, 0, units, 1.0), contract(legs, 0, units, 1.0)
    market, titles = Market(state, PARAMS, NOW, Price.TRIGGER), [one.title for one in PRESETS["reference"].scenarios]
    named = sum(titles.index(one.worst) << 8 * u for u, one in enumerate(ours.scans) if one.worst is not None)
    theirs = components(market, pf, named)
    found = [one.parts for one in ours.scans if one.parts]
    gross = sum(abs(n) * SPOTS[u] for u, _, _, _, n in legs) + sum(n * SPOTS[u] for u, n in enumerate(units))
    sums = [sum(getattr(one, name) for one in found) for name in ("delta", "gamma", "vega", "remainder")]
    parts = [getattr(theirs, name) / WAD for name in ("delta", "gamma", "vega", "remainder")]
    assert sums == pytest.approx(parts, rel=1e-8, abs=1e-8 * gross + 1e-6)
    assert theirs.loss == pytest.approx(components(market, pf).loss, rel=1e-12, abs=10**6)  # no other costs more


def test_the_worst_scenario_of_each_underlying_is_the_contracts() -> None:
    legs: list[Held] = [(0, 2, True, 110, -3.0), (1, 3, False, 90, -0.5)]
    ours, theirs = file(legs, 0, (0, 0), 1.0), exact(legs, 0, (0, 0), 1.0)
    titles = [one.title for one in PRESETS["reference"].scenarios]
    assert [titles.index(str(one.worst)) for one in ours.scans] == [theirs.worst & 0xFF, theirs.worst >> 8]


def test_parameters_are_typed_like_the_protocols() -> None:
    assert isinstance(PARAMS, RiskParams)

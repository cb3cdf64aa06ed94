"""Equity and requirement from the scenarios that may be the worst are those from all scenarios, to the wei."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.margin.scan import kernels
from keeper.margin.scan.kernels.ready import READY
from keeper.model import Key
from keeper.protocols.options import valued
from keeper.protocols.options.params import Shock
from keeper.protocols.options.records import Account, Leg, State
from keeper.protocols.options.risk import Market, Portfolio, Price, portfolio
from keeper.units import WAD
from tests.worlds.crowd import NOW, SPOTS, Crowd, people, series

LATE = (0, 3_000, 86_400 - 900, 86_400 - 1, 86_400, 86_401, 3 * 86_400)  # in and behind the settlement windows too


def markets() -> list[Market]:
    """Calm and wild, at the first expiries' edges, with moves that volatility stretches and shocks of every kind."""
    found = []
    for at, late in enumerate(LATE):
        c = Crowd()
        c.price(0, SPOTS[0] * (1 + 0.07 * (at % 3 - 1)))
        c.now = NOW + late
        feed = c.records[Key("feed", 0)]
        c.records[Key("feed", 0)] = replace(feed, time=c.now - 5, peak=feed.peak * 9, eased=feed.eased * 2)
        kinds = (Shock.TERM, Shock.ABSOLUTE, Shock.RELATIVE) if at % 2 else (Shock.TERM,)
        listed = tuple(
            s._replace(kind=kinds[i % len(kinds)]) if s.kind else s for i, s in enumerate(c.sets.risk.scenarios)
        )
        risk = replace(c.sets.risk, stress_cap=WAD * (1 + at % 3), scenarios=listed)
        found += [Market(State(c), risk, c.now, mode) for mode in (Price.TRIGGER, Price.INITIAL)]
    return found


def twins() -> list[Account]:
    """Books whose scenarios tie, or nearly: spreads far from the money, one wei of a leg."""
    far, near = series(0, 180, True, 130), series(0, 180, True, 124)
    return [
        Account(0, (Leg(far, n), Leg(near, m)), (0,), 1)
        for n, m in ((1, -1), (WAD, -WAD), (-WAD, WAD), (-2 * WAD, WAD), (1, 1), (-1, -1), (10**27, -(10**27)))
    ]


@pytest.fixture(params=[name for name in ("compiled", "plain") if name in kernels.installed()])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By numpy, and compiled."""
    monkeypatch.setattr(READY, "likely", kernels.named(request.param).likely)


@pytest.mark.usefixtures("told")
def test_the_worst_scenario_is_never_left_out() -> None:
    held = [account for _, account in people(11, 300)] + twins()
    for m in markets():
        looked = 0
        for account in held:
            pf = portfolio(account, m.state.clearing())
            try:
                losses = m.losses(pf)
            except LookupError:  # an average that is not known
                continue
            h = m.assess(pf)
            worst = [max(0, *each) for each in losses]
            at = [each.index(most) if most else 0 for each, most in zip(losses, worst, strict=True)]
            assert (h.loss, h.worst) == (sum(worst), sum(s << 8 * u for u, s in enumerate(at)))
            named = m.assess(pf, h.worst)
            assert (named.equity, named.mm) == (h.equity, h.mm)
            assert named.im == h.im or m.mode == Price.INITIAL  # there maintenance may have another worst scenario
            looked += 1
        assert looked > 100


@pytest.mark.usefixtures("told")
def test_few_scenarios_are_told_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, likely = list[int](), valued.likely

    def counted(*args: object) -> list[int]:
        found = likely(*args)  # type: ignore[arg-type]
        asked.append(len(found))
        return found

    monkeypatch.setattr("keeper.protocols.options.risk.likely", counted)
    c = Crowd()
    m = Market(State(c), c.sets.risk, c.now, Price.TRIGGER)
    for _, account in people(12, 200):
        m.assess(portfolio(account, m.state.clearing()))
    assert sum(asked) < 1.2 * len(asked)


def test_floats_of_a_series_are_as_near_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READY, "likely", None)
    for m in markets():
        for word in {leg.series for _, account in people(13, 60) for leg in account.legs}:
            try:
                v = m.value(word)
            except LookupError:
                continue
            m.assess(Portfolio(0, (Leg(word, WAD),)))
            assert v.told is not None
            gains, off = v.told
            for s, gain in enumerate(gains.tolist()):
                exact = v.gain(s) * v.term.discount / WAD**2
                assert abs(gain - exact) < off / 5


@pytest.mark.skipif("compiled" not in kernels.installed(), reason="numba is not installed")
def test_what_is_compiled_names_the_same_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, named = kernels.named("compiled").likely, 0
    for m in markets():
        for _, account in people(14, 60):
            pf = portfolio(account, m.state.clearing())
            by_underlying = {u: [leg for leg in pf.legs if leg.series >> 112 == u] for u in (0, 1)}
            for u, legs in by_underlying.items():
                try:
                    held = [(leg, m.value(leg.series)) for leg in legs]
                except LookupError:
                    continue
                if held:
                    args = held, m.collateral(pf, u) * m.price(u) // WAD, m.moves(u).factor
                    found = []
                    for way in (None, compiled):
                        monkeypatch.setattr(READY, "likely", way)
                        found.append(valued.likely(*args))
                    assert found[0] == found[1]
                    named += len(found[0])
    assert named > 500

"""The screen over very many accounts misses none that the exact telling condemns, whichever kernel computes it.

The exact telling equals the contract to the wei (``test_options_exact.py``), so it stands for the contract here.
``KEEPER_SCREENED`` sets how many accounts are tried; 4,000 unless it says otherwise, 100,000 in CI.
``KEEPER_SCREENED_SEED`` is the first shard; 0 unless it says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from keeper.margin.scan import kernels
from keeper.model import Key
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.params import Ramp, realistic
from keeper.protocols.options.records import Account, State
from keeper.protocols.options.risk import Market, Price, portfolio
from keeper.units import WAD
from tests.worlds.crowd import DEPTHS, Crowd, people, person, stored

COUNT = int(os.environ.get("KEEPER_SCREENED", "4000"))
SEED = int(os.environ.get("KEEPER_SCREENED_SEED", "0"))
SHARD = 4_000
EDGE = 10**12  # wad: a millionth of a dollar


def on_the_edge(market: Market, dice: Random, count: int, legs: int) -> Iterator[tuple[int, Account, int]]:
    """Accounts whose equity is their requirement, give or take a millionth of a dollar or ten dollars; by how much.

    A wei of cash is a wei of equity, and changes no requirement.
    """
    clearing = market.state.clearing()
    for _ in range(count):
        account = replace(person(dice, legs), index=market.state.clearing().index)
        h = market.assess(portfolio(account, clearing))
        off = dice.choice((-1, 0, 1, dice.randint(-EDGE, EDGE), dice.randint(-EDGE * 10**7, EDGE * 10**7)))
        yield int.from_bytes(dice.randbytes(20)), replace(account, cash=account.cash + h.mm - h.equity + off), off


def crowd(seed: int, kernel: str) -> Crowd:
    dice = Random(seed)
    c = Crowd(columns=Columns(kernels.named(kernel)))
    for u, spot in ((0, 2_000), (1, 40_000)):
        c.price(u, spot * dice.uniform(0.7, 1.3), dice.choice((10_000, 9_000)))
    c.smile(dice.randrange(2), dice.choice((3, 45)), 0.8, dice.choice((10_000, 5_000)))
    c.records[Key("clearing", 0)] = replace(c.records[Key("clearing", 0)], index=WAD - seed % 2 * WAD // 50)
    return c


@pytest.mark.parametrize("shard", range(SEED, SEED - (-COUNT // SHARD)))
def test_it_misses_no_account(shard: int) -> None:
    """Half of them stand on the edge; of the others hardly any is named without being under water."""
    c = crowd(shard, "plain")
    count, legs = min(SHARD, COUNT) // 2, 8 if shard % 2 else 20
    market = Market(State(c), c.sets.risk, c.now, Price.TRIGGER)
    usual = {id: replace(one, index=WAD - id % 3 * WAD // 100) for id, one in people(shard, count, legs)}
    edge = list(on_the_edge(market, Random(f"edge {shard}"), count, legs))
    clearing = market.state.clearing()

    def healthy(account: Account) -> bool:
        return market.assess(portfolio(account, clearing)).healthy

    assert [healthy(account) for _, account, _ in edge[:100]] == [off >= 0 for _, _, off in edge[:100]]
    unhealthy = {id for id, account in usual.items() if not healthy(account)} | {id for id, _, off in edge if off < 0}
    assert unhealthy, "nobody was under water: nothing was tried"
    c.settle((usual | {id: account for id, account, _ in edge}).items())
    for kernel in kernels.installed():
        c.columns._kernel = kernels.named(kernel)
        named = {key.id for key in c.columns.suspects(c, c.at)}
        assert unhealthy - named == set(), kernel
        assert len((named - unhealthy) & usual.keys()) < count / 100, kernel


@pytest.mark.parametrize("kernel", kernels.installed())
def test_the_least_margin_is_below_the_exact_one_and_not_far(kernel: str) -> None:
    c = crowd(7, kernel)
    mine = dict(people(7, 3_000, 20))
    c.settle(mine.items())
    state = State(c)
    scan = c.columns.scan(state, c.at, Price.TRIGGER)
    market = Market(state, c.sets.risk, c.now, Price.TRIGGER)
    for id, account in mine.items():
        h = market.assess(portfolio(account, state.clearing()))
        [row] = c.columns.store.rows([id])
        exact, gross = (h.equity - h.mm) / 10**18, _gross(market, account)
        assert exact - 3e-5 * gross - 1e-3 <= scan.lower[row] <= exact


def _gross(market: Market, account: Account) -> float:
    """Cash and everything held at the highest price, US dollars."""
    units = sum(n / unit for n, unit in zip(account.collateral, (1, 10**18, 10**8), strict=True))
    sizes = sum(abs(leg.size) for leg in account.legs) / 10**18
    return abs(account.cash) / 10**18 + (units + sizes) * max(market.price(0), market.price(1)) / 10**18


@pytest.mark.parametrize("kernel", kernels.installed())
def test_kernels_agree(kernel: str) -> None:
    """Within what each takes off."""
    plain, other = crowd(3, "plain"), crowd(3, kernel)
    for c in (plain, other):
        c.settle(people(3, 5_000, 20))
    ours, theirs = (c.columns.scan(State(c), c.at, Price.TRIGGER).lower for c in (other, plain))
    assert abs(ours - theirs).max() < 1e-6 * abs(theirs).max()
    assert other.columns.suspects(other, other.at) == plain.columns.suspects(plain, plain.at)


def test_what_was_put_comes_back() -> None:
    c, mine = Crowd(), dict(people(5, 2_000, 32))
    c.settle(mine.items())
    assert {id: c.columns.get(Key("account", id)) for id in mine} == mine
    assert [key.id for key in c.columns.keys("account")] == sorted(mine)
    again = {id: person(Random(id), 12) for id in mine}
    c.settle(again.items())
    c.columns.suspects(c, c.at)  # lays collateral out
    assert {id: c.columns.get(Key("account", id)) for id in mine} == again
    for id in mine:
        c.columns.put(Key("account", id), None)
    assert list(c.columns.keys("account")) == []
    assert c.columns.store.listing.live() == {}


@pytest.mark.parametrize("kernel", kernels.installed())
@pytest.mark.parametrize("hours", [0, 1, 3, 5])
def test_while_a_set_is_phased_in_it_names_those_whom_both_condemn(kernel: str, hours: int) -> None:
    """A stricter set with other shocks: at first none but those under the old one, at last all."""
    c, old = crowd(11, kernel), realistic(DEPTHS)
    strict = replace(old.risk, mm_factor=2 * old.risk.mm_factor, floor_naked=2 * old.risk.floor_naked)
    c.records |= {Key("params", 2): stored(replace(old, risk=strict)), Key("current", 0): 2}
    c.records[Key("ramp", 0)] = Ramp(1, c.now - 3_600 * hours)
    mine = dict(people(12, 1_200, 12, 0.25))
    c.settle(mine.items())
    named = {key.id for key in c.columns.suspects(c, c.at)}
    told = {id: Options.health(None, c, Key("account", id), c.at) for id in mine}  # type: ignore[arg-type]
    condemned = {id for id, report in told.items() if not report.healthy}
    assert condemned - named == set()
    assert len(named - condemned) < len(mine) / 100
    c.records[Key("ramp", 0)] = Ramp()
    anyway = {key.id for key in c.columns.suspects(c, c.at)}
    assert len(condemned) < len(anyway) if hours < 3 else named == anyway

"""What others who must sell the same do to our hedge: as the cascade has it, never a gain, and bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from keeper.margin import cascade
from keeper.protocols.options.hedge import CROWD, Swap, crowded, plan_swap
from keeper.protocols.options.records import Asset, Pool
from keeper.units import WAD, wad

BASE, CASH = Asset(b"e" * 20, 10**18), Asset(b"c" * 20, 10**6)
PRICE, TOLERANCE = wad(2_000), wad("0.02")
POOL = Pool(5_000 * 10**18, 10_000_000 * 10**6)  # a mid of 2,000
PLENTY = 10**40


def hedge(units: float, pool: Pool = POOL) -> Swap:
    """To take so many units off the book."""
    swap = plan_swap(pool, wad(str(units)), PRICE, 0, BASE, CASH, PLENTY, PLENTY, TOLERANCE)
    assert swap is not None
    return swap


def more(swap: Swap, ahead: float, tolerance: int = TOLERANCE) -> int:
    return crowded(POOL, swap, int(ahead * 10**18), PRICE, BASE, CASH, tolerance)


def test_nobody_before_us_costs_nothing() -> None:
    assert more(hedge(5), 0) == more(hedge(-5), 0) == 0


def test_flow_the_other_way_is_no_gain() -> None:
    assert more(hedge(5), -100) == more(hedge(-5), -100) == 0


@given(st.floats(0.0, 0.009), st.sampled_from((0.01, -0.01)))
def test_it_is_the_push_of_the_cascade(share: float, units: float) -> None:
    """A small hedge loses by the price that the cascade map gives after the flow."""
    q = share * 5_000
    pushed = cascade.Pool(5_000, 1.0).pushed(1.0, q if units > 0 else -q)
    lost = more(hedge(units), q) / (abs(units) * PRICE)
    assert lost == approx(abs(1 - (pushed if units > 0 else 1 / pushed)), rel=0.02, abs=2e-6)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from((3, -3, 400, -400)))
def test_more_flow_never_costs_less_and_all_of_it_is_bounded(a: int, b: int, units: int) -> None:
    swap, (few, many) = hedge(units), sorted((a, b))
    assert 0 <= more(swap, few) <= more(swap, many)
    worth = abs(swap.delta) * PRICE // WAD
    assert more(swap, many) <= worth * TOLERANCE // WAD * (1 + 1e-6)
    assert more(swap, many, wad(1)) <= more(swap, 5_000 / CROWD, wad(1))  # no more of the reserve is believed to go

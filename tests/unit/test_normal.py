"""The table of the normal distribution: how exact it is, and that the contract has the same."""

from __future__ import annotations

import re
from math import erfc, sqrt

from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.protocols.build import sources
from keeper.protocols.options import normal
from keeper.units import WAD

ANY = st.integers(-9 * WAD, 9 * WAD)


def test_the_table_of_the_contract_is_the_one_that_is_made_here() -> None:
    assert [int(word, 16) for word in re.findall(r'hex"(\w{64})"', sources()["lib/Normal.sol"])] == normal.words()


def test_every_coefficient_fits_its_bits() -> None:
    for row in normal.rows():
        for k, (c, bits) in enumerate(zip(row, normal.BITS, strict=True)):
            low, high = (0, 1 << bits) if k < 2 else (-1 << bits - 1, 1 << bits - 1)
            assert low <= c < high


@settings(max_examples=2_000, deadline=None)
@given(x=st.one_of(ANY, st.integers(-2 * WAD, 2 * WAD)))
def test_it_is_the_normal_distribution_to_1e_15(x: int) -> None:
    assert abs(normal.cdf(x) / normal.ONE - erfc(-x / WAD / sqrt(2)) / 2) < 1e-15


@settings(max_examples=500, deadline=None)
@given(x=ANY)
def test_it_is_a_distribution(x: int) -> None:
    assert 0 <= normal.cdf(x) <= normal.ONE
    assert abs(normal.cdf(x) + normal.cdf(-x) - normal.ONE) < 2e-15 * normal.ONE

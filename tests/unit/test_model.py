"""What the nouns compute about themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.model import BlockRef
from keeper.units import GWEI

fees = st.integers(0, 10**13)


def block(base_fee: int, used: int, limit: int = 20_000_000) -> BlockRef:
    return BlockRef(1, b"\1" * 32, bytes(32), 12, base_fee, gas_used=used, gas_limit=limit)


# ─── the next base fee ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (10_000_000, 1_000_000_000),  # at the target
        (9_000_000, 987_500_000),  # below
        (11_000_000, 1_012_500_000),  # above
    ],
)
def test_the_vectors_of_go_ethereum(used: int, expected: int) -> None:
    """``TestCalcBaseFee`` in consensus/misc/eip1559."""
    assert block(1_000_000_000, used).next_base_fee == expected


@pytest.mark.parametrize(("used", "expected"), [(0, 87_500_000_000), (20_000_000, 112_500_000_000)])
def test_an_empty_and_a_full_block_move_it_by_an_eighth(used: int, expected: int) -> None:
    assert block(100 * GWEI, used).next_base_fee == expected


@pytest.mark.parametrize(
    ("base_fee", "used", "expected"),
    [
        (0, 10_000_000, 0),  # at the target even nothing stays
        (0, 10_000_001, 1),  # a rise is at least 1 wei
        (7, 20_000_000, 8),  # though an eighth of 7 is nothing
        (16, 10_000_001, 17),
        (0, 0, 0),  # a fall has no such least
        (7, 0, 7),
        (8, 0, 7),
        (16, 9_999_999, 16),
    ],
)
def test_a_rise_is_at_least_one_wei_and_a_fall_may_be_none(base_fee: int, used: int, expected: int) -> None:
    assert block(base_fee, used).next_base_fee == expected


def test_the_target_of_an_odd_limit_is_rounded_down() -> None:
    assert block(800, used=10, limit=21).next_base_fee == 800
    assert block(800, used=11, limit=21).next_base_fee == 810


def test_it_multiplies_before_it_divides() -> None:
    """23 x 3 // 4 // 8 = 2; an eighth of 23 first would make it 1."""
    assert block(23, used=7, limit=8).next_base_fee == 25


@given(fees, st.integers(0, 20_000_000))
def test_it_moves_by_an_eighth_at_most(base_fee: int, used: int) -> None:
    assert abs(block(base_fee, used).next_base_fee - base_fee) <= max(base_fee // 8, 1)


@given(fees, st.integers(0, 20_000_000), st.integers(0, 20_000_000))
def test_a_fuller_block_never_makes_it_lower(base_fee: int, less: int, more: int) -> None:
    less, more = sorted((less, more))
    assert block(base_fee, less).next_base_fee <= block(base_fee, more).next_base_fee

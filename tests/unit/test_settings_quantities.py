"""Quantities: exact, with a unit, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.settings.quantities import BPS, COIN, DURATION, MONEY, SHARE, Quantity


@pytest.mark.parametrize(
    ("quantity", "written", "exact"),
    [
        (DURATION, "12s", 12_000),
        (DURATION, "250ms", 250),
        (DURATION, "1.5 h", 5_400_000),
        (COIN, "80 gwei", 80 * 10**9),
        (COIN, "2 ETH", 2 * 10**18),
        (COIN, "1.000000000000000001 eth", 10**18 + 1),
        (MONEY, "$25", 25 * 10**18),
        (MONEY, "$1_000.50", 1_000_500_000_000_000_000_000),
        (SHARE, "50 bps", 5 * 10**15),
        (SHARE, "0.5 %", 5 * 10**15),
        (BPS, "50 bps", 50),
        (BPS, "0.5 %", 50),
    ],
)
def test_means_exactly(quantity: Quantity, written: str, exact: int) -> None:
    assert quantity.parse(written) == exact


@pytest.mark.fault("F01")
@pytest.mark.parametrize(
    ("quantity", "written", "said"),
    [
        (DURATION, 12, "quoted duration with its unit"),
        (DURATION, True, "quoted duration with its unit"),
        (DURATION, "12", "has no unit"),
        (COIN, "5 gwi", "unknown unit"),
        (COIN, "0.5 wei", "finer than its smallest unit, wei"),
        (MONEY, "25 $", None),
        (MONEY, "25", "has no unit"),
        (MONEY, "-$5", "is not a dollar amount"),
        (MONEY, "$0.0000000000000000001", r"finer than its smallest unit, 10\*\*-18"),
        (SHARE, "0.00000000000000001 %", r"finer than its smallest unit, 10\*\*-18"),
        (BPS, "0.005 %", "finer than its smallest unit, bps"),
        (DURATION, "$12s", "unknown unit"),
        (COIN, "١ ETH", "is not a coin amount"),
    ],
)
def test_is_refused(quantity: Quantity, written: object, said: str | None) -> None:
    with pytest.raises(ValueError, match=said):
        quantity.parse(written)


@given(st.sampled_from([DURATION, COIN, MONEY, SHARE, BPS]), st.integers(0, 10**30))
def test_what_is_shown_means_the_same(quantity: Quantity, exact: int) -> None:
    assert quantity.parse(quantity.show(exact)) == exact

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.errors import Misconfigured
from keeper.model import BlockRef
from keeper.tx.fees import Fees, Policy, bid, bump, market, tip
from keeper.units import GWEI

POLICY = Policy(hard_cap=500 * GWEI, tip_floor=1 * GWEI, tip_cap=10 * GWEI, percentile=50)
wei = st.integers(0, 10**13)
bids = st.tuples(wei, wei).map(lambda pair: Fees(max(pair), min(pair)))


def ref(base_fee: int, used: int) -> BlockRef:
    return BlockRef(1, b"\1" * 32, b"\0" * 32, 12, base_fee, used, gas_limit=30_000_000)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([], 1 * GWEI),
        ([0, 0, 0], 1 * GWEI),
        ([0, 4 * GWEI, 0, 2 * GWEI, 6 * GWEI], 4 * GWEI),
        ([2 * GWEI, 4 * GWEI], 2 * GWEI),
        ([1], 1 * GWEI),
        ([99 * GWEI], 10 * GWEI),
    ],
)
def test_the_tip_is_a_percentile_of_what_was_paid_between_floor_and_cap(rewards: list[int], expected: int) -> None:
    assert tip(rewards, POLICY) == expected


def test_the_market_covers_a_doubled_base_fee() -> None:
    assert market(ref(10 * GWEI, 15_000_000), [2 * GWEI], POLICY) == Fees(22 * GWEI, 2 * GWEI)


def test_a_bid_stays_below_what_the_budget_allows() -> None:
    ceiling = POLICY.ceiling(budget=300_000 * 15 * GWEI + 299_999, gas=300_000)
    assert ceiling == 15 * GWEI
    assert bid(Fees(22 * GWEI, 8 * GWEI), 10 * GWEI, ceiling) == Fees(15 * GWEI, 5 * GWEI)


def test_no_bid_when_the_budget_does_not_reach_the_base_fee() -> None:
    assert bid(Fees(22 * GWEI, 2 * GWEI), 10 * GWEI, 10 * GWEI) is None


def test_the_hard_cap_binds_any_budget() -> None:
    assert POLICY.ceiling(budget=10**24, gas=21_000) == POLICY.hard_cap


@given(old=bids, now=bids, ceiling=wei)
def test_a_bump_replaces_in_every_pool_and_never_passes_the_ceiling(old: Fees, now: Fees, ceiling: int) -> None:
    new = bump(old, now, ceiling)
    if new is None:
        assert ceiling < Fraction(11, 10) * old.max_fee or ceiling <= old.max_fee
        return
    for field in range(2):
        assert new[field] > old[field]
        assert new[field] >= Fraction(11, 10) * old[field]
    assert new.tip <= new.max_fee <= ceiling


@given(old=bids, now=bids)
def test_a_bump_reaches_the_market_when_the_ceiling_allows(old: Fees, now: Fees) -> None:
    new = bump(old, now, 10**15)
    assert new is not None
    assert new.max_fee >= now.max_fee
    assert new.tip >= now.tip


@given(now=bids)
def test_bumps_end(now: Fees) -> None:
    held: Fees | None = Fees(1 * GWEI, 1 * GWEI)
    for _ in range(70):  # 1.1 ** 66 > 500
        held = bump(held, now, POLICY.hard_cap) if held else None
    assert held is None


@given(cap=st.integers(1, 10**13))
def test_a_bid_at_the_hard_cap_can_still_be_cancelled(cap: int) -> None:
    policy = Policy(hard_cap=cap, tip_floor=1, tip_cap=1)
    assert bump(Fees(cap, cap), Fees(cap, 1), policy.noop_ceiling) is not None


@pytest.mark.parametrize("wrong", [{"tip_floor": 0}, {"tip_cap": 501 * GWEI}, {"percentile": 0}, {"percentile": 101}])
def test_a_policy_that_does_not_fit_together_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Misconfigured):
        Policy(hard_cap=500 * GWEI, **wrong)

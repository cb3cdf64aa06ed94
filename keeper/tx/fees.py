"""What to bid for gas. All amounts are wei per gas, exact.

Replacement rules of the pools (read in their sources): geth, erigon and Nethermind want both fields above the old ones
and at 110 % of them, rounding down; reth rounds up. Raising both to 110 % rounded up satisfies all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from keeper.errors import Misconfigured
from keeper.model import BlockRef
from keeper.units import GWEI, clamp

NOOP_GAS: Final = 21_000


class Fees(NamedTuple):
    """The two fields of an EIP-1559 transaction."""

    max_fee: int
    tip: int


@dataclass(frozen=True, slots=True)
class Policy:
    hard_cap: int  # no transaction bids more, whatever it could gain
    tip_floor: int = GWEI // 10
    tip_cap: int = 50 * GWEI
    percentile: int = 60  # of the tips that were paid recently
    multiple: int = 5  # of the market's bid: no replacement goes beyond, however often a node calls it too low
    free: int = 100 * GWEI  # a replacement below this is not held to the multiple

    def __post_init__(self) -> None:
        if (
            self.multiple < 2
            or not 0 < self.tip_floor <= self.tip_cap <= self.hard_cap
            or not 0 < self.percentile <= 100
        ):
            raise Misconfigured(
                f"fees do not fit together: {self}",
                help="tip floor <= tip cap <= hard cap, percentile 1 to 100, multiple at least 2",
            )

    def ceiling(self, budget: int, gas: int) -> int:
        """The most an intent may bid: its budget in wei spread over its gas limit, rounded down."""
        return min(self.hard_cap, budget // gas)

    def bounded(self, ceiling: int, market: Fees) -> int:
        """The most a replacement may bid: beyond a multiple of the market it is not the price that keeps it out."""
        return min(ceiling, max(self.free, self.multiple * market.max_fee))

    @property
    def noop_ceiling(self) -> int:
        """One step above the hard cap: a bid that stands at the cap can still be cancelled."""
        return _raised(self.hard_cap)


def tip(rewards: Sequence[int], policy: Policy) -> int:
    """The percentile (nearest rank) of the tips paid in recent blocks. Empty blocks report 0, which says nothing."""
    paid = sorted(reward for reward in rewards if reward > 0)
    wanted = paid[-(-len(paid) * policy.percentile // 100) - 1] if paid else 0
    return clamp(wanted, policy.tip_floor, policy.tip_cap)


def market(ref: BlockRef, rewards: Sequence[int], policy: Policy) -> Fees:
    """What gets in now and survives about six full blocks: twice the next base fee, plus the tip."""
    wanted = tip(rewards, policy)
    return Fees(2 * ref.next_base_fee + wanted, wanted)


def bid(market: Fees, base_fee: int, ceiling: int) -> Fees | None:
    """The first bid: the market, or what the ceiling leaves of it; None when that would not even pay ``base_fee``."""
    if ceiling <= base_fee:
        return None
    return Fees(min(market.max_fee, ceiling), min(market.tip, ceiling - base_fee))


def bump(old: Fees, market: Fees, ceiling: int, base_fee: int = 0) -> Fees | None:
    """A bid that replaces ``old`` in every pool of today and reaches the market, as far as the ceiling allows.

    None when the smallest valid replacement is above the ceiling: then the old bytes are all there is to send.
    """
    return _reaching(Fees(_raised(old.max_fee), _raised(old.tip)), market, ceiling)


def escalate(old: Fees, market: Fees, ceiling: int, base_fee: int = 0) -> Fees | None:
    """The same for pools that compare what is paid at the present base fee (older Nethermind): the tip alone must
    make up for an eighth of both."""
    extra = -(-(base_fee + old.tip) // 8)
    least = Fees(max(_raised(old.max_fee), old.max_fee + extra), max(_raised(old.tip), old.tip + extra))
    return _reaching(least, market, ceiling)


def _reaching(least: Fees, market: Fees, ceiling: int) -> Fees | None:
    if least.max_fee > ceiling:
        return None
    max_fee = min(max(least.max_fee, market.max_fee), ceiling)
    return Fees(max_fee, min(max(least.tip, market.tip), max_fee))


def _raised(fee: int) -> int:
    return max(-(-fee * 11 // 10), fee + 1)

"""What waiting in a Dutch auction is worth."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer
from keeper.protocols.options.params import AuctionParams
from keeper.protocols.options.risk import Health
from keeper.units import WAD, mul_down


@dataclass(frozen=True, slots=True)
class DutchCurve:
    """Implements ``ports.Curve``: E, Q and the fund stand still, only the clock moves."""

    health: Health
    params: AuctionParams
    fund_left: int  # usd
    started: int  # timestamp at which the live clock would have stood at 0
    share: int = WAD  # of the largest slice that is wanted

    def offer(self, at: int) -> Offer:
        """The whole offer at a timestamp."""
        rho = auction.rho_at(self.params, max(0, at - self.started))
        return auction.make_offer(self.health, self.params, rho, self.fund_left)

    def fraction(self, at: int) -> int:
        return mul_down(self.offer(at).fmax, self.share)

    def gain(self, at: int) -> int:
        """The slice at the protocol's own marks, less what is paid for it. Usd."""
        o = self.offer(at)
        return mul_down(o.equity - o.total, mul_down(o.fmax, self.share))

    def reaches(self, gain: int) -> int | None:
        low, high = self.started, self.started + self.params.t1 + self.params.t2
        if self.gain(high) < gain:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.gain(middle) >= gain else (middle + 1, high)
        return low

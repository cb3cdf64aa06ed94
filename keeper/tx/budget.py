"""What may be spent, kept by the signer: per transaction, per hour and per day, over all keys of a keeper.

Each nonce is charged once: with its dearest attempt while it may still be mined, with what it really cost afterwards.
An open nonce counts in every window. A charge leaves a window only when both the chain's clock and the machine's
say so; so neither a node that lies about the time nor a clock that is set back makes room.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from keeper.errors import Broken
from keeper.model import Address, Reason
from keeper.tx.fees import NOOP_GAS
from keeper.tx.machine import Refused
from keeper.tx.rows import Flight
from keeper.tx.settings import DAY, Limits

HOUR: Final = 3600


@dataclass(slots=True)
class Charge:
    at: int  # chain seconds
    wall: float  # unix seconds
    cost: int  # wei
    open: bool  # it may still become what was reserved for it


class Budget:
    def __init__(
        self,
        limits: Limits,
        cancel_price: int = 0,
        wall: Callable[[], float] | None = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``cancel_price``: wei per gas that the dearest no-op bids; that much is kept for each nonce, so that what
        was begun can always be cancelled. ``wall`` None: only the chain's time counts (backtests)."""
        self._limits, self._reserve = limits, NOOP_GAS * cancel_price
        self._wall, self._monotonic = wall, monotonic
        self._now = 0
        self._charges: dict[tuple[Address, int], Charge] = {}
        self._total = 0  # wei of all charges: no window holds more
        self._signed: deque[float] = deque()

    def at(self, timestamp: int) -> None:
        """The time of the head."""
        self._now = timestamp

    def allow(self, key: Address, nonce: int, worst: int, value: int) -> None:
        """Reserve ``worst`` wei for a nonce, or raise Refused. A dearer attempt takes the place of the cheaper."""
        limits, reserved = self._limits, max(worst, self._reserve)
        if limits.tx_value is not None and value > limits.tx_value:
            raise Refused(Reason.RISK_TX_LIMIT, f"value {value} wei, at most {limits.tx_value}")
        if limits.tx_cost is not None and worst > limits.tx_cost:
            raise Refused(Reason.RISK_TX_LIMIT, f"worst case {worst} wei, at most {limits.tx_cost}")
        mine = self._charges.get((key, nonce))
        reserved = max(reserved, mine.cost if mine else 0)
        highest = self._total - (mine.cost if mine else 0) + reserved
        for most, seconds in ((limits.hour_cost, HOUR), (limits.day_cost, DAY)):
            if most is not None and highest > most and self.spent(seconds, but=mine) + reserved > most:
                raise Refused(Reason.RISK_DAY_LIMIT, f"{reserved} wei more in {seconds} s, at most {most} in all")
        self._count()
        self._put((key, nonce), Charge(self._now, self._time(), reserved, open=True))

    def release(self, key: Address, nonce: int) -> None:
        """What was reserved for bytes that have never left, and never will."""
        charge = self._charges.pop((key, nonce), None)
        self._total -= charge.cost if charge else 0

    def roomy(self) -> bool:
        """Whether signatures that may never be used would leave half of this minute's to those that are."""
        return self._limits.signatures is None or 2 * self._recent() < self._limits.signatures

    def in_time(self, deadline: int | None) -> None:
        """Raises Broken unless a call's own deadline is near enough."""
        most = self._limits.deadline
        if most is not None and (deadline is None or deadline > self._now + most):
            raise Broken(f"asked to sign a call with deadline {deadline}, more than {most} s from {self._now}")

    def worth_it(self, gain: int | None) -> None:
        """Raises Refused when a purchase may bring less than the least profit, by the contract's own word."""
        least = self._limits.min_profit
        if gain is not None and gain < least:
            raise Refused(Reason.BELOW_MIN_PROFIT, f"the call may bring {gain} wad of a dollar, at least {least}")

    def note(self, key: Address, flight: Flight) -> None:
        """What became of a nonce. Until it is final its block may be lost, and it may yet cost the worst."""
        paid = flight.cost if flight.settled else None
        at = flight.at if flight.receipt is None else max(flight.at, flight.receipt.block.timestamp)
        reserved = max(flight.worst_cost, self._reserve)
        self._put((key, flight.nonce), Charge(at, flight.wall, reserved if paid is None else paid, paid is None))

    def load(self, key: Address, flights: Iterable[Flight]) -> None:
        """What an earlier process spent with a key, and what it left open."""
        for flight in flights:
            self.note(key, flight)

    def spent(self, seconds: int, but: Charge | None = None) -> int:
        """Wei within a window, open nonces in the worst case."""
        now, wall = self._now, self._time()
        return sum(
            c.cost
            for c in self._charges.values()
            if c is not but and (c.open or now - c.at < seconds or wall - c.wall < seconds)
        )

    def forget(self) -> None:
        """What is in no window any more."""
        now, wall = self._now, self._time()
        gone = [n for n, c in self._charges.items() if not c.open and now - c.at >= DAY and wall - c.wall >= DAY]
        for key in gone:
            self._total -= self._charges.pop(key).cost

    def _put(self, nonce: tuple[Address, int], charge: Charge) -> None:
        before = self._charges.get(nonce)
        self._total += charge.cost - (before.cost if before else 0)
        self._charges[nonce] = charge

    def _count(self) -> None:
        """One signature more in this minute."""
        recent = self._recent()
        if self._limits.signatures is not None and recent >= self._limits.signatures:
            raise Refused(Reason.RISK_TX_LIMIT, f"{recent} signatures within a minute")
        self._signed.append(self._monotonic())

    def _recent(self) -> int:
        """Signatures within a minute."""
        now = self._monotonic()
        while self._signed and now - self._signed[0] >= 60:
            self._signed.popleft()
        return len(self._signed)

    def _time(self) -> float:
        return float("inf") if self._wall is None else self._wall()

"""When an oracle publishes: the value has moved enough, or the last one has grown old; never too often.

Pure state machines on chain time, one per feed. Nobody publishes while the exchange gives no price: then do
not ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from keeper.simulation.surface import PPM, Smile


@dataclass(frozen=True, slots=True)
class Rule:
    """Deviation or heartbeat, whichever comes first, but never within ``minimum`` of the last one."""

    deviation: int  # ppm: of the last price for a spot; of 1.0, so vol points, for an ATM vol
    heartbeat: int  # seconds
    minimum: int = 0  # seconds


SPOT = Rule(deviation=5_000, heartbeat=60)  # 0.5 % and one minute
SMILE = Rule(deviation=20_000, heartbeat=300)  # two vol points and five minutes


class SpotMessage(NamedTuple):
    underlying: int
    spot: int  # US dollars, 8 decimals
    time: int  # chain seconds


class SmileMessage(NamedTuple):
    underlying: int
    expiry: int  # chain seconds
    smile: Smile
    time: int  # chain seconds


class _Cadence:
    """The rule, applied to one integer; ``moved(last, value, ppm)`` says how a deviation is measured."""

    def __init__(self, rule: Rule, moved: Callable[[int, int, int], bool]) -> None:
        self._rule, self._moved = rule, moved
        self._last: tuple[int, int] | None = None  # time, value

    def due(self, now: int, value: int) -> bool:
        if self._last is None:
            return True
        age = now - self._last[0]
        if age < self._rule.minimum:
            return False
        return age >= self._rule.heartbeat or self._moved(self._last[1], value, self._rule.deviation)

    def done(self, now: int, value: int) -> None:
        self._last = now, value


class SpotFeed:
    """Publishes the price of one underlying, US dollars with 8 decimals."""

    def __init__(self, underlying: int, rule: Rule = SPOT) -> None:
        self._underlying = underlying
        self._cadence = _Cadence(rule, _moved_relatively)

    def due(self, now: int, spot: int) -> bool:
        return self._cadence.due(now, spot)

    def publish(self, now: int, spot: int) -> SpotMessage:
        """The message; from now on it counts as the last one."""
        self._cadence.done(now, spot)
        return SpotMessage(self._underlying, spot, now)


class SmileFeed:
    """Publishes the smile of one expiry; its ATM vol decides when."""

    def __init__(self, underlying: int, expiry: int, rule: Rule = SMILE) -> None:
        self._underlying, self._expiry = underlying, expiry
        self._cadence = _Cadence(rule, _moved_absolutely)

    def due(self, now: int, smile: Smile) -> bool:
        """Never at or after the expiry: nothing is left to price."""
        return now < self._expiry and self._cadence.due(now, smile.atm)

    def publish(self, now: int, smile: Smile) -> SmileMessage:
        self._cadence.done(now, smile.atm)
        return SmileMessage(self._underlying, self._expiry, smile, now)


def _moved_relatively(last: int, value: int, ppm: int) -> bool:
    return abs(value - last) * PPM >= ppm * last


def _moved_absolutely(last: int, value: int, ppm: int) -> bool:
    return abs(value - last) >= ppm

"""``Oracle.sol`` in Python: the same integers, from the same messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from keeper.protocols.options.maths import exp_wad
from keeper.units import WAD, clamp


@dataclass(frozen=True, slots=True)
class Config:
    """The immutables of the contract. Seconds, except ``smile_band`` (wad)."""

    slow_t: int
    fast_t: int
    smile_t: int
    smile_band: int
    max_age: int
    smile_age: int
    window: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """Level and the seconds spent at level 3. ``running`` is the clock that stands there."""

    level: int = 0
    paused_at: int = 0  # 0: not at level 3
    paused: int = 0

    def running(self, now: int) -> int:
        return (self.paused_at or now) - self.paused


@dataclass(frozen=True, slots=True)
class Feed:
    spot: int  # 8 decimals
    time: int
    round: int
    confidence: int  # bps
    resumed: int
    dead: int
    slow: int  # wad
    fast: int  # wad
    sum: int  # 8 decimals x seconds
    running: int


@dataclass(frozen=True, slots=True)
class Smile:
    atm: int  # ppm
    skew: int  # ppm
    curv: int  # ppm
    rate: int  # ppm
    time: int
    confidence: int  # bps
    smooth: int  # wad


class Step(NamedTuple):
    """The last message before a multiple of the settlement window."""

    time: int
    spot: int
    sum: int


class Prices(NamedTuple):
    spot: int  # wad
    slow: int
    fast: int
    confidence: int  # bps
    stale: bool


class SmileNow(NamedTuple):
    atm: int  # wad
    skew: int
    curv: int
    rate: int
    confidence: int  # bps


def ewma(mean: int, price: int, dt: int, t: int) -> int:
    """``Oracle.ewma``: mean a + price (1 - a), a = exp(-dt / t), rounded down."""
    a = exp_wad(-(dt * WAD // t))
    return (mean * a + price * (WAD - a)) // WAD


def publish(
    feed: Feed | None, spot: int, time: int, confidence: int, now: int, breaker: Breaker, c: Config
) -> tuple[Feed, Step | None]:
    """``Oracle.publish``: the feed after a message, and the step it leaves behind, if any."""
    running = breaker.running(now)
    if feed is None:
        wide = spot * 10**10
        return Feed(spot, time, 1, confidence, now, 0, wide, wide, 0, running), None
    dt, last = time - feed.time, feed.spot * 10**10
    step = None
    if time // c.window != feed.time // c.window:
        step = Step(feed.time, feed.spot, feed.sum)
    lost = _lost(feed, running, c)
    after = Feed(
        spot=spot,
        time=time,
        round=feed.round + 1,
        confidence=confidence,
        resumed=now if lost else feed.resumed,
        dead=feed.dead + lost,
        slow=ewma(feed.slow, last, dt, c.slow_t),
        fast=ewma(feed.fast, last, dt, c.fast_t),
        sum=feed.sum + feed.spot * dt,
        running=running,
    )
    return after, step


def publish_smile(old: Smile | None, new: Smile, c: Config) -> Smile:
    """``Oracle.publishSmile``: ``new`` with its smooth atm filled in."""
    if old is None:
        return replace(new, smooth=new.atm * 10**12)
    return replace(new, smooth=ewma(old.smooth, old.atm * 10**12, new.time - old.time, c.smile_t))


def _lost(feed: Feed, running: int, c: Config) -> int:
    return max(0, running - feed.running - c.max_age)


def clock(feed: Feed, now: int, breaker: Breaker, c: Config) -> int:
    """``Oracle.clock``: live seconds."""
    running = breaker.running(now)
    return running - feed.dead - _lost(feed, running, c)


def prices(feed: Feed, now: int, breaker: Breaker, c: Config) -> Prices:
    """``Oracle.prices`` at ``now``."""
    spot, dt = feed.spot * 10**10, now - feed.time
    stale = breaker.level == 3 or dt > c.max_age
    return Prices(
        spot, ewma(feed.slow, spot, dt, c.slow_t), ewma(feed.fast, spot, dt, c.fast_t), feed.confidence, stale
    )


def smile(s: Smile, now: int, c: Config) -> SmileNow:
    """``Oracle.smile`` at ``now``."""
    raw = s.atm * 10**12
    smooth = ewma(s.smooth, raw, now - s.time, c.smile_t)
    atm = clamp(raw, smooth * (WAD - c.smile_band) // WAD, smooth * (WAD + c.smile_band) // WAD)
    confidence = 0 if now - s.time > c.smile_age else s.confidence
    return SmileNow(atm, s.skew * 10**12, s.curv * 10**12, s.rate * 10**12, confidence)


def observed(feed: Feed, steps: Sequence[Step], expiry: int, now: int, c: Config) -> tuple[int, int]:
    """``Oracle.observed``: (fixed part, weight of the price still to come), wad. LookupError before the feed began."""
    if now + c.window <= expiry:
        return 0, WAD
    until = min(now, expiry)
    fixed = (_sum_at(feed, steps, until) - _sum_at(feed, steps, expiry - c.window)) * 10**10 // c.window
    return fixed, (expiry - until) * WAD // c.window


def _sum_at(feed: Feed, steps: Sequence[Step], t: int) -> int:
    if t >= feed.time:
        return feed.sum + feed.spot * (t - feed.time)
    after = bisect_left(steps, t, key=lambda step: step.time)
    if after == 0:
        raise LookupError(f"no price before {t}")
    step = steps[after - 1]
    return step.sum + step.spot * (t - step.time)

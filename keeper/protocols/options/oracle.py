"""``Oracle.sol`` in Python: the same integers, from the same messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from keeper.protocols.options.maths import exp_wad, ln_wad, sqrt
from keeper.units import WAD, YEAR, clamp, wad

PACE: Final = 165_838_847_552_801  # ln(1.01) / 60, wad per second, as in ``lib/Pace.sol``
MAX_ATM: Final = 5 * WAD


@dataclass(frozen=True, slots=True)
class Config:
    """The immutables of the contract. Seconds where nothing else is said."""

    slow_t: int
    fast_t: int
    smile_t: int
    smile_band: int  # wad
    smile_step: int  # ppm
    max_age: int
    smile_age: int
    window: int
    rise_t: int
    fall_t: int
    premium: int  # wad
    trip: int  # wad
    trip_for: int
    first_band: int  # wad
    delay: int


REALISTIC: Final = Config(  # for a chain with 12 s blocks
    slow_t=300,
    fast_t=60,
    smile_t=600,
    smile_band=wad("0.10"),
    smile_step=20_000,
    max_age=300,
    smile_age=1_200,
    window=1_800,
    rise_t=1_800,
    fall_t=21_600,
    premium=wad("1.25"),
    trip=wad("0.15"),
    trip_for=300,
    first_band=wad("0.20"),
    delay=172_800,
)
LOCAL: Final = replace(  # for worlds on a local node, which play ten times as fast
    REALISTIC,
    slow_t=30,
    fast_t=6,
    smile_t=60,
    max_age=30,
    smile_age=240,
    window=60,
    rise_t=180,
    fall_t=2_160,
    trip_for=30,
    delay=0,
)


@dataclass(frozen=True, slots=True)
class Breaker:
    """``Oracle.Breaker``. ``running`` is the clock that stands at level 3."""

    raised: int = 0
    paused_at: int = 0  # 0: not at level 3
    paused: int = 0
    trip_until: int = 0
    lowered: int = 0
    frozen: int = 0  # a bit per underlying
    probation: int = 0

    def running(self, now: int) -> int:
        return (self.paused_at or now) - self.paused

    def level(self, now: int) -> int:
        """``Oracle.level``."""
        return max(self.raised, 2 if now < self.trip_until else 0)

    @property
    def calm_since(self) -> int:
        return max(self.lowered, self.trip_until)

    def is_frozen(self, underlying: int) -> bool:
        return bool(self.frozen >> underlying & 1)


@dataclass(frozen=True, slots=True)
class Feed:
    """``Oracle.Feed``. ``round`` 0: registered, but without a price."""

    spot: int  # 8 decimals
    time: int
    round: int
    confidence: int  # bps
    resumed: int
    dead: int
    usual: int  # ppm
    slow: int  # wad
    fast: int  # wad
    variance: int  # 1e-12 per year
    sum: int  # 8 decimals x seconds
    running: int
    peak: int  # 1e-12 per year
    eased: int  # 1e-9


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


class Stress(NamedTuple):
    """What volatility does to the scenarios; all wad."""

    sigma: int
    at_once: int
    eased: int


class SmileNow(NamedTuple):
    atm: int  # wad
    skew: int
    curv: int
    rate: int
    confidence: int  # bps


# ─── publication ──────────────────────────────────────────────────────────────────────────────────


def registered(usual: int) -> Feed:
    """``Oracle.register``. ``usual``: ppm."""
    return Feed(0, 0, 0, 0, 0, 0, usual, 0, 0, 0, 0, 0, 0, 0)


def publish(
    feed: Feed, spot: int, time: int, confidence: int, now: int, breaker: Breaker, c: Config
) -> tuple[Feed, Step | None]:
    """``Oracle.publish``: the feed after a message, and the step it leaves behind, if any."""
    if feed.round == 0:
        wide, variance = spot * 10**10, feed.usual**2
        running = breaker.running(now)
        return Feed(
            spot, time, 1, confidence, now, 0, feed.usual, wide, wide, variance, 0, running, variance, 10**9
        ), None
    after, step = _advance(feed, time, now, breaker, c)
    variance = after.variance
    if spot != feed.spot:
        variance = min(variance + _jump(feed, spot, time - feed.time, c), 2**64 - 1)
    peak = max(after.peak, variance)
    return replace(after, spot=spot, round=feed.round + 1, confidence=confidence, variance=variance, peak=peak), step


def _advance(feed: Feed, time: int, now: int, breaker: Breaker, c: Config) -> tuple[Feed, Step | None]:
    """``Oracle._advance``: the feed as it stands at ``time``, its price held until then."""
    dt, last = time - feed.time, feed.spot * 10**10
    live, running = min(dt, c.max_age), breaker.running(now)
    step = Step(feed.time, feed.spot, feed.sum) if time // c.window != feed.time // c.window else None
    lost = _lost(feed, running, c)
    after = replace(
        feed,
        time=time,
        resumed=now if lost else feed.resumed,
        dead=feed.dead + lost,
        slow=ewma(feed.slow, last, dt, c.slow_t),
        fast=ewma(feed.fast, last, dt, c.fast_t),
        variance=decay(feed.variance, live, c.rise_t),
        sum=feed.sum + feed.spot * dt,
        running=running,
        peak=decay(feed.peak, live, c.fall_t),
    )
    return replace(after, eased=_eased(feed, after.peak, live)), step


def _jump(feed: Feed, spot: int, dt: int, c: Config) -> int:
    """``Oracle._jump``: the squared return, annualised over ``rise_t``; of an outage only the live share."""
    r = ln_wad(max(1, spot * WAD // feed.spot))
    return r * r // 10**24 * YEAR * min(dt, c.max_age) // (c.rise_t * dt)


def freeze(feed: Feed, now: int, breaker: Breaker, c: Config) -> tuple[Feed, Step | None]:
    """``Oracle.freeze``: the slow mark stands in for the price. ``breaker`` is that from before."""
    after, step = _advance(feed, now, now, breaker, c)
    return replace(after, spot=max(1, after.slow // 10**10)), step


def thaw(feed: Feed, now: int, breaker: Breaker) -> Feed:
    """``Oracle._thaw``."""
    running = breaker.running(now)
    return replace(feed, dead=feed.dead + running - feed.running, running=running, resumed=now)


def publish_smile(old: Smile | None, new: Smile, feed: Feed, c: Config) -> Smile:
    """``Oracle.publishSmile``: ``new`` with its smooth atm filled in, skew and curvature no further than a step."""
    if old is None:
        return replace(new, smooth=new.atm * 10**12)
    smooth, _ = _smooth(old, feed, new.time, c)
    skew, curv = (
        clamp(to, at - c.smile_step, at + c.smile_step) for at, to in ((old.skew, new.skew), (old.curv, new.curv))
    )
    return replace(new, smooth=smooth, skew=skew, curv=curv)


# ─── marks and volatility ─────────────────────────────────────────────────────────────────────────


def ewma(mean: int, price: int, dt: int, t: int) -> int:
    """``Oracle.ewma``: mean a + price (1 - a), a = exp(-dt / t), rounded down."""
    if mean == price:
        return mean
    a = exp_wad(-(dt * WAD // t))
    return (mean * a + price * (WAD - a)) // WAD


def decay(x: int, dt: int, t: int) -> int:
    """x exp(-dt / t), rounded down."""
    return x * exp_wad(-(dt * WAD // t)) // WAD


def growth(dt: int) -> int:
    """``Pace.growth``: 1 % a minute, compounding; wad."""
    return exp_wad(dt * PACE) if dt else WAD


def _root(variance: int) -> int:
    """wad, from a variance in 1e-12."""
    return sqrt(variance * 10**24)


def _ratio(feed: Feed, peak: int) -> int:
    """1e-9: sigma over the usual volatility, at least 1."""
    return clamp(_root(peak) // (feed.usual * 10**3), 10**9, 2**40 - 1)


def _eased(feed: Feed, peak: int, live: int) -> int:
    """1e-9: the old factor grown for ``live`` seconds, or the ratio at their end where that is lower."""
    return min(feed.eased * growth(live) // WAD, _ratio(feed, peak))


def stress(feed: Feed, now: int, c: Config) -> Stress:
    """``Oracle.stress`` at ``now``."""
    live = min(now - feed.time, c.max_age)
    peak = decay(feed.peak, live, c.fall_t)
    return Stress(_root(peak), _ratio(feed, peak) * 10**9, _eased(feed, peak, live) * 10**9)


def prices(feed: Feed, underlying: int, now: int, breaker: Breaker, c: Config) -> Prices:
    """``Oracle.prices`` at ``now``."""
    spot, dt = feed.spot * 10**10, now - feed.time
    stale = breaker.raised == 3 or breaker.is_frozen(underlying) or dt > c.max_age
    return Prices(
        spot, ewma(feed.slow, spot, dt, c.slow_t), ewma(feed.fast, spot, dt, c.fast_t), feed.confidence, stale
    )


def smile(s: Smile, feed: Feed, now: int, c: Config) -> SmileNow:
    """``Oracle.smile`` at ``now``."""
    smooth, drawn = _smooth(s, feed, now, c)
    atm = clamp(drawn, smooth * (WAD - c.smile_band) // WAD, smooth * (WAD + c.smile_band) // WAD)
    confidence = 0 if now - s.time > c.smile_age else s.confidence
    return SmileNow(atm, s.skew * 10**12, s.curv * 10**12, s.rate * 10**12, confidence)


def _smooth(s: Smile, feed: Feed, t: int, c: Config) -> tuple[int, int]:
    """``Oracle._smooth``: the smooth atm at ``t``, and what it is drawn to; wad."""
    atm, age = s.atm * 10**12, t - s.time
    if age <= c.smile_age:
        return ewma(s.smooth, atm, age, c.smile_t), atm
    smooth = ewma(s.smooth, atm, c.smile_age, c.smile_t)
    atm = _fallback(feed, t, c)
    return ewma(smooth, atm, age - c.smile_age, c.smile_t), atm


def _fallback(feed: Feed, t: int, c: Config) -> int:
    """premium x the greater of sigma and the usual volatility, wad."""
    sigma = _root(decay(feed.peak, clamp(t - feed.time, 0, c.max_age), c.fall_t))
    return min(max(sigma, feed.usual * 10**12) * c.premium // WAD, MAX_ATM)


# ─── live clock ───────────────────────────────────────────────────────────────────────────────────


def _lost(feed: Feed, running: int, c: Config) -> int:
    return max(0, running - feed.running - c.max_age)


def clock(feed: Feed, underlying: int, now: int, breaker: Breaker, c: Config) -> int:
    """``Oracle.clock``: live seconds."""
    running = feed.running if breaker.is_frozen(underlying) else breaker.running(now)
    return running - feed.dead - _lost(feed, running, c)


# ─── settlement ───────────────────────────────────────────────────────────────────────────────────


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

"""``Oracle.sol`` in Python: the same integers, from the same messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from keeper.protocols.options.maths import exp_wad, growth, ln_wad, sqrt
from keeper.units import WAD, YEAR, clamp, wad

MAX_ATM: Final = 5 * WAD
ONE: Final = 10**9  # of the factors in a feed
FEEDS: Final = 4
QUOTES: Final = 1 << 8  # feeds at moments: screen and exact telling ask for the same, in several modes


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
    """``Oracle.Breaker``."""

    raised: int = 0
    trip_until: int = 0
    lowered: int = 0

    def level(self, now: int) -> int:
        """``Oracle.level``."""
        return max(self.raised, 2 if now < self.trip_until else 0)

    @property
    def calm_since(self) -> int:
        return max(self.lowered, self.trip_until)


@dataclass(frozen=True, slots=True)
class Feed:
    """``Oracle.Feed``. ``time`` 0: registered, but without a price."""

    spot: int  # 8 decimals
    time: int
    round: int
    confidence: int  # bps
    sum: int  # 8 decimals x seconds
    slow: int  # 12 decimals
    fast: int  # 12 decimals
    variance: int  # 1e-9 per year
    peak: int  # 1e-9 per year
    eased: int  # 1e-9
    usual: int  # ppm
    resumed: int
    dead: int
    stopped: int
    frozen: bool
    probation: bool


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
    return Feed(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, usual, 0, 0, 0, False, False)


def publish(feed: Feed, spot: int, time: int, confidence: int, now: int, c: Config) -> tuple[Feed, Step | None]:
    """``Oracle.publish``: the feed after a message, and the step it leaves behind, if any."""
    if not feed.time:
        return _first(feed, spot, time, confidence, now), None
    after, step = _advance(feed, time, now, c)
    variance = after.variance
    if spot != feed.spot:
        variance = min(variance + _jump(feed, spot, time - feed.time, c), 2**48 - 1)
    peak, round_ = max(after.peak, variance), (feed.round + 1) % 2**24
    return replace(
        after, spot=spot, round=round_, confidence=confidence, variance=variance, peak=peak, probation=False
    ), step


def _first(feed: Feed, spot: int, time: int, confidence: int, now: int) -> Feed:
    mark = spot * 10**4
    return replace(
        feed,
        spot=spot,
        time=time,
        round=1,
        confidence=confidence,
        slow=mark,
        fast=mark,
        peak=feed.usual**2 // 10**3,
        eased=ONE,
        resumed=now,
    )


def _advance(feed: Feed, time: int, now: int, c: Config) -> tuple[Feed, Step | None]:
    """``Oracle._advance``: the feed as it stands at ``time``, its price held until then."""
    dt, last = time - feed.time, feed.spot * 10**4
    live, lost = min(dt, c.max_age), _lost(feed, now, c)
    step = Step(feed.time, feed.spot, feed.sum) if time // c.window != feed.time // c.window else None
    after = replace(
        feed,
        time=time,
        sum=feed.sum + feed.spot * dt,
        slow=ewma(feed.slow, last, dt, c.slow_t),
        fast=ewma(feed.fast, last, dt, c.fast_t),
        variance=decay(feed.variance, live, c.rise_t),
        peak=decay(feed.peak, live, c.fall_t),
        resumed=now if lost else feed.resumed,
        dead=feed.dead + lost,
    )
    return replace(after, eased=_eased(feed, after.peak, live)), step


def _jump(feed: Feed, spot: int, dt: int, c: Config) -> int:
    """``Oracle._jump``: the squared return, annualised over ``rise_t``; of an outage only the live share."""
    r = ln_wad(spot * WAD // feed.spot)
    return r * r * YEAR * min(dt, c.max_age) // (c.rise_t * dt * 10**27)


def freeze(feed: Feed, now: int, c: Config) -> tuple[Feed, Step | None]:
    """``Oracle.freeze``: the slow mark stands in for the price."""
    after, step = _advance(stop(feed, now, c), now, now, c)
    return replace(after, spot=max(1, after.slow // 10**4), frozen=True), step


def thaw(feed: Feed, now: int, breaker: Breaker) -> Feed:
    """``Oracle._thaw``."""
    return resume(replace(feed, frozen=False, probation=True), now, breaker)


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
    a = _left(dt, t)
    return (mean * a + price * (WAD - a)) // WAD


def decay(x: int, dt: int, t: int) -> int:
    """x exp(-dt / t), rounded down."""
    return x * _left(dt, t) // WAD


@lru_cache(maxsize=1 << 12)
def _left(dt: int, t: int) -> int:
    """exp(-dt / t), wad; smiles and marks of one age ask for the same."""
    return exp_wad(-(dt * WAD // t))


def _root(variance: int) -> int:
    """wad, from a variance in 1e-9."""
    return sqrt(variance * 10**27)


def _ratio(feed: Feed, peak: int) -> int:
    """1e-9: sigma over the usual volatility, at least 1 and at most 4."""
    return clamp(_root(peak) // (feed.usual * 10**3), ONE, 4 * ONE)


def _eased(feed: Feed, peak: int, live: int) -> int:
    """1e-9: the old factor grown for ``live`` seconds, or the ratio at their end where that is lower."""
    return min(feed.eased * growth(live) // WAD, _ratio(feed, peak))


@lru_cache(maxsize=QUOTES)
def stress(feed: Feed, now: int, c: Config) -> Stress:
    """``Oracle.stress`` at ``now``."""
    live = min(now - feed.time, c.max_age)
    peak = decay(feed.peak, live, c.fall_t)
    return Stress(_root(peak), _ratio(feed, peak) * 10**9, _eased(feed, peak, live) * 10**9)


@lru_cache(maxsize=QUOTES)
def prices(feed: Feed, now: int, c: Config) -> Prices:
    """``Oracle.prices`` at ``now``."""
    spot, dt = feed.spot * 10**10, now - feed.time
    slow, fast = ewma(feed.slow * 10**6, spot, dt, c.slow_t), ewma(feed.fast * 10**6, spot, dt, c.fast_t)
    return Prices(spot, slow, fast, feed.confidence, stale=bool(feed.stopped) or dt > c.max_age)


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
    atm = _fallback(feed, t, atm, c)
    return ewma(smooth, atm, age - c.smile_age, c.smile_t), atm


def _fallback(feed: Feed, t: int, atm: int, c: Config) -> int:
    """premium x realised volatility, wad; not below the last published atm, and not above twice that."""
    realised = _root(decay(feed.variance, clamp(t - feed.time, 0, c.max_age), c.rise_t))
    return clamp(realised * c.premium // WAD, atm, min(2 * atm, MAX_ATM))


# ─── live clock ───────────────────────────────────────────────────────────────────────────────────


def _lost(feed: Feed, now: int, c: Config) -> int:
    return 0 if feed.stopped else max(0, now - max(feed.time + c.max_age, feed.resumed))


def clock(feed: Feed, now: int, c: Config) -> int:
    """``Oracle.clock``: live seconds."""
    return (feed.stopped or now) - feed.dead - _lost(feed, now, c)


def stop(feed: Feed, now: int, c: Config) -> Feed:
    """``Oracle._stop``."""
    if feed.stopped or not feed.time:
        return feed
    return replace(feed, dead=feed.dead + _lost(feed, now, c), stopped=now)


def resume(feed: Feed, now: int, breaker: Breaker) -> Feed:
    """``Oracle._resume``."""
    if not feed.stopped or feed.frozen or breaker.raised == 3:
        return feed
    return replace(feed, dead=feed.dead + now - feed.stopped, stopped=0, resumed=now)


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

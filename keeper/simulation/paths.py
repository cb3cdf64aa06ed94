"""Price paths: one price per underlying and block, made up or walked along recorded candles.

A path is data. Whoever plays it decides when a block is mined and when the oracle publishes.
"""

from __future__ import annotations

import gzip
import math
import os
import pathlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from keeper.errors import Misconfigured

HEADER: Final = "open_time_ms,open,high,low,close,volume"
LOCAL: Final = 25  # blocks: five minutes of 12 s
INTERVALS: Final = (60_000, 300_000)  # ms: candles of one and of five minutes

# The worst fall of ETH within one hour on 5 August 2024 and on 19 May 2021; 12 March 2020 lies between.
WORST_HOUR: Final = (0.215, 0.308)

# 12-13 March 2020 as (part of the day, log price): slow decline, first crash, weak rebound, long drift,
# second crash in two steps, sharp rebound.
_SHAPE: Final = (
    (0.00, 0.00),
    (0.36, -0.13),
    (0.366, -0.32),
    (0.385, -0.40),
    (0.43, -0.32),
    (0.62, -0.31),
    (0.78, -0.41),
    (0.79, -0.56),
    (0.845, -0.57),
    (0.852, -0.79),
    (0.89, -0.49),
    (1.00, -0.45),
)
_CALM_JUMPS, _WAVE_JUMPS = 20.0, 400.0  # per day
_CHILDREN, _MEMORY = 0.5, 0.01  # jumps that a jump causes, and within what part of a day
_JUMP, _CALM_VOL = 0.006, 0.05  # mean size of a jump; volatility per root day


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Immutable columns, one row per block."""

    times: NDArray[np.int64]  # chain seconds, strictly rising
    prices: NDArray[np.float64]  # (blocks, underlyings), US dollars, rounded to the feeds' 8 decimals
    outage: NDArray[np.bool_]  # the exchange gives no price: the last one stands, and nobody publishes it

    def __post_init__(self) -> None:
        for column in (self.times, self.prices, self.outage):
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.times)

    def spot(self, step: int, underlying: int) -> int:
        """The price as a feed publishes it: US dollars with 8 decimals, rounded to nearest."""
        return round(float(self.prices[step, underlying]) * 10**8)


@dataclass(frozen=True, slots=True)
class Follow:
    """How further underlyings go with the first: ``r = beta r1 + noise s z``, z normal.

    ``s`` is the first one's volatility over the last LOCAL blocks. The defaults are BTC against ETH on
    12 March 2020: returns over five minutes have beta 0.86 and correlation 0.89.
    """

    beta: float = 0.86
    noise: float = 0.44


def jump_diffusion(
    seed: int,
    steps: int,
    dt: int,
    spots: Sequence[float],
    *,
    start: int = 0,
    worst_hour: float | None = None,
    follow: Follow = Follow(),
) -> Path:
    """A crash like 12 March 2020: two waves of falls, a partial rebound after each, jumps that cause jumps.

    The path stands for one day, whatever its length: ``steps * dt`` below 86,400 s is that day played faster.
    ``worst_hour`` is the largest fall of the first underlying within a 24th of the path, drawn from WORST_HOUR
    when not given: log falls of all windows scale alike, so one factor sets it exactly.
    """
    if steps < 96 or dt < 1 or not spots or min(spots) <= 0:
        raise Misconfigured(
            f"a crash of {steps} blocks of {dt} s from {list(spots)} US dollars",
            help="take at least 96 blocks of 1 s or more, and prices above 0",
        )
    if worst_hour is not None and not 0 < worst_hour < 1:
        raise Misconfigured(f"a worst fall of {worst_hour}", help="give a fraction between 0 and 1, such as 0.27")
    rng = np.random.Generator(np.random.PCG64(seed))
    target = rng.uniform(*WORST_HOUR) if worst_hour is None else worst_hour
    shape, waves = _shape(rng, steps)
    walk = shape + np.cumsum(_noise(rng, steps, waves))
    walk *= math.log1p(-target) / _deepest(walk, max(1, steps // 24))
    logs = np.column_stack([walk, *(_follower(rng, walk, follow) for _ in spots[1:])])
    times = start + dt * np.arange(steps, dtype=np.int64)
    return Path(times, _rounded(np.asarray(spots) * np.exp(logs - logs[0])), np.zeros(steps, np.bool_))


def window(path: Path, blocks: int, window: int) -> Path:
    """The ``blocks`` around the worst fall within ``window`` blocks: a fifth of them before it begins."""
    logs = np.log(path.prices[:, 0])
    ahead = np.lib.stride_tricks.sliding_window_view(logs, min(window, len(logs)))
    worst = int((ahead.min(axis=1) - ahead[:, 0]).argmin())
    first = min(max(0, worst - blocks // 5), max(0, len(path) - blocks))
    rows = slice(first, first + blocks)
    return Path(path.times[rows].copy(), path.prices[rows].copy(), path.outage[rows].copy())


def worst_fall(prices: NDArray[np.float64], window: int) -> float:
    """The largest fall, as a fraction, from any price to one at most ``window`` steps later."""
    return -math.expm1(_deepest(np.log(prices), window))


def candles(
    files: Sequence[str | os.PathLike[str]],
    start: int,
    steps: int,
    dt: int,
    *,
    speed: int = 1,
    begin: int | None = None,
    followers: Sequence[float] = (),
    follow: Follow = Follow(),
    seed: int = 0,
) -> Path:
    """Recorded candles, one file per underlying, walked open, extreme, extreme, close and sampled at block times.

    ``start`` is the moment in the files (Unix seconds) of the first block, whose chain time is ``begin``
    (None: the same); ``speed`` market seconds pass per chain second. ``followers`` are the first
    prices of underlyings without a file, which follow the first one. Missing candles are an outage: the last close
    stands until the next open. Raises Misconfigured, with file and line, for files that cannot be used.
    """
    if not files or min(steps, dt, speed) < 1 or min(followers, default=1) <= 0:
        raise Misconfigured(
            f"{len(files)} candle files, {steps} blocks of {dt} s, followers from {list(followers)} US dollars",
            help="give a file, at least one block and prices above 0",
        )
    market = start + speed * dt * np.arange(steps, dtype=np.int64)
    walks = [_sample(pathlib.Path(file), market) for file in files]
    rng = np.random.Generator(np.random.PCG64(seed))
    leader = np.log(walks[0][0])
    extra = [spot * np.exp(_follower(rng, leader, follow)) for spot in followers]
    prices = np.column_stack([*(walk[0] for walk in walks), *extra])
    times = (start if begin is None else begin) + dt * np.arange(steps, dtype=np.int64)
    return Path(times, _rounded(prices), np.logical_or.reduce([walk[1] for walk in walks]))


def before_worst(file: str | os.PathLike[str], span: int) -> int:
    """Where ``span`` seconds should start in a file of candles: a fifth of them before its worst fall in a twelfth."""
    rows, interval = _read(pathlib.Path(file))
    logs = np.log(rows[:, 4])
    ahead = np.lib.stride_tricks.sliding_window_view(logs, min(len(logs), max(2, span * 1000 // interval // 12)))
    worst = int((ahead.min(axis=1) - ahead[:, 0]).argmin())
    first, end = int(rows[0, 0]) // 1000, (int(rows[-1, 0]) + interval) // 1000
    return max(first, min(int(rows[worst, 0]) // 1000 - span // 5, end - span))


def _rounded(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the feeds' 8 decimals, which also hides last-bit differences between platforms."""
    return np.round(prices, 8)


# ─── the made-up crash ────────────────────────────────────────────────────────────────────────────


def _shape(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The trend in log price, and how much of a wave each step is in (0 to 1); corners moved by the seed."""
    at, level = np.array(_SHAPE).T
    shift = rng.uniform(-0.04, 0.04, 2)  # of each wave, in days
    at = at + np.concatenate(([0.0], np.repeat(shift, 5), [0.0]))
    level = np.concatenate(([0.0], np.cumsum(np.diff(level) * rng.uniform(0.85, 1.15, len(level) - 1))))
    day = (np.arange(steps) + 0.5) / steps
    trend = np.interp(day, at, level)
    wave = [np.exp(-(((day - at[i]) / 0.03) ** 2)) for i in (3, 9)]
    return trend, np.maximum(*wave)


def _noise(rng: np.random.Generator, steps: int, waves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log returns around the trend: diffusion and self-exciting jumps, both livelier in the waves."""
    dt = 1 / steps
    draws, sizes, signs = rng.random(steps), rng.exponential(_JUMP, steps), rng.random(steps)
    fade, kick = math.exp(-dt / _MEMORY), _CHILDREN / _MEMORY
    excited, rates = 0.0, np.empty(steps)
    for i in range(steps):
        rates[i] = _CALM_JUMPS + _WAVE_JUMPS * float(waves[i]) + excited
        jumped = draws[i] < rates[i] * dt
        excited = (excited + kick * jumped) * fade
    down = np.where(signs < 0.5 + 0.1 * waves, -1.0, 1.0)
    jumps = np.where(draws < rates * dt, down * sizes, 0.0)
    diffusion = _CALM_VOL * np.sqrt(dt * rates / _CALM_JUMPS / 4) * rng.standard_normal(steps)
    return np.asarray(jumps + diffusion)


def _deepest(logs: NDArray[np.float64], window: int) -> float:
    """The most negative log return over at most ``window`` steps."""
    padded = np.concatenate((np.full(window, -np.inf), logs))
    highs = np.lib.stride_tricks.sliding_window_view(padded, window + 1).max(axis=1)
    return float((logs - highs).min())


def _follower(rng: np.random.Generator, leader: NDArray[np.float64], follow: Follow) -> NDArray[np.float64]:
    """Log price relative to its first, given the leader's; stands still while the leader does."""
    returns = np.diff(leader, prepend=leader[0])
    before = np.concatenate((np.full(LOCAL, leader[0]), leader))[: len(leader)]
    squares = (leader - before) ** 2 / LOCAL  # over LOCAL blocks, so that a steady fall counts in full
    local = np.sqrt(np.convolve(squares, np.full(LOCAL, 1 / LOCAL))[: len(leader)])
    own = follow.noise * local * rng.standard_normal(len(returns)) * (returns != 0)
    return np.cumsum(follow.beta * returns + own)


# ─── recorded candles ─────────────────────────────────────────────────────────────────────────────


def _sample(file: pathlib.Path, market: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Prices and outages of one file at the given Unix seconds."""
    rows, interval = _read(file)
    opens, ends = rows[:, 0], rows[:, 0] + interval
    _check_span(file, market, float(opens[0]) / 1000, float(ends[-1]) / 1000)
    knots, prices = _walk(rows, interval)
    at = market * 1000.0
    row = np.searchsorted(opens, at, side="right") - 1
    return np.interp(at, knots, prices), at >= ends[row]


def _walk(rows: NDArray[np.float64], interval: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (ms, price) of the walk. A candle that falls is taken to have seen its high first.

    The close is reached in the candle's last millisecond and held to the last one before the next open.
    """
    opens, first, high, low, last = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4]
    falls = last < first
    extremes = np.where(falls, high, low), np.where(falls, low, high)
    times = [opens, opens + interval / 3, opens + interval * 2 / 3, opens + interval - 1]
    held = np.append(opens[1:], opens[-1] + interval) - 0.5
    knots = np.column_stack([*times, held])
    return knots.ravel(), np.column_stack([first, *extremes, last, last]).ravel()


def _read(file: pathlib.Path) -> tuple[NDArray[np.float64], int]:
    """All candles of a file, and their interval in ms."""
    try:
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
            rows = _parse(file, lines)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise Misconfigured(f"{file}: cannot be read: {error}", help="give candles as .csv or .csv.gz") from error
    gaps = np.diff(rows[:, 0])
    interval = int(gaps.min(initial=np.inf)) if len(gaps) else 0
    if interval not in INTERVALS:
        raise _bad(file, 2, f"candles are {interval / 1000:g} s apart", "give candles of one or five minutes")
    if (stray := np.flatnonzero(gaps % interval)).size:
        raise _bad(file, int(stray[0]) + 3, f"off the grid of {interval // 1000} s", "remove the candle")
    return rows, interval


def _parse(file: pathlib.Path, lines: Iterable[str]) -> NDArray[np.float64]:
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if number == 1:
            if line.strip() != HEADER:
                raise _bad(file, 1, f"the header is {line.strip()[:80]!r}", f"make it {HEADER}")
            continue
        row = _candle(file, number, line)
        if rows and row[0] <= rows[-1][0]:
            raise _bad(file, number, "not later than the candle before", "sort the lines, remove repeated ones")
        rows.append(row)
    if not rows:
        raise _bad(file, 1, "no candles", "give a file with candles")
    return np.array(rows)


def _candle(file: pathlib.Path, number: int, line: str) -> list[float]:
    fields = line.strip().split(",")
    if len(fields) != 6:
        raise _bad(file, number, f"{len(fields)} fields instead of 6", f"columns are {HEADER}")
    try:
        row = [float(field) for field in fields]
    except ValueError as error:
        raise _bad(file, number, str(error), "give plain numbers") from None
    _, first, high, low, last, _ = row
    if not all(map(math.isfinite, row)) or not 0 < low <= min(first, last) <= max(first, last) <= high:
        raise _bad(file, number, "open and close are not between low and high, above 0", "correct or remove the line")
    return row


def _check_span(file: pathlib.Path, market: NDArray[np.int64], first: float, end: float) -> None:
    if market[0] < first or market[-1] >= end:
        raise Misconfigured(
            f"{file}: covers {_utc(first)} to {_utc(end)}, the path {_utc(market[0])} to {_utc(market[-1])}",
            help="choose another start or fewer blocks, or leave the file out and let the underlying follow",
        )


def _bad(file: pathlib.Path, line: int, what: str, fix: str) -> Misconfigured:
    return Misconfigured(f"{file}, line {line}: {what}", help=fix)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")

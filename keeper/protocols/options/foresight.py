"""What comes next: how far each account is from its breach, and what the whole book does in a fall or a rise.

Every level of a ladder is a market of its own (``whatif.moved``), valued by the same columns that screen; what is shown
of single accounts is then found exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, log, sqrt
from typing import Final, cast

import numpy as np

from keeper.margin import cascade, passage, shortfall
from keeper.margin.black76 import Floats
from keeper.margin.cascade import Ladder, Pool
from keeper.margin.merton import Jumps, below
from keeper.margin.portfolio import Health
from keeper.margin.shortfall import Shortfall
from keeper.model import HealthReport, Key, Moment
from keeper.ports import Columns as ColumnsPort
from keeper.ports import View
from keeper.protocols.options import oracle
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.records import State
from keeper.protocols.options.risk import Price
from keeper.protocols.options.whatif import moved
from keeper.units import WAD, YEAR

_DOWN: Final = (0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.725, 0.75, 0.775, 0.8, 0.82, 0.84, 0.86, 0.88)
_NEAR: Final = (0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995)
LEVELS: Final = np.array([*_DOWN, *_NEAR, 1.0, *(1 / x for x in reversed((*_DOWN[1:], *_NEAR)))])
TODAY: Final = int(np.flatnonzero(LEVELS == 1.0)[0])
VOLS: Final = (0.8, 1.0, 1.25, 1.5, 2.0)  # factors of the at-the-money vols in a breach surface
STEPS: Final = 10  # of the exact search between two levels
DAY: Final = 86_400 / YEAR
STILL: Final = 1e-6  # a year; what a volatility of 0 counts as where accounts are put in order
LOUDEST: Final = 3.0  # factor of the vols in a fall

Judge = Callable[[View, Key, Moment], HealthReport]


@dataclass(frozen=True)
class Breach:
    """One account. Moves are factors of all prices together, NaN for none within the ladder."""

    key: Key
    health: float  # equity / requirement
    falls: float
    rises: float
    sigma: float  # a year; at the money, of the underlying that it has most of
    surface: Mapping[float, tuple[float, float]]  # factor of the vols -> (falls, rises), from the ladder

    @property
    def walls(self) -> tuple[float, float]:
        """Distances in the logarithm of the price; inf for none."""
        falls, rises = (inf if isnan(x) else abs(log(x)) for x in (self.falls, self.rises))
        return falls, rises

    @property
    def distance(self) -> float:
        """Standard deviations of one day to the nearer one."""
        return min(self.walls) / (self.sigma * sqrt(DAY)) if self.sigma else inf

    @property
    def day(self) -> float:
        """Probability of the breach within a day, without drift and jumps."""
        return passage.probability(*self.walls, self.sigma * sqrt(DAY))

    @property
    def even(self) -> float:
        """Seconds after which the breach is as likely as not."""
        return passage.even(*self.walls, self.sigma) * YEAR


@dataclass(frozen=True)
class Climb:
    """All accounts at all levels. K levels, N accounts that have numbers, U underlyings."""

    accounts: Sequence[int]
    equity: Floats  # (K, N)
    mm: Floats
    delta: Floats  # (K, N, U)
    left_out: int  # accounts that cannot be valued

    def health(self, i: int) -> float:
        """Equity over requirement, today."""
        return float(self.equity[TODAY, i] / self.mm[TODAY, i]) if self.mm[TODAY, i] > 0 else inf

    def breaches(self) -> tuple[Floats, Floats]:
        """(falls, rises) as ``Ladder.breaches``."""
        return self.ladder(0, 1.0).breaches()

    def ladder(self, u: int, price: float) -> Ladder:
        return Ladder(price, LEVELS, self.equity - self.mm, self.delta[:, :, u])


def climb(
    columns: ColumnsPort, view: View, at: Moment, underlyings: Sequence[int], vol: Callable[[float], float]
) -> Climb:
    """The book at every level of these prices; ``vol`` is the factor of the vols at a level."""
    held = cast(Columns, columns)
    found = [held.assess(State(moved(view, underlyings, float(f), vol(float(f)))), at, Price.TRIGGER) for f in LEVELS]
    return _whole(held.accounts, found)


def _whole(accounts: Sequence[int], found: Sequence[Health]) -> Climb:
    """Accounts that have no number at some level are left out, and counted."""
    equity, mm = (np.stack([np.asarray(getattr(h, name)) for h in found]) for name in ("equity", "mm"))
    delta = np.stack([h.delta for h in found])
    good = np.isfinite(equity).all(axis=0) & np.isfinite(mm).all(axis=0) & np.isfinite(delta).all(axis=(0, 2))
    kept = [account for account, ok in zip(accounts, good, strict=True) if ok]
    return Climb(kept, equity[:, good], mm[:, good], delta[:, good], int((~good).sum()))


def flat(_: float) -> float:
    """Vols stand still."""
    return 1.0


def nearest(judge: Judge, columns: ColumnsPort, view: View, at: Moment, count: int) -> list[Breach]:
    """The accounts whose breach is the likeliest within a day, the likeliest first; those in breach already too."""
    everything = range(len(State(view).params(State(view).version()).risk.depths))
    plain = climb(columns, view, at, everything, flat)
    if not plain.accounts:
        return []
    sigmas, moves = _main_sigmas(plain, State(view), at), plain.breaches()
    near = np.fmin(*(np.abs(np.log(side)) for side in moves)) / np.maximum(sigmas, STILL)
    rows = [int(i) for i in np.argsort(near, kind="stable")[:count] if np.isfinite(near[i])]
    loud = [(v, _louder(plain, v, columns, view, at, everything)) for v in VOLS]
    found = []
    for i in rows:
        key = Key("account", plain.accounts[i])
        falls, rises = (_exact(judge, view, key, at, everything, float(side[i])) for side in moves)
        surface = {v: each[key.id] for v, each in loud if key.id in each}
        found.append(Breach(key, plain.health(i), falls, rises, float(sigmas[i]), surface))
    return sorted(found, key=lambda b: (-b.day, b.distance, b.key))


def _louder(
    plain: Climb, vol: float, columns: ColumnsPort, view: View, at: Moment, underlyings: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Account -> (falls, rises) with all vols times ``vol``."""
    made = plain if vol == 1.0 else climb(columns, view, at, underlyings, lambda _: vol)
    falls, rises = made.breaches()
    return dict(zip(made.accounts, zip(falls.tolist(), rises.tolist(), strict=True), strict=True))


def _main_sigmas(plain: Climb, state: State, at: Moment) -> Floats:
    """(N,) the volatility of the underlying that each account has most of."""
    sigmas = np.array(_sigmas(state, at))
    prices = np.array([_price(state, u, at) for u in range(len(sigmas))])
    return np.asarray(sigmas[np.abs(plain.delta[TODAY] * prices).argmax(axis=1)])


def _exact(judge: Judge, view: View, key: Key, at: Moment, underlyings: Sequence[int], about: float) -> float:
    """The breach that the ladder puts near ``about``, by exact health; NaN stays NaN, and 1 where it is now."""
    if isnan(about) or about == 1.0:
        return about

    def healthy(f: float) -> bool:
        return judge(moved(view, underlyings, f), key, at).healthy

    near, far = _around(about)
    if healthy(far) or not healthy(near):
        return about  # the exact telling sees no crossing between these levels: the ladder's own answer stands
    for _ in range(STEPS):
        middle = (near + far) / 2
        near, far = (middle, far) if healthy(middle) else (near, middle)
    return far


def _around(factor: float) -> tuple[float, float]:
    """Levels on both sides, the one nearer to today's price first."""
    above = min(int(np.searchsorted(LEVELS, factor)) + 1, len(LEVELS) - 1)
    low, high = float(LEVELS[max(above - 3, 0)]), float(LEVELS[above])
    return (min(high, 1.0), low) if factor < 1 else (max(low, 1.0), high)


# ─── the market as it stands ──────────────────────────────────────────────────────────────────────


def _price(state: State, u: int, at: Moment) -> float:
    """US dollars; 0 without a price."""
    feed = state.feed(u)
    return feed.spot / 10**8 if feed and feed.time else 0.0


def _sigmas(state: State, at: Moment) -> list[float]:
    """At the money, of the earliest expiry still to come; what the feed has realised where there is no smile."""
    found = []
    for u in range(len(state.params(state.version()).risk.depths)):
        feed = state.feed(u)
        keys = (key for key in state.view.keys("smile") if key.id >> 40 == u)
        live = [key for key in keys if (key.id & (2**40 - 1)) > at.timestamp]
        if feed and live:
            found.append(oracle.smile(state.view.get(live[0]), feed, at.timestamp, state.config()).atm / WAD)
        else:
            found.append(oracle.stress(feed, at.timestamp, state.config()).sigma / WAD if feed and feed.time else 1.0)
    return found


def pools(state: State, at: Moment, omega: float) -> list[Pool | None]:
    """Depth by underlying, at today's price; None without one."""
    found = list[Pool | None]()
    for u in range(len(state.params(state.version()).risk.depths)):
        pool, price = state.pool(u), _price(state, u, at)
        unit = state.clearing().assets[u + 1].unit if pool else 1
        found.append(Pool(pool.base / unit, omega) if pool and pool.base and price else None)
    return found


def cascades(columns: ColumnsPort, view: View, at: Moment, omega: float) -> dict[int, Cascade]:
    """By underlying that has a price and a pool: its ladder, each level followed to its end."""
    state, found = State(view), dict[int, Cascade]()
    for u, pool in enumerate(pools(state, at, omega)):
        if pool is not None:
            made = climb(columns, view, at, (u,), flat)
            ladder = made.ladder(u, _price(state, u, at))
            found[u] = Cascade(made.accounts, ladder, pool, tuple(cascade.levels(ladder, pool)), made.left_out)
    return found


@dataclass(frozen=True)
class Cascade:
    """One underlying."""

    accounts: Sequence[int]
    ladder: Ladder
    pool: Pool
    levels: tuple[cascade.Level, ...]
    left_out: int

    def branching(self, factor: float) -> float:
        return cascade.branching(self.ladder, self.pool, factor)

    def gamma(self) -> Floats:
        """(K,) of the accounts that some level of the ladder makes liquidatable."""
        return cascade.gamma(self.ladder, np.asarray((self.ladder.margin < 0).any(axis=0)))


# ─── the fund ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Question:
    """What to assume. The jumps are those of crashes in crypto markets: one a month, a tenth down, widely spread."""

    horizon: float = 86_400.0  # seconds
    sigma: float = 0.0  # a year, between jumps; 0: the highest at-the-money vol there is
    intensity: float = 12.0  # jumps a year
    jump: float = -0.10  # mean relative jump
    spread: float = 0.10  # deviation of its logarithm
    omega: float = 0.1  # weight of the pool in the reported price
    response: float = 1.0  # vols rise as a fall to f by f^-response, and not at all in a rise

    def __post_init__(self) -> None:
        wanted = {
            "horizon": (self.horizon > 0, "above 0"),
            "sigma": (self.sigma >= 0, "not below 0"),
            "intensity": (self.intensity >= 0, "not below 0"),
            "jump": (self.jump > -1, "above -1, which is -100 %"),
            "spread": (self.spread >= 0, "not below 0"),
            "omega": (0 <= self.omega <= 1, "from 0 to 1"),
            "response": (self.response >= 0, "not below 0"),
        }
        for name, (good, what) in wanted.items():
            if not (good and isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be a number {what}, not {getattr(self, name):g}")

    @property
    def mean(self) -> float:
        """Of the logarithm of a jump."""
        return log(1 + self.jump) - self.spread**2 / 2

    def vol(self, factor: float) -> float:
        return float(min(LOUDEST, max(1.0, factor**-self.response)))


@dataclass(frozen=True)
class Stress:
    question: Question
    sigma: float
    fund: float  # US dollars
    accounts: Sequence[int]
    left_out: int
    lacking: Floats  # (K,) US dollars beyond equity at each of LEVELS, all prices together
    laws: Mapping[str, Shortfall]
    cascades: Mapping[int, Cascade]


def stress(columns: ColumnsPort, view: View, at: Moment, q: Question) -> Stress:
    """The whole book in a fall or a rise, as if nobody acted until it is over."""
    state = State(view)
    everything = range(len(state.params(state.version()).risk.depths))
    joint = climb(columns, view, at, everything, q.vol)
    lacking, fund = shortfall.of_book(joint.equity), state.clearing().fund / WAD
    sigma = q.sigma or max(_sigmas(state, at))
    jumps, moves = Jumps(sigma, q.intensity, q.mean, q.spread), np.log(LEVELS)
    years = q.horizon / YEAR
    laws = {
        f"{q.horizon / 3600:g} hours": lambda x: below(x, years, jumps),
        "one jump": lambda x: below(x - log(1 + q.jump), 1.0, Jumps(q.spread, 0.0, 0.0, 0.0)),
    }
    measured = {name: shortfall.over(moves, lacking, law, fund) for name, law in laws.items()}
    found = cascades(columns, view, at, q.omega)
    return Stress(q, sigma, fund, joint.accounts, joint.left_out, lacking, measured, found)

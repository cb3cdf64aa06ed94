"""Accounts as people hold them: what is listed, and who holds which legs against which collateral.

A plan leaves the cash open. Whoever opens the account deposits, or borrows, what makes its requirement the
``usage`` of its equity; the counterparty of every leg is theirs to choose too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from keeper.errors import Misconfigured
from keeper.units import WAD

RUNGS: Final = (0, 10, 20, 30)  # per cent out of the money: puts below the spot, calls above
MAX_SERIES: Final = 24  # of one underlying: each has a state slot, and a node slows down with its state
PERIOD: Final = 1800  # seconds; expiries are multiples of it
STEP: Final = 10**15  # wad; sizes are multiples of a thousandth


class Series(NamedTuple):
    underlying: int
    expiry: int  # chain seconds
    is_call: bool
    strike: int  # US dollars, 8 decimals


class Leg(NamedTuple):
    underlying: int
    expiry: int  # chain seconds
    is_call: bool
    strike: int  # US dollars, 8 decimals
    size: int  # wad, negative when short


class Kind(StrEnum):
    COVERED_CALL = "covered call"
    STRANGLE = "strangle"
    CONDOR = "condor"
    PUT_SPREAD = "put spread"
    CALL_SPREAD = "call spread"
    NAKED_PUT = "naked put"
    STRADDLE = "straddle"
    COLLATERAL_PUT = "collateral put"
    RISK_REVERSAL = "risk reversal"


@dataclass(frozen=True, slots=True)
class Plan:
    """One account. ``collateral`` has an amount per underlying, in the token's own units."""

    owner: int
    kind: Kind | None  # None: nothing of what the crowd holds
    legs: tuple[Leg, ...]
    collateral: tuple[int, ...]
    usage: float  # requirement / equity at the start


@dataclass(frozen=True, slots=True)
class Grid:
    """What is listed on one underlying: RUNGS of puts and of calls for each expiry, strikes rounded to the tick."""

    underlying: int
    spot: int  # US dollars, 8 decimals
    tick: int  # US dollars, 8 decimals
    expiries: tuple[int, ...]  # chain seconds, rising
    decimals: int = 18  # of the underlying's token, as collateral

    def __post_init__(self) -> None:
        if not self.expiries or len(self.series) > MAX_SERIES:
            most = MAX_SERIES // (2 * len(RUNGS))
            raise Misconfigured(f"{len(self.expiries)} expiries listed", help=f"list 1 to {most}")
        if any(expiry % PERIOD for expiry in self.expiries) or list(self.expiries) != sorted(set(self.expiries)):
            raise Misconfigured(f"expiries {self.expiries}", help=f"give rising multiples of {PERIOD} s")
        if len(set(self.series)) != len(self.series):
            raise Misconfigured(f"a tick of {self.tick} makes strikes around {self.spot} equal", help="make it smaller")

    @property
    def series(self) -> tuple[Series, ...]:
        return tuple(
            Series(self.underlying, expiry, is_call, self.strike(is_call, rung))
            for expiry in self.expiries
            for is_call in (False, True)
            for rung in range(len(RUNGS))
        )

    def strike(self, is_call: bool, rung: int) -> int:
        """Rounded to the nearest tick."""
        away = 100 + RUNGS[rung] if is_call else 100 - RUNGS[rung]
        return (self.spot * away // 100 + self.tick // 2) // self.tick * self.tick


def expiries(now: int, days: Sequence[float] = (2, 14, 35)) -> tuple[int, ...]:
    """Expiries at least that many days away, at the next multiple of PERIOD."""
    return tuple(math.ceil((now + day * 86_400) / PERIOD) * PERIOD for day in days)


def portfolios(
    seed: int,
    count: int,
    grids: Sequence[Grid],
    *,
    notional: float = 100_000,
    spread: float = 1.0,
    cap: float = 20_000_000,
    usage: tuple[float, float] = (0.6, 1.0),
) -> tuple[Plan, ...]:
    """``count`` plans, the kinds in turn, the rest drawn. ``grids`` in the order of their underlyings.

    The notional (US dollars, size times spot) is log-normal with median ``notional`` and log deviation
    ``spread``, at most ``cap``; the usage is uniform.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    kinds = tuple(Kind)
    dollars = np.minimum(notional * np.exp(spread * rng.standard_normal(count)), cap)
    uses = rng.uniform(*usage, size=count)
    return tuple(_plan(rng, i, kinds[i % len(kinds)], grids, int(dollars[i]), float(uses[i])) for i in range(count))


class _Recipe(NamedTuple):
    legs: tuple[tuple[bool, int, int], ...]  # is a call, rungs beyond the drawn one, sign
    collateral: int = 0  # per cent of the notional, in a token
    own: bool = True  # in the underlying itself; else in any of them
    short_dated: bool = False  # at the money and nearest expiry; else one or two rungs out and later


_PUT, _CALL, _SHORT, _LONG = False, True, -1, 1
_RECIPES: Final = {
    Kind.COVERED_CALL: _Recipe(((_CALL, 0, _SHORT),), collateral=100),
    Kind.STRANGLE: _Recipe(((_PUT, 0, _SHORT), (_CALL, 0, _SHORT))),
    Kind.CONDOR: _Recipe(((_PUT, 1, _LONG), (_PUT, 0, _SHORT), (_CALL, 0, _SHORT), (_CALL, 1, _LONG))),
    Kind.PUT_SPREAD: _Recipe(((_PUT, 1, _LONG), (_PUT, 0, _SHORT))),
    Kind.CALL_SPREAD: _Recipe(((_CALL, 0, _SHORT), (_CALL, 1, _LONG))),
    Kind.NAKED_PUT: _Recipe(((_PUT, 0, _SHORT),)),
    Kind.STRADDLE: _Recipe(((_PUT, 0, _SHORT), (_CALL, 0, _SHORT)), short_dated=True),
    Kind.COLLATERAL_PUT: _Recipe(((_PUT, 0, _SHORT),), collateral=50, own=False),
    Kind.RISK_REVERSAL: _Recipe(((_PUT, 0, _SHORT), (_CALL, 0, _LONG))),
}


def _plan(rng: np.random.Generator, owner: int, kind: Kind, grids: Sequence[Grid], usd: int, usage: float) -> Plan:
    recipe = _RECIPES[kind]
    grid = grids[int(rng.integers(len(grids)))]
    later = grid.expiries[1:] or grid.expiries
    drawn_expiry, drawn_rung = later[int(rng.integers(len(later)))], int(rng.integers(1, 3))
    expiry, rung = (grid.expiries[0], 0) if recipe.short_dated else (drawn_expiry, drawn_rung)
    size = max(usd * 10**8 * WAD // grid.spot // STEP, 1) * STEP
    legs = tuple(
        Leg(grid.underlying, expiry, is_call, grid.strike(is_call, rung + beyond), sign * size)
        for is_call, beyond, sign in recipe.legs
    )
    asset = grid if recipe.own else grids[int(rng.integers(len(grids)))]
    worth = recipe.collateral * size * grid.spot // 100  # 26 decimals
    amount = worth * 10**asset.decimals // (asset.spot * WAD)
    return Plan(owner, kind, legs, tuple(amount if other is asset else 0 for other in grids), usage)

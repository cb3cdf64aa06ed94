"""What every series is worth now and gains in every scenario: made once per moment, whatever the number of accounts.

Shapes: R series, S scenarios, U underlyings. Row 0 is no series: all zeros. US dollars per contract, float64; the
kernels take the same per lot, weighted, in float32 (``Lanes``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from keeper.margin import black76, portfolio
from keeper.margin.black76 import Floats
from keeper.margin.portfolio import DAY, YEAR, Rules, Scenarios, Smile, Term

Singles = NDArray[np.float32]
UNIT: Final = 2.0**-24  # rounding of float32
VECTOR: Final = 16  # lanes; scenarios are padded to a multiple
PARAMETERS: Final = (
    "price",
    "factor",
    "size",
    "cut",
    "gross",
    "naked",
    "doubt",
    "bound",
)  # of an underlying in Lanes; no term of a margin is more than ``bound`` per lot
TERMS: Final = ("left", "fixed", "open", "atm", "skew", "curv", "rate", "confidence")  # rows of ``Inputs.terms``


@dataclass(frozen=True)
class Inputs:
    """The market at one moment, per series (R,), and per underlying (U,).

    ``refused`` says of rows that have no value, why; an underlying without a price has price NaN.
    """

    prices: Floats
    stretch: Floats  # what the price moves of all scenarios are multiplied by
    under: NDArray[np.int64]
    is_call: NDArray[np.bool_]
    strike: Floats
    terms: Floats  # (8, R), see TERMS
    rows: NDArray[np.int64]  # the rows to value
    refused: Mapping[int, str] = field(default_factory=dict)
    clamped: bool = False  # a price is not the spot

    @property
    def left(self) -> Floats:
        """Seconds to expiry."""
        return np.asarray(self.terms[0])

    @property
    def fixed(self) -> Floats:
        """US dollars of the settlement average already known."""
        return np.asarray(self.terms[1])

    @property
    def open(self) -> Floats:
        """Weight of the price still to come."""
        return np.asarray(self.terms[2])

    @property
    def smile(self) -> Smile:
        """(R,) each."""
        return Smile(*self.terms[3:])


@dataclass(frozen=True)
class Table:
    inputs: Inputs
    rules: Rules
    moves: Floats  # (U, S) relative price moves of the scenarios
    worth: Floats  # (R,) discounted value
    gain: Floats  # (R, S) discounted change
    delta: Floats  # (R,) per unit of the underlying
    doubt: Floats  # (R,) 1 - confidence

    @cached_property
    def greeks(self) -> Mapping[str, Floats]:
        """Per series, smile held at the strike: delta and gamma per unit of price, vega per 1.00 of volatility, theta
        per day."""
        i, at = self.inputs, self.inputs.rows
        price, left, strike = i.prices[i.under[at]], np.maximum(i.left[at], 0.0), i.strike[at]
        rate, open_ = np.asarray(i.smile.rate)[at], i.open[at]
        discount, root = np.exp(-rate * left / YEAR), np.sqrt(left / YEAR)
        forward = (i.fixed[at] + price * open_) / discount
        sigma = portfolio.sigma(_smiles(i.smile, at), forward, strike, root)
        gamma, vega = black76.gamma_vega(forward, strike, sigma * root)
        later = np.maximum(left - DAY, 0.0)
        shrunk = np.exp(-rate * later / YEAR)
        ahead = (i.fixed[at] + price * open_) / shrunk
        value, _ = black76.value(i.is_call[at], ahead, strike, sigma * np.sqrt(later / YEAR))
        found = {
            "delta": self.delta[at],
            "gamma": gamma * open_**2 / discount,
            "vega": vega * root * discount,
            "theta": value * shrunk - self.worth[at],
        }
        return {name: _spread(values, at, len(self.worth)) for name, values in found.items()}


@dataclass(frozen=True)
class Lanes:
    """The table as kernels take it: per lot, float32, gains times their weight, padded with zeros to W lanes.

    A zero lane is a scenario in which nothing is lost, and changes no worst loss.
    """

    gain: Singles  # (R, W)
    four: Singles  # (R, 4): worth, delta, delta, -delta: the last two are folded over expiries
    doubt: Singles  # (R,) US dollars of requirement per lot held, where the confidence of terms differs; else (0,)
    shock: Singles  # (U, W): weighted change of the price, relative
    parameters: Singles  # (U, 8), see PARAMETERS; NaN never
    under: NDArray[np.int64]  # (R,)

    @property
    def width(self) -> int:
        return int(self.gain.shape[1])

    @property
    def pair(self) -> Singles:
        """(R, 2): worth, delta."""
        return self.four[:, :2]


Value = Callable[[Inputs, Rules, Floats], Term]  # the rows to value, (K,), with moves (U, S)
Made = Callable[[Inputs, Rules, float], "Lanes | None"]  # ``lanes`` of ``build``; None where these refuse


def build(inputs: Inputs, rules: Rules, value: Value | None = None) -> Table:
    """ValueError, naming the series or the underlying, where a price or a value is no number that can be used.

    ``value``: None is ``portfolio.term``; another telling of the same.
    """
    i, at, size = inputs, inputs.rows, len(inputs.under)
    for u in np.flatnonzero((~(i.prices > 0) | np.isinf(i.prices)) & ~np.isnan(i.prices)):
        raise ValueError(f"underlying {u} has price {i.prices[u]:g}: nothing can be valued at it")
    if not np.isfinite(i.stretch).all():
        u = np.flatnonzero(~np.isfinite(i.stretch))[0]
        raise ValueError(f"the moves of underlying {u} are stretched by {i.stretch[u]:g}")
    each = (i.strike, i.left, i.fixed, i.open, i.smile.atm, i.smile.skew, i.smile.curv, i.smile.rate)
    known = np.isfinite(np.asarray(sum(each))[at])
    if not known.all():  # clipped to a limit, it would not be seen later
        wrong = np.flatnonzero(~known)
        raise ValueError(f"{_name(i, int(at[wrong[0]]))} has a term or a smile that is no number")
    moves = np.array([rules.stretched(factor, np.inf).scenarios.spot for factor in i.stretch])
    t = (value or _valued)(i, rules, moves)
    sure = np.broadcast_to(np.asarray(t.confidence), t.worth.shape)
    if not all(np.isfinite(x).all() for x in (t.worth, t.delta, t.gain, sure)):
        row = np.flatnonzero(~np.isfinite(t.worth + t.delta + sure + t.gain.sum(axis=1)))[0]
        raise ValueError(f"{_name(i, int(at[row]))} has no finite value: price {i.prices[i.under[at[row]]]:g}")
    told = (t.worth, t.gain, t.delta, 1.0 - np.asarray(t.confidence))
    return Table(inputs, rules, moves, *(_spread(x, at, size) for x in told))


def _valued(i: Inputs, rules: Rules, moves: Floats) -> Term:
    at, under = i.rows, i.under[i.rows]
    wide = replace(rules, scenarios=replace(rules.scenarios, spot=moves[under]))
    market = (i.prices[under], i.left[at], i.fixed[at], i.open[at])
    return portfolio.term(*market, _smiles(i.smile, at), i.is_call[at], i.strike[at], wide)


def _name(i: Inputs, row: int) -> str:
    kind = "call" if i.is_call[row] else "put"
    return f"the {kind} on underlying {i.under[row]} at {i.strike[row]:g}, {i.left[row]:g} s to expiry,"


def _smiles(s: Smile, at: Any) -> Smile:
    return Smile(*(np.asarray(x)[at] for x in (s.atm, s.skew, s.curv, s.rate, s.confidence)))


def _spread(values: Floats, at: NDArray[np.int64], size: int) -> Floats:
    out = np.zeros((size, *values.shape[1:]))
    out[at] = values
    return out


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what is beyond float32 is refused below, in words
def lanes(t: Table, lot: float) -> Lanes:
    """``lot`` in contracts. ValueError where a value is more than float32 holds."""
    r, s = t.rules, t.rules.scenarios
    width = -(-len(s.spot) // VECTOR) * VECTOR
    gain = np.zeros((len(t.worth), width), np.float32)
    gain[:, : len(s.spot)] = t.gain * (s.weight * lot)
    prices = np.where(np.isnan(t.inputs.prices), 0.0, t.inputs.prices) * lot
    shock = np.zeros((len(prices), width), np.float32)
    shock[:, : len(s.spot)] = s.weight * t.moves
    four = np.empty((len(t.worth), 4), np.float32)
    four[:, 0], four[:, 1], four[:, 2], four[:, 3] = t.worth * lot, t.delta, t.delta, -t.delta
    under = t.inputs.under  # rows that are not valued are zeros
    each, most, uniform = np.zeros(len(under)), np.zeros(len(prices)), True
    if t.doubt.any():
        at = t.inputs.rows
        each = t.doubt * prices[under] * r.doubt
        most = _most(each, under, len(prices))
        uniform = bool((each[at] == most[under[at]]).all())
    terms = np.maximum(np.abs(gain).max(axis=1, initial=0.0), np.abs(four[:, 0]))
    largest = np.maximum(_most(terms, under, len(prices)), prices)
    largest *= max(1.0, r.factor[0], float(np.abs(t.moves).max(initial=0.0)))
    parameters = np.zeros((len(prices), len(PARAMETERS)), np.float32)
    for u, price in enumerate(prices):
        size, doubt = r.size / r.depths[u] if u < len(r.depths) else 0.0, most[u] if uniform else 0.0
        floors = r.floor_gross[0], r.floor_naked
        parameters[u] = (price, r.factor[0], size, r.cuts[u] if u < len(r.cuts) else 0.0, *floors, doubt, largest[u])
    each32 = np.zeros(0, np.float32) if uniform else each.astype(np.float32)
    made = Lanes(gain, four, each32, shock, parameters, t.inputs.under)
    if not all(np.isfinite(x).all() for x in (gain, four, shock, parameters)):
        raise ValueError("a value of the table is beyond what float32 can hold")
    return made


def quickly(inputs: Inputs, rules: Rules, lot: float, made: Made | None, value: Value | None) -> Lanes:
    """``lanes`` of ``build``, by another telling where there is one."""
    found = made(inputs, rules, lot) if made is not None else None
    return lanes(build(inputs, rules, value), lot) if found is None else found


def _most(values: Floats, under: NDArray[np.int64], count: int) -> Floats:
    """The largest value per underlying; 0 where there is none."""
    return np.array([values[under == u].max(initial=0.0) for u in range(count)])


_NONE: Final = np.zeros(0)
_ROWS: Final = np.zeros(0, np.int64)
NOBODY: Final = Inputs(_NONE, _NONE, _ROWS, np.zeros(0, np.bool_), _NONE, np.zeros((8, 0)), _ROWS)
NO_RULES: Final = Rules(
    (1.0, 1.0), (0.0, 0.0), 0.0, 0.0, 0.0, (0.5, 0.5), 1.0, _NONE, (), np.zeros((0, 2)),
    Scenarios(np.zeros(1), np.zeros(1, np.int64), np.zeros(1), np.ones(1)),
)  # fmt: skip

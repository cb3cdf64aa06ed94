"""What the insurance fund would have to bear: the losses beyond equity of a whole book, over a law of prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from keeper.margin.black76 import Floats

TAIL: Final = 0.99
WRONG: Final = 1e-6  # that probabilities may be off by


@dataclass(frozen=True)
class Shortfall:
    """US dollars, against a fund; probabilities of the horizon."""

    fund: float
    expected: float
    at_risk: float  # quantile at TAIL
    tail: float  # mean of the worst 1 - TAIL
    unpaid: float  # expected excess over the fund
    ruin: float  # probability that there is any


def of_book(equity: Floats) -> Floats:
    """(K,) what all accounts together lack at each level; ``equity`` (K, N)."""
    if not np.isfinite(equity).all():
        raise ValueError("the equity of an account is not a number")
    return np.asarray(np.maximum(-equity, 0.0).sum(axis=1))


def over(moves: Floats, lacking: Floats, law: Callable[[float], float], fund: float) -> Shortfall:
    """Integrated over ln S_t / S_0, of which ``law`` is the distribution function.

    ``moves`` (K,) are ascending logarithms at which ``lacking`` is known: linear between them, and beyond the ends
    the last value stands, so the ladder should reach where ``lacking`` is final. ValueError where that is no ladder.
    """
    if not (np.isfinite(moves).all() and (np.diff(moves) > 0).all()):
        raise ValueError("the moves of a ladder must be numbers and ascend")
    grid = np.linspace(moves[0], moves[-1], 4_001)
    edges = np.concatenate([[-np.inf], (grid[1:] + grid[:-1]) / 2, [np.inf]])
    weights = np.diff([law(float(x)) if np.isfinite(x) else float(x > 0) for x in edges])
    return measured(np.interp(grid, moves, lacking), weights, fund)


def measured(losses: Floats, weights: Floats, fund: float) -> Shortfall:
    """Of a discrete law; ``weights`` sum to 1. ValueError when they do not, or when something is not a number."""
    if not (np.isfinite(losses).all() and np.isfinite(fund)):
        raise ValueError("a loss, or the fund, is not a number")
    if not ((weights >= -WRONG).all() and abs(float(weights.sum()) - 1) <= WRONG):
        raise ValueError("the weights of a law are not negative and sum to 1")
    order = np.argsort(-losses, kind="stable")
    worst, mass = losses[order], weights[order]
    tail = np.clip(1 - TAIL - (np.cumsum(mass) - mass), 0.0, mass)  # of each, what belongs to the worst
    at_risk = worst[min(int(np.searchsorted(np.cumsum(mass), 1 - TAIL)), len(worst) - 1)]
    excess = np.maximum(losses - fund, 0.0)
    return Shortfall(
        fund=fund,
        expected=float(losses @ weights),
        at_risk=float(at_risk),
        tail=float(worst @ tail) / (1 - TAIL),
        unpaid=float(excess @ weights),
        ruin=float(weights[excess > 0].sum()),
    )

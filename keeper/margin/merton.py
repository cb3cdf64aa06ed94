"""Jump diffusion (Merton, "Option pricing when underlying stock returns are discontinuous", J. Fin. Econ. 3 (1976)).

    ln S_t / S_0 = (mu - sigma^2 / 2 - intensity kappa) t + sigma W_t + sum of N_t jumps, normal (mean, deviation)

``N_t`` is Poisson with ``intensity`` a year; kappa = E[e^J] - 1 keeps E[S_t] = S_0 e^(mu t). Given n jumps ln S is
normal, so values are Poisson sums of Black's, and quantiles are those of a mixture of normals.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, exp, inf, isfinite, isnan, lgamma, log, sqrt
from typing import Final

import numpy as np

from keeper.margin import black76
from keeper.margin.black76 import Floats

DEVIATIONS: Final = 10  # of the number of jumps, beyond its mean, that are counted
LEAST: Final = 30
LARGEST: Final = 20.0  # logarithm of the mean jump
MANY: Final = 1e6  # jumps in a horizon; more are no jumps


@dataclass(frozen=True)
class Jumps:
    """``sigma`` and ``intensity`` a year; ``mean`` and ``deviation`` of ln(1 + jump)."""

    sigma: float
    intensity: float
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        numbers = (self.sigma, self.intensity, self.mean, self.deviation)
        if not all(np.isfinite(numbers)) or min(self.sigma, self.intensity, self.deviation) < 0:
            raise ValueError(f"sigma, intensity and deviation must be finite and not negative: {numbers}")
        if self.mean + self.deviation**2 / 2 > LARGEST:
            raise ValueError(f"a mean of {self.mean} with a deviation of {self.deviation} is no jump of a price")

    @property
    def kappa(self) -> float:
        """Mean relative jump."""
        return exp(self.mean + self.deviation**2 / 2) - 1

    def counts(self, t: float) -> Floats:
        """P(n jumps in ``t`` years), n = 0, 1, ..., as far as values weighted by the price itself need them.

        ValueError unless ``t`` is a time, and short enough for its jumps to be counted.
        """
        rate = self.intensity * t
        if not (t >= 0 and isfinite(t) and rate * max(1.0, 1 + self.kappa) <= MANY):
            raise ValueError(f"{t} years at {self.intensity} jumps a year cannot be reckoned with")
        if rate == 0:
            return np.ones(1)
        most = rate * max(1.0, 1 + self.kappa)
        n = range(int(most + DEVIATIONS * sqrt(most)) + LEAST)
        return np.exp([k * log(rate) - rate - lgamma(k + 1) for k in n])

    def mixture(self, t: float) -> tuple[Floats, Floats, Floats]:
        """(weights, means, deviations) of ln S_t / S_0 by number of jumps, without drift of S."""
        weights = self.counts(t)
        n = np.arange(len(weights))
        means = (-(self.sigma**2) / 2 - self.intensity * self.kappa) * t + n * self.mean
        return weights, np.asarray(means), np.asarray(np.sqrt(self.sigma**2 * t + n * self.deviation**2))


def value(is_call: bool, forward: float, k: float, t: float, jumps: Jumps) -> float:
    """Undiscounted value of an option: the Poisson sum of Black's values, given n jumps.

    ValueError unless forward and strike are prices.
    """
    if not (0 < forward < inf and 0 < k < inf):
        raise ValueError(f"an option has a forward and a strike above 0, not {forward} and {k}")
    weights = jumps.counts(t)
    n = np.arange(len(weights))
    gamma = jumps.mean + jumps.deviation**2 / 2
    forwards = forward * np.exp(-jumps.intensity * jumps.kappa * t + n * gamma)
    w = np.sqrt(jumps.sigma**2 * t + n * jumps.deviation**2)
    values, _ = black76.value(is_call, forwards, k, w)
    return float((weights * values).sum())


def below(x: float, t: float, jumps: Jumps) -> float:
    """P(ln S_t / S_0 <= x). ValueError when ``x`` is no number."""
    if isnan(x):
        raise ValueError("the probability of a move that is not a number was asked for")
    weights, means, deviations = jumps.mixture(t)
    found = 0.0
    for weight, mean, deviation in zip(weights, means, deviations, strict=True):
        found += weight * (0.5 * erfc((mean - x) / deviation / sqrt(2)) if deviation > 0 else float(mean <= x))
    return min(1.0, float(found))


def paths(t: float, jumps: Jumps, count: int, seed: int) -> Floats:
    """(count,) draws of S_t / S_0, the same for the same seed; half are mirrored in the diffusion."""
    jumps.counts(t)
    dice = np.random.Generator(np.random.PCG64(seed))
    half = (count + 1) // 2
    n = dice.poisson(jumps.intensity * t, half)
    jump = n * jumps.mean + np.sqrt(n) * jumps.deviation * dice.standard_normal(half)
    z = jumps.sigma * sqrt(t) * dice.standard_normal(half)
    drift = (-(jumps.sigma**2) / 2 - jumps.intensity * jumps.kappa) * t
    return np.asarray(np.exp(drift + np.concatenate([jump + z, jump - z])[:count]))

"""The normal distribution as ``lib/Normal.sol`` has it: the table, how it is made, and how it is read.

Row ``i`` is N(x) on [-8 + i / 16, -8 + (i + 1) / 16] as a polynomial of degree 6 in u = 32 (x - middle), -1 <= u <= 1,
scaled by 2^54: the Taylor series at the middle, without its Chebyshev parts of degree 7 and more. The error is below
1e-15; beyond +-8, where the table ends, it is 6e-16.

    python -m keeper.protocols.options.normal        the rows as words of the contract
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Final

from keeper.units import WAD

__all__ = ["ONE", "SCALE", "cdf", "rows", "words"]

ROWS: Final = 256
EDGE: Final = 8 * WAD
SCALE: Final = 54  # bits
ONE: Final = 1 << SCALE
FRACTION: Final = 52  # bits of u
BITS: Final = (54, 48, 42, 37, 30, 24, 17)  # of each coefficient; the first two are not negative
_FINE: Final = 192  # bits in which the table is made
_PHI0: Final = (39894228040143267793994605993438186847585863116493465766592583 << _FINE) // 10**62  # 1 / sqrt(2 pi)
_TERMS: Final = 30


def cdf(x: int) -> int:
    """``Normal.cdf``: the standard normal distribution at ``x`` wad, times 2^54."""
    t = (x + EDGE << FRACTION + 4) // WAD
    row = t >> FRACTION
    if not 0 <= row < ROWS:
        return ONE if x > 0 else 0
    u = 2 * (t & (1 << FRACTION) - 1) - (1 << FRACTION)
    c0, c1, c2, c3, c4, c5, c6 = rows()[row]
    r = c5 + (c6 * u >> FRACTION)
    r = c4 + (r * u >> FRACTION)
    r = c3 + (r * u >> FRACTION)
    r = c2 + (r * u >> FRACTION)
    r = c1 + (r * u >> FRACTION)
    return c0 + (r * u >> FRACTION)


@cache
def rows() -> tuple[tuple[int, ...], ...]:
    """(256, 7) integers, the constant first."""
    tails = []
    tail, density = _step(0, 1 << _FINE - 1, _PHI0, 1)
    for middle in range(1, ROWS, 2):  # in 1 / 32
        half = 1 << _FINE - SCALE - 1
        tails.append([(c + half) >> _FINE - SCALE for c in _economised(_tail(middle, tail, density))])
        tail, density = _step(middle, tail, density, 2)
    left = [tuple(-c if k % 2 else c for k, c in enumerate(row)) for row in reversed(tails)]
    return (*left, *((ONE - row[0], *(-c for c in row[1:])) for row in tails))


def _density(at: int, density: int) -> list[int]:
    """Taylor series of the density around ``at`` / 32: (k + 1) b[k + 1] = -(at b[k] + b[k - 1])."""
    b = [0, density]
    for k in range(_TERMS):
        b.append(-(at * b[-1] // 32 + b[-2]) // (k + 1))
    return b[1:]


def _tail(at: int, tail: int, density: int) -> list[int]:
    """That of N(-z), in u."""
    return [tail, *(-(b >> 5 * (k + 1)) // (k + 1) for k, b in enumerate(_density(at, density)))]


def _step(at: int, tail: int, density: int, by: int) -> tuple[int, int]:
    """N(-z) and the density ``by`` / 32 further."""
    after = sum(c * by**k for k, c in enumerate(_tail(at, tail, density)))
    return after, sum(b * by**k >> 5 * k for k, b in enumerate(_density(at, density)))


def _economised(series: list[int]) -> list[int]:
    """A series of degree 6, without the Chebyshev polynomials of higher degree."""
    t = [[1], [0, 1]]
    while len(t) < len(series):
        t.append([2 * a - b for a, b in zip([0, *t[-1]], [*t[-2], 0, 0], strict=True)])
    for degree in range(len(series) - 1, len(BITS) - 1, -1):
        series = [c - series[degree] * t[degree][k] // t[degree][degree] for k, c in enumerate(series[:degree])]
    return series


def words() -> list[int]:
    """The rows as the contract packs them: the constant lowest, the last coefficient to the top."""
    packed = []
    for row in rows():
        word = at = 0
        for c, bits in zip(row, BITS, strict=True):
            word |= c % (1 << bits) << at
            at += bits
        packed.append(word | (row[-1] >> BITS[-1]) % (1 << 256 - at) << at)
    return packed


if __name__ == "__main__":
    sys.stdout.writelines(f'hex"{word:064x}"\n' for word in words())

"""Table times positions, three ways with one result: the lower end of what each block brings to equity - requirement.

    compiled   numba, one pass, eight legs in registers: several times as fast as the next
    sparse     scipy, one sparse product per expiry
    plain      numpy alone

The first two take a second to get ready, which no block may wait for: see ``ready``.

A block brings worth + collateral - factor loss - X - haircut (``contracts/Risk.sol``). In float32 that is off by at
most ``tolerance`` of the largest term, which is taken off, so that a block never brings less than it is said to.

The bound. A sum of n products of float32 numbers is off by at most (n + 3) u of the sum of their absolute values,
u = 2^-24 (Higham, "Accuracy and Stability of Numerical Algorithms", 3.1; three more for rounding lots, table and
product). min(c, 0) moves no error apart. Two such sums are taken (worth, loss), and ten terms are added, each at most
``bound`` per lot; the square of the exposure, x^2, is off by twice its own error times x.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.blocks import Array, Blocks, Slice
from keeper.margin.scan.table import UNIT, Lanes, Made, Singles, Value

Doubles = NDArray[np.float64]
Moves = Callable[[Lanes, Lanes, Array | slice], Doubles | None]  # ``slack.moves``

Likely = Callable[[Doubles, Doubles, float, float, tuple[float, float, float]], list[int]]  # ``options/valued.likely``


class Kernel(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def value(self) -> Value | None:
        """How it values series; None is ``portfolio.term``."""
        ...

    @property
    def lanes(self) -> Made | None:
        """How it makes the table that it takes; None is ``table.lanes`` of ``table.build``."""
        ...

    @property
    def moves(self) -> Moves | None:
        """How it tells how far a table has moved; None is ``slack.moves``."""
        ...

    @property
    def likely(self) -> Likely | None:
        """How it tells which scenarios may be the worst for one account; None: it does not."""
        ...

    def whole(self, blocks: Blocks, t: Lanes) -> Singles:
        """(B,) US dollars, for all blocks."""
        ...

    def some(self, part: Slice, t: Lanes) -> Singles:
        """The same for some of them; to the bit what ``whole`` says of these."""
        ...


def tolerance(width: int) -> float:
    """Of ``bound`` and gross lots, for blocks of so many slots."""
    return (2 * width + 64) * UNIT


@cache
def named(name: str) -> Kernel:
    """ImportError where its library is not installed."""
    if name == "compiled":
        from keeper.margin.scan.kernels.compiled import Compiled

        return Compiled()
    if name == "sparse":
        from keeper.margin.scan.kernels.sparse import Sparse

        return Sparse()
    from keeper.margin.scan.kernels.plain import Plain

    return Plain()


@cache
def installed() -> tuple[str, ...]:
    """Kernels that can be had here, the fastest first."""
    needs = {"compiled": "numba", "sparse": "scipy", "plain": "numpy"}
    return tuple(name for name, library in needs.items() if find_spec(library) is not None)

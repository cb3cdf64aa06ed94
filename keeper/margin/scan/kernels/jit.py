"""How functions are compiled: kept on disk where there is a place to keep them, without the interpreter's lock.

A function that is kept is made again when its own file changes, and only then: what it is built from stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
FAST: Final = {"nnan", "nsz", "contract", "reassoc", "arcp"}  # the border lets no NaN in
PLAIN: Final = {"contract"}


def compiled(function: F, flags: set[str] = FAST) -> F:
    try:
        return cast(F, numba.njit(fastmath=flags, error_model="numpy", nogil=True, cache=True)(function))
    except RuntimeError:  # nowhere to keep it
        return cast(F, numba.njit(fastmath=flags, error_model="numpy", nogil=True)(function))


def exactly(function: F) -> F:
    """As the function is written: nothing is reordered."""
    return compiled(function, PLAIN)

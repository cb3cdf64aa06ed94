"""The fastest kernel that there is, as far as it is ready; what is not, numpy does meanwhile, and asks for.

Compiling takes seconds where nothing is kept on disk, and loading what is kept still takes one. No scan does either:
``READY.warm`` does, beside the loop, before the first block that matters and whenever something new is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from keeper.margin.scan import kernels
from keeper.margin.scan.blocks import Blocks, Slice
from keeper.margin.scan.kernels import Kernel, Likely, Moves
from keeper.margin.scan.kernels.plain import Plain
from keeper.margin.scan.table import NO_RULES, NOBODY, VECTOR, Lanes, Made, Singles, Value


class Kind(NamedTuple):
    """What code is compiled for."""

    slots: int
    series: str  # ``dtype.char``
    lots: str
    lanes: int


class Ready:
    def __init__(self) -> None:
        self._kernel: Kernel | None = None
        self._plain, self._done = Plain(), frozenset[Kind]()
        self._wanted: set[Kind] = set()
        self.value: Value | None = None
        self.lanes: Made | None = None
        self.moves: Moves | None = None
        self.likely: Likely | None = None
        self.why = ""  # something quicker cannot be had

    @property
    def name(self) -> str:
        return (self._kernel or self._plain).name

    @property
    def wants(self) -> bool:
        """Whether ``warm`` has something to do."""
        return bool(self._wanted)

    def whole(self, blocks: Blocks, t: Lanes) -> Singles:
        return self._for(blocks.used, t).whole(blocks, t)

    def some(self, part: Slice, t: Lanes) -> Singles:
        return self._for(part, t).some(part, t)

    def want(self, many: Iterable[Blocks]) -> None:
        """What a scan of these would ask for, with the usual number of scenarios."""
        self._wanted |= {_kind(blocks.used, VECTOR) for blocks in many if blocks.size} - self._done

    def _for(self, part: Slice, t: Lanes) -> Kernel:
        kind = _kind(part, t.width)
        if self._kernel is not None and kind in self._done:
            return self._kernel
        if kind not in self._done and len(part):
            self._wanted.add(kind)
        return self._plain

    def warm(self) -> str:
        """Make ready what is wanted, with the fastest library that works here; its name, and why not a faster one."""
        wanted = frozenset(self._wanted)
        for name in kernels.installed():
            try:
                kernel = kernels.named(name)
                for kind in wanted | self._done:
                    _try(kernel, kind)
                if kernel.value is not None:
                    kernel.value(NOBODY, NO_RULES, np.zeros((1, 1)))
                if kernel.lanes is not None:
                    kernel.lanes(NOBODY, NO_RULES, 1.0)
                if kernel.moves is not None:
                    kernel.moves(_nothing(VECTOR), _nothing(VECTOR), slice(None))
                if kernel.likely is not None:
                    kernel.likely(np.ones((1, 12)), np.ones((5, 1)), 1.0, 0.0, (0.0, 0.0, 0.0))
            except Exception as error:  # a compiler that is not what it was: slower is better than not at all
                self.why = f"{name} does not work here: {error}"
            else:
                self.value, self.lanes = kernel.value, kernel.lanes
                self.moves, self.likely = kernel.moves, kernel.likely
                self._kernel, self._done = kernel, self._done | wanted
                break
        self._wanted -= wanted
        return self.name + (f"; {self.why}" if self.why else "")


READY: Final = Ready()


def _kind(part: Slice, lanes: int) -> Kind:
    return Kind(part.series.shape[1], part.series.dtype.char, part.lots.dtype.char, lanes)


def _try(kernel: Kernel, kind: Kind) -> None:
    blocks = Blocks(kind.slots, np.dtype(kind.lots).type, np.dtype(kind.series).type)
    blocks.take(0)
    kernel.whole(blocks, _nothing(kind.lanes))


def _nothing(width: int) -> Lanes:
    """A table of no series."""
    shapes = (1, width), (1, 4), (0,), (1, width), (1, 8)
    gain, four, doubt, shock, parameters = (np.zeros(shape, np.float32) for shape in shapes)
    return Lanes(gain, four, doubt, shock, parameters, np.zeros(1, np.int64))

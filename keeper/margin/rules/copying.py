"""From a tree of one format into another's, keeping where each value came from, so that faults can be shown there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Any, Final

from keeper.margin.rules.bind import Fault, Keys

LARGEST: Final = 10**300  # integers up to it need no check


@dataclass
class Copy:
    """Fills ``tree`` with values of ``source``, which stands ``at`` some place in the file."""

    source: Any
    at: Keys
    tree: dict[str, Any] = field(default_factory=lambda: {"feeds": {"underlyings": {}}, "portfolio": {}})
    places: dict[Keys, Keys] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places[()] = self.at

    def get(self, *theirs: str | int) -> Any:
        """What stands there; None, and a fault, when nothing does."""
        node = self.source
        for depth, key in enumerate(theirs):
            if not _holds(node, key):
                self.fault(theirs[:depth], f'needs "{key}"', missing=True)
                return None
            node = node[key]
        if node is None:
            self.fault(theirs, "must not be null")
        return node

    def elements(self, *theirs: str) -> list[Any]:
        found = self.get(*theirs)
        if found is not None and not isinstance(found, list):
            self.fault(theirs, "needs a list in brackets")
        return found if isinstance(found, list) else []

    def columns(self, first: str, *others: str) -> int:
        """How many rows lists side by side have; 0, and a fault, when they differ."""
        rows, before = len(self.elements("Scenario", first)), len(self.faults)
        for name in others:
            if (found := len(self.elements("Scenario", name))) != rows:
                self.fault(("Scenario", name), f"has {found} values for the {rows} of {first}")
        return rows if len(self.faults) == before else 0

    def move(self, ours: Keys, *theirs: str | int, make: Callable[[Any], Any] | None = None) -> Any:
        """What ``make`` makes of a value; one that it does not take stays, for the schema to refuse."""
        value = number(self.get(*theirs))
        if make is not None and isinstance(value, int | float):
            value = make(value)
        self.put(ours, value, *theirs)
        return value

    def put(self, ours: Keys, value: Any, *theirs: str | int) -> None:
        node: Any = self.tree
        for key, following in pairwise(ours):
            node = _child(node, key, [] if isinstance(following, int) else {})
        _child(node, ours[-1], value)
        self.places[ours] = (*self.at, *theirs)

    def word(self, ours: Keys, words: Mapping[Any, str], *theirs: str | int) -> None:
        said = self.get(*theirs)
        if not isinstance(said, str | int | float) or said not in words:
            self.fault(theirs, f"must be one of {', '.join(str(one) for one in words)}")
        else:
            self.put(ours, words[said], *theirs)

    def fault(self, theirs: Sequence[str | int], what: str, *, missing: bool = False) -> None:
        fault = Fault((*self.at, *theirs), what, value=not missing, missing=missing)
        if fault not in self.faults:
            self.faults.append(fault)


def _holds(node: Any, key: str | int) -> bool:
    if isinstance(key, int):
        return isinstance(node, list) and key < len(node)
    return isinstance(node, dict) and key in node


def _child(node: Any, key: str | int, new: Any) -> Any:
    """What stands at ``key`` of a list or object; ``new`` when nothing does."""
    if isinstance(key, str):
        return node.setdefault(key, new)
    if key == len(node):
        node.append(new)
    return node[key]


def number(value: Any) -> Any:
    """A number that is written as text, for more decimals than JSON readers keep, or too large for a float: infinity.
    Anything else as it is."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return value
    try:
        return float(value) if isinstance(value, str) or abs(value) > LARGEST else value
    except ValueError:
        return value
    except OverflowError:
        return inf

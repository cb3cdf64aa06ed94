"""JSON values into dataclasses, with every mistake at its place.

A field says what it takes by its type: ``Annotated[float, Within(0, 1)]``, ``bool``, ``str``, an Enum, another
dataclass, ``tuple[X, ...]``, ``Mapping[str, X]``, ``X | None``, or a number or else an object (``float | Forward``).
Unknown keys are mistakes; the key ``note`` is a comment and may stand in any object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from enum import Enum
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Keys = tuple[str | int, ...]

NOTE: Final = "note"
GIVEN: Final = "given"  # metadata of a field that no file says
HUGE: Final = 1e24  # products of what a file may say stay far below the largest float
TINY: Final = 1e-18


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file; ``keys`` lead to it."""

    keys: Keys
    what: str
    help: str = ""
    value: bool = True  # what stands at the key is wrong; False: the key itself
    missing: bool = False


class Unreadable(ValueError):
    """Everything that is wrong with a file, at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{dotted(one.keys)} {one.what}" for one in faults))
        self.faults = faults


class Refused(Exception):
    """One fault, on its way to where faults are collected."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


def wrong(keys: Keys, what: str, help: str = "") -> Refused:
    return Refused(Fault(keys, what, help))


def missing(keys: Keys, what: str, help: str = "") -> Refused:
    return Refused(Fault(keys, what, help, value=False, missing=True))


@dataclass
class Findings:
    """What is wrong so far, and what only needs saying."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def keep(self, make: Callable[[], T]) -> T | None:
        """What ``make`` makes; None, and its faults here, when it refuses."""
        try:
            return make()
        except Refused as refused:
            self.faults.append(refused.fault)
        except Unreadable as unreadable:
            self.faults += unreadable.faults
        return None


class Within(NamedTuple):
    """The numbers that make sense. ``least``: what is not 0 must be at least this far from it."""

    low: float
    high: float
    least: float = 0.0

    def refuses(self, x: float) -> str:
        """What is wrong with ``x``; empty when nothing is."""
        if not isfinite(x):
            return "must be finite"
        if x < self.low and self.low in (0, TINY):
            return "must not be negative" if self.low == 0 else "must be above 0"
        if not self.low <= x <= self.high:
            return f"must lie between {self.low:g} and {self.high:g}"
        return f"must be 0 or at least {self.least:g}" if 0 < abs(x) < self.least else ""


Number = Annotated[float, Within(-HUGE, HUGE)]
Amount = Annotated[float, Within(0, HUGE)]
Price = Annotated[float, Within(0, HUGE, TINY)]  # US dollars
Above = Annotated[float, Within(TINY, HUGE)]
Size = Annotated[float, Within(-1e15, 1e15)]
Multiplier = Annotated[float, Within(TINY, 1e9)]
Share = Annotated[float, Within(0, 1)]
Vol = Annotated[float, Within(0, 1e6)]  # per sqrt(year); 0.5 is 50 %
Rate = Annotated[float, Within(-10, 10)]  # per year, continuous
Scale = Annotated[float, Within(0, 1000)]  # a factor of something


def bind(cls: type[T], written: Any, keys: Keys = (), base: T | None = None) -> T:
    """``written`` as ``cls``; fields that it does not mention are those of ``base``, else the defaults of the class.

    Raises Unreadable with every fault.
    """
    binding = _Binding()
    made: T = binding.build(cls, written, keys, base)
    if binding.faults:
        raise Unreadable(binding.faults)
    return made


def dotted(keys: Keys) -> str:
    """``portfolio.options[0]``"""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".") or "the file"


def nearest(name: str, known: Iterable[str]) -> str:
    """Help for a name that nobody knows."""
    every = sorted(known)
    near = get_close_matches(name, every, n=1)
    listed = f"known: {', '.join(every)}" if every else "none is known here"
    return f'did you mean "{near[0]}"? {listed}' if near else listed


class _Wrong(Exception):
    pass


class _Binding:
    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def build(self, cls: Any, written: Any, keys: Keys, base: Any = None) -> Any:
        if not isinstance(written, dict):
            return self._add(keys, "needs an object in braces")
        known = {one.name: one for one in fields(cls) if not one.metadata.get(GIVEN)}
        kinds = get_type_hints(cls, include_extras=True)
        before = len(self.faults)
        self._strangers(known, written, keys)
        values = {name: self._field(one, kinds[name], written, keys, base) for name, one in known.items()}
        if len(self.faults) > before:
            return None
        try:
            return replace(base, **values) if base is not None else cls(**values)
        except ValueError as error:  # from its own __post_init__
            return self._add(keys, str(error))

    def _strangers(self, known: Mapping[str, Field[Any]], written: Mapping[str, Any], keys: Keys) -> None:
        for name, value in written.items():
            if name == NOTE and name not in known:
                if not _is_note(value):
                    self._add((*keys, name), "needs text, or a list of texts")
            elif name not in known:
                self._add((*keys, name), "is no key that is known here", nearest(name, list(known)), value=False)

    def _field(self, one: Field[Any], kind: Any, written: Mapping[str, Any], keys: Keys, base: Any) -> Any:
        default = getattr(base, one.name) if base is not None else _default(one)
        if one.name in written:
            return self._read(kind, written[one.name], (*keys, one.name), default)
        if default is MISSING:
            self.faults.append(Fault(keys, f'needs "{one.name}"', value=False, missing=True))
        return default

    def _read(self, kind: Any, written: Any, keys: Keys, default: Any = MISSING) -> Any:
        base = None if default is MISSING else default
        origin, parts = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            return self._either(parts, written, keys, base)
        if is_dataclass(kind):
            return self.build(kind, written, keys, base if isinstance(base, kind) else None)  # type: ignore[arg-type]
        if origin is tuple:
            return self._list(parts[0], written, keys)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return self._table(parts[1], written, keys, base or {})
        try:
            return _plain(kind, written)
        except _Wrong as wrong:
            return self._add(keys, str(wrong))

    def _either(self, parts: tuple[Any, ...], written: Any, keys: Keys, base: Any) -> Any:
        if written is None and NoneType in parts:
            return None
        real = [one for one in parts if one is not NoneType]
        objects = [one for one in real if is_dataclass(one)]
        kind = objects[0] if objects and (isinstance(written, dict) or len(real) == 1) else real[0]
        return self._read(kind, written, keys, MISSING if base is None else base)

    def _list(self, kind: Any, written: Any, keys: Keys) -> tuple[Any, ...]:
        if not isinstance(written, list):
            self._add(keys, "needs a list in brackets")
            return ()
        return tuple(self._read(kind, one, (*keys, index)) for index, one in enumerate(written))

    def _table(self, kind: Any, written: Any, keys: Keys, base: Mapping[str, Any]) -> Any:
        if not isinstance(written, dict):
            return self._add(keys, "needs an object in braces")
        given = {name: one for name, one in written.items() if name != NOTE}
        return {
            **base,
            **{name: self._read(kind, one, (*keys, name), base.get(name, MISSING)) for name, one in given.items()},
        }

    def _add(self, keys: Keys, what: str, help: str = "", *, value: bool = True) -> None:
        self.faults.append(Fault(keys, what, help, value))


def _default(one: Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _is_note(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


# ─── values ───────────────────────────────────────────────────────────────────────────────────────


def _plain(kind: Any, written: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _number(written, get_args(kind)[1])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(kind, written)
    return _of_type(kind, written)


WANTED: Final[Mapping[Any, str]] = {bool: "needs true or false", str: "needs text in quotes", int: "needs a number"}


def _of_type(kind: Any, written: Any) -> Any:
    if type(written) is not kind:  # isinstance would take true for a number
        raise _Wrong(WANTED[kind])
    return written


def _number(written: Any, within: Within) -> float:
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise _Wrong("needs a number" + (", without quotes" if isinstance(written, str) else ""))
    try:
        x = float(written)
    except OverflowError:
        raise _Wrong("is too large") from None
    if refused := within.refuses(x):
        raise _Wrong(refused)
    return x + 0.0  # -0.0 is 0


def _member(kind: type[Enum], written: Any) -> Enum:
    values = {one.value: one for one in kind}
    if not isinstance(written, str) or written not in values:
        raise _Wrong(f"must be one of {', '.join(values)}")
    return values[written]

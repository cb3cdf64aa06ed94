"""Names in the settings into code: adapters by kind, strategies by module and class."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass, replace
from importlib import import_module, util
from pathlib import Path
from typing import Any, TypeVar, cast

from keeper.errors import Misconfigured
from keeper.model import BlockRef
from keeper.ports import Adapter, Strategy
from keeper.settings import Problem, Settings, Unusable

T = TypeVar("T")
OPTIONS, MORPHO = "keeper.protocols.options", "keeper.protocols.morpho_blue"
ADAPTERS: Mapping[str, tuple[str, str]] = {  # kind -> adapter class, its settings class
    "options": (f"{OPTIONS}.adapter:Options", f"{OPTIONS}.settings:Settings"),
    "morpho_blue": (
        "keeper.protocols.morpho_blue.adapter:MorphoBlue",
        "keeper.protocols.morpho_blue.settings:Settings",
    ),
}


def desks(settings: Settings) -> list[tuple[Adapter, list[Strategy]]]:
    """Every configured protocol with the strategies that may act on it. Raises Misconfigured with all that is wrong."""
    if not settings.protocols:
        raise Misconfigured("no protocol is configured", help="add a [protocols.<name>] table")
    problems = list[Problem]()
    strategies = _each(strategy, settings, settings.strategies, problems)
    adapters = _each(adapter, settings, settings.protocols, problems)
    if problems:
        raise settings.refuse(problems)
    return [
        (made, [s for key, s in strategies.items() if name in settings.strategies[key].protocols])
        for name, made in adapters.items()
    ]


def _each(
    make: Callable[[Settings, str], T], settings: Settings, names: Iterable[str], problems: list[Problem]
) -> dict[str, T]:
    """One of each name; what is wrong with the others is added to ``problems``."""
    made = dict[str, T]()
    for name in names:
        try:
            made[name] = make(settings, name)
        except Unusable as error:
            problems += error.problems
    return made


def adapter(settings: Settings, name: str) -> Adapter:
    """One protocol's adapter, with its options bound. The operator's reserve is never below that of [risk]."""
    kind = settings.protocols[name].adapter
    if kind not in ADAPTERS:
        known = ", ".join(ADAPTERS)
        raise settings.fault(("protocols", name, "adapter"), f"no adapter {kind!r}", help=f"one of {known}")
    made, wanted = (_found(place) for place in ADAPTERS[kind])
    bound = settings.bind(wanted, "protocols", name)
    if hasattr(bound, "reserve"):
        bound = replace(bound, reserve=max(bound.reserve, settings.risk.reserve))
    found: Adapter = made(bound)
    return found


def strategy(settings: Settings, name: str) -> Strategy:
    """``module:Class`` or ``path/to/file.py:Class``: a dataclass, its options bound to its fields."""
    use = settings.strategies[name].use
    try:
        found = _found(use)
    except (ImportError, FileNotFoundError, AttributeError) as error:
        why = f"cannot load strategy {use!r}: {error}"
        raise settings.fault(("strategies", name, "use"), why, help="name a module and a class in it") from error
    if not (isinstance(found, type) and is_dataclass(found)):
        why = f"strategy {use!r} is not a dataclass"
        raise settings.fault(("strategies", name, "use"), why, help="its fields are its options")
    made: Any = settings.bind(found, "strategies", name)
    return cast(Strategy, made)


def _found(use: str) -> Any:
    place, _, name = use.rpartition(":")
    return getattr(_file(place) if place.endswith(".py") else _module(place), name)


def _module(name: str) -> Any:
    for folder in (Path.cwd(), Path(__file__).parent.parent):  # where the operator's `strategies/` lies
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    return import_module(name)


def _file(path: str) -> Any:
    spec = util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Nothing:
    """An empty view, to ask an adapter where its history begins."""

    ref = BlockRef(0, bytes(32), bytes(32), 0, 0, 0, 1)

    def get(self, key: Any) -> Any:
        return None

    def keys(self, kind: str) -> Any:
        return iter(())

"""Any portfolio file is either answered in finite numbers or refused with a place and a reason; nothing in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from math import isfinite
from pathlib import Path
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.margin.rules.bind import Keys, Unreadable
from keeper.margin.rules.derive import cases
from keeper.margin.rules.engine import assess
from keeper.margin.rules.reading import read
from keeper.margin.rules.result import Result
from tests.unit.test_margin_rules_derive import STANDARD, VERSION_1, VERSION_2

EXAMPLES: Final = tuple(
    json.loads(file.read_text()) for file in sorted((Path(__file__).parents[2] / "config/margin").glob("*.json"))
)
DERIVE: Final = (VERSION_2, VERSION_1, {"Test1": STANDARD["Test1"]})
NUMBERS: Final = st.sampled_from(
    [
        0,
        -0.0,
        1,
        -1,
        0.5,
        1e-300,
        -1e-18,
        1e-19,
        1e9,
        -1e9,
        1e15,
        1e24,
        1e25,
        1e300,
        float("inf"),
        float("nan"),
        10**400,
    ]
)
JUNK: Final = st.one_of(NUMBERS, NUMBERS, st.sampled_from([None, True, "", "call", "1", [], {}, [1], {"a": 1}, "none"]))


def places(tree: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Everywhere in a tree but at its root."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, one in inner:
        yield (*keys, key)
        yield from places(one, (*keys, key))


def at(tree: Any, keys: Keys) -> Any:
    for key in keys:
        tree = tree[key]
    return tree


@st.composite
def spoiled(draw: st.DrawFn, files: tuple[Any, ...]) -> Any:
    """A file in which up to three things were replaced, removed, doubled or given another name."""
    tree = deepcopy(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 3))):
        keys = draw(st.sampled_from(list(places(tree)) or [()]))
        if keys:
            _spoil(draw, at(tree, keys[:-1]), keys[-1])
    return tree


def _spoil(draw: st.DrawFn, node: Any, key: Any) -> None:
    how = draw(st.sampled_from(["junk", "junk", "junk", "gone", "twice", "renamed"]))
    if how == "junk":
        node[key] = deepcopy(draw(JUNK))
    elif how == "gone":
        del node[key]
    elif isinstance(node, list):
        node.append(deepcopy(node[key]))
    else:
        node[f"{key}s"] = node.pop(key) if how == "renamed" else deepcopy(node[key])


def finite(result: Result) -> bool:
    lines = (*result.marks, *result.requirements)
    numbers = [result.maintenance, result.initial, result.mark, *(x for one in lines for x in (one.mm, one.im))]
    numbers += [pnl for scan in result.scans for _, pnl in scan.pnl]
    numbers += [x for one in result.greeks for x in (one.delta, one.gamma, one.vega)]
    return all(map(isfinite, numbers))


@settings(max_examples=120)
@given(spoiled(EXAMPLES))
def test_a_spoiled_file_is_answered_or_refused(tree: Any) -> None:
    try:
        rules, book = read(tree)
    except Unreadable as error:
        assert error.faults and all(one.what for one in error.faults)
        return
    assert finite(assess(book, rules))


@settings(max_examples=120)
@given(spoiled(DERIVE))
def test_so_is_a_spoiled_case_of_derives(tree: Any) -> None:
    try:
        read_ = [(one, read(one.tree)) for one in cases(tree)]
    except Unreadable as error:
        assert error.faults and all(one.what for one in error.faults)
        return
    assert all(finite(assess(book, rules)) for _, (rules, book) in read_)

"""Every key and value of a TOML text is found where it stands, however it is written."""

import json
import tomllib
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.settings.positions import Keys, positions

TEXT = """\
title = "a # b"  # comment
[chains.main]  # header
rpc = 'x'
note = \"\"\"two
lines\"\"\"

 [ "quoted.name" . inner ]
list = [1, [2, 3], {deep = true},
  4]
a.b.c = 1979-05-27 07:32:00
table = { x = 1, y.z = "}" }
[[many]]
k = 1
[[many]]
k = 2
[many.sub]
s = 3
"""


@pytest.mark.parametrize(
    ("keys", "key", "value"),
    [
        (("title",), "title", '"a # b"'),
        (("chains",), "chains", "chains"),
        (("chains", "main"), "main", "main"),
        (("chains", "main", "rpc"), "rpc", "'x'"),
        (("chains", "main", "note"), "note", '"""two\nlines"""'),
        (("quoted.name", "inner", "list", 1, 0), "2", "2"),
        (("quoted.name", "inner", "list", 2, "deep"), "deep", "true"),
        (("quoted.name", "inner", "list", 3), "4", "4"),
        (("quoted.name", "inner", "a", "b"), "b", "b"),
        (("quoted.name", "inner", "a", "b", "c"), "c", "1979-05-27 07:32:00"),
        (("quoted.name", "inner", "table", "y", "z"), "z", '"}"'),
        (("many", 0, "k"), "k", "1"),
        (("many", 1, "k"), "k", "2"),
        (("many", 1, "sub", "s"), "s", "3"),
    ],
)
def test_stands_where_it_is_written(keys: Keys, key: str, value: str) -> None:
    tomllib.loads(TEXT)
    mark = positions(TEXT)[keys]
    assert (TEXT[slice(*mark.key)], TEXT[slice(*mark.value)]) == (key, value)


# ─── any text ─────────────────────────────────────────────────────────────────────────────────────

names = st.text("ab-_Z9", min_size=1, max_size=3) | st.text("a. #é=]", max_size=3)
scalars = st.booleans() | st.integers(-(10**9), 10**9) | st.text('ab"\\#]},= é', max_size=6)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
trees = st.dictionaries(names, values | st.lists(st.dictionaries(names, values, max_size=2), min_size=1, max_size=2))


@given(trees, st.randoms(use_true_random=False))
def test_every_leaf_is_found(tree: dict[str, Any], random: Random) -> None:
    text = "".join(_table((), tree, random))
    assert tomllib.loads(text) == tree
    marks = positions(text)
    for keys, value in _leaves((), tree):
        written = text[slice(*marks[keys].value)]
        assert tomllib.loads(f"x = {written}") == {"x": value}


def _table(above: tuple[str, ...], tree: dict[str, Any], random: Random) -> Iterator[str]:
    """Values first, then what gets a header of its own, in random notation."""
    later = []
    for name, value in tree.items():
        if (isinstance(value, dict) and random.random() < 0.6) or (
            isinstance(value, list) and value and all(isinstance(one, dict) for one in value) and random.random() < 0.6
        ):
            later.append((name, value))
        elif isinstance(value, dict) and value and random.random() < 0.5:
            yield from (f"{_key(name)} . {_key(inner)}={_value(one)} # x\n" for inner, one in value.items())
        else:
            yield f"  {_key(name)} = {_value(value)}\r\n"
    for name, value in later:
        path = (*above, _key(name))
        tables, brackets = ([value], "[]") if isinstance(value, dict) else (value, ["[[", "]]"])
        for table in tables:
            yield f"{brackets[0]} {' . '.join(path)}{brackets[1]}\n"
            yield from _table(path, table, random)


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if plain else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[ # x\n" + ",\n".join(_value(one) for one in value) + "]"
    return json.dumps(value)


def _leaves(above: Keys, value: Any) -> Iterator[tuple[Keys, Any]]:
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves((*above, key), one)
    else:
        yield above, value

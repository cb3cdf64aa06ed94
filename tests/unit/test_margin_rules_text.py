"""JSON with places."""

import json

import pytest

from keeper.margin.rules.text import NotJson, parse

TEXT = '{"a": [1, -2.5e3, {"b\\n": "c\\u00e9"}],\n "d": {}, "e": [], "f": [true, false, null]}'


def test_values_are_those_of_json() -> None:
    assert parse(TEXT)[0] == json.loads(TEXT)


@pytest.mark.parametrize(
    ("keys", "key", "value"),
    [
        (("a",), '"a"', '[1, -2.5e3, {"b\\n": "c\\u00e9"}]'),
        (("a", 1), "-2.5e3", "-2.5e3"),
        (("a", 2, "b\n"), '"b\\n"', '"c\\u00e9"'),
        (("d",), '"d"', "{}"),
        (("f", 2), "null", "null"),
        ((), TEXT, TEXT),
    ],
)
def test_every_key_and_value_has_its_place(keys: tuple[str | int, ...], key: str, value: str) -> None:
    mark = parse(TEXT)[1][keys]
    assert (TEXT[slice(*mark.key)], TEXT[slice(*mark.value)]) == (key, value)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 0),
        ("{", 1),
        ('{"a"}', 4),
        ('{"a": 1,}', 8),
        ("{a: 1}", 1),
        ("[1 2]", 3),
        ("[1,", 3),
        ("[NaN]", 1),
        ("[-Infinity]", 1),
        ("[01]", 1),
        ("[.5]", 1),
        ("[0x1]", 1),
        ('["a]', 1),
        ("{} {}", 3),
        ('{"a": 1, "a": 2}', 9),
        ("[" * 100, 33),
    ],
)
def test_what_is_no_json_is_refused_where_that_shows(text: str, at: int) -> None:
    with pytest.raises(NotJson) as error:
        parse(text)
    assert error.value.at == at

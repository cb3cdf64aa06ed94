"""JSON with places: where in the text each key and each value stands. Strict: no NaN, no key twice.

``json`` gives values without positions, so this reads the text itself; strings are left to ``json``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from keeper.margin.rules.bind import Keys

DEEPEST: Final = 32

_JSON = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[^\s,\]}:\"\[{]+")
_WORDS: Final = {"true": True, "false": False, "null": None}


class Span(NamedTuple):
    start: int  # offset in the text
    end: int


class Mark(NamedTuple):
    key: Span  # of a list element: the same as its value
    value: Span


class NotJson(ValueError):
    """The text is no JSON; ``at`` is the offset where that shows."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.at = at


def parse(text: str) -> tuple[Any, dict[Keys, Mark]]:
    """The value, and the place of everything in it. Raises NotJson."""
    reader = _Reader(text)
    reader.space()
    value = reader.value((), None)
    reader.space()
    if reader.at < len(text):
        raise NotJson("something follows the end", reader.at)
    return value, reader.marks


@dataclass
class _Reader:
    text: str
    at: int = 0
    marks: dict[Keys, Mark] = field(default_factory=dict)

    def space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def value(self, keys: Keys, key: Span | None) -> Any:
        start, opening = self.at, self.text[self.at : self.at + 1]
        if len(keys) > DEEPEST:
            raise NotJson("too deeply nested", start)
        if opening == "{":
            read: Any = self._object(keys)
        elif opening == "[":
            read = self._list(keys)
        else:
            read = self._string() if opening == '"' else self._word()
        value = Span(start, self.at)
        self.marks[keys] = Mark(key or value, value)
        return read

    def _object(self, keys: Keys) -> dict[str, Any]:
        read: dict[str, Any] = {}
        while self._more("{" if not read else ",", "}"):
            start = self.at
            if self.text[start : start + 1] != '"':
                raise NotJson("a key in quotes was expected", start)
            name, span = self._string(), Span(start, self.at)
            if name in read:
                raise NotJson(f'"{name}" stands here twice', start)
            self.space()
            self._skip(":")
            read[name] = self.value((*keys, name), span)
        return read

    def _list(self, keys: Keys) -> list[Any]:
        read: list[Any] = []
        while self._more("[" if not read else ",", "]"):
            read.append(self.value((*keys, len(read)), None))
        return read

    def _more(self, before: str, closing: str) -> bool:
        """Step over ``before``; False, and past ``closing``, when the list or object ends here."""
        self.space()
        first = before in "{["
        if not first and self.text.startswith(closing, self.at):
            self.at += 1
            return False
        self._skip(before)
        if first and self.text.startswith(closing, self.at):
            self.at += 1
            return False
        return True

    def _skip(self, expected: str) -> None:
        if not self.text.startswith(expected, self.at):
            raise NotJson(f'"{expected}" was expected', self.at)
        self.at += 1
        self.space()

    def _string(self) -> str:
        try:
            read, self.at = _JSON.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            raise NotJson(f"not a text: {error.msg[:1].lower()}{error.msg[1:]}", error.pos) from None
        return str(read)

    def _word(self) -> Any:
        found = _WORD.match(self.text, self.at)
        word = found[0] if found else ""
        number = _NUMBER.fullmatch(word)
        if not number and word not in _WORDS:
            what = f"{word[:20]} is no JSON value" if word else "a value was expected"
            raise NotJson(what, self.at)
        self.at += len(word)
        return float(word) if number else _WORDS[word]

"""Where each key and value of a TOML text stands.

``tomllib`` gives values without positions, so this walks the same text once more. It trusts ``tomllib`` to have
accepted the text and therefore checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Keys = tuple[str | int, ...]  # ("chains", "mainnet", "rpc"); integers index arrays


class Span(NamedTuple):
    start: int  # offset in the text
    end: int


class Mark(NamedTuple):
    key: Span
    value: Span
    leaf: bool  # neither table nor array


_KEY = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')
_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_VALUE = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^\s,\]}#](?:[^,\]}#\n]*[^\s,\]}#])?",
    re.DOTALL,
)


def positions(text: str) -> Mapping[Keys, Mark]:
    """Where every key and every array element of a valid TOML text stands."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.marks


@dataclass
class _Scanner:
    text: str
    at: int = 0
    marks: dict[Keys, Mark] = field(default_factory=dict)
    lengths: dict[Keys, int] = field(default_factory=dict)  # of arrays of tables, so far

    def document(self) -> None:
        table: Keys = ()
        self._match(_SPACE)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._match(_SPACE)

    def _match(self, pattern: re.Pattern[str]) -> Span:
        found = pattern.match(self.text, self.at)
        start, self.at = self.at, found.end() if found else self.at
        return Span(start, self.at)

    def _header(self) -> Keys:
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        path: Keys = ()
        parts = list(self._dotted())
        for position, (name, span) in enumerate(parts, 1):
            path = (*path, name)
            self.marks.setdefault(path, Mark(span, span, False))
            if brackets == 2 and position == len(parts):
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
                self.marks.setdefault(path, Mark(span, span, False))
        self.at += brackets
        return path

    def _dotted(self) -> Iterable[tuple[str, Span]]:
        while True:
            self._match(_BLANK)
            span = self._match(_KEY)
            yield _name(self.text[span.start : span.end]), span
            self._match(_BLANK)
            if self.text[self.at] != ".":
                return
            self.at += 1

    def _pair(self, table: Keys) -> None:
        path, span = table, Span(self.at, self.at)
        for name, span in self._dotted():
            path = (*path, name)
            self.marks.setdefault(path, Mark(span, span, False))
        self.at += 1  # the equals sign
        self._match(_BLANK)
        self._value(path, span)

    def _value(self, path: Keys, key: Span | None = None) -> None:
        start, opening = self.at, self.text[self.at]
        if opening == "[":
            self._inside("]", lambda index: self._value((*path, index)))
        elif opening == "{":
            self._inside("}", lambda _: self._pair(path))
        else:
            self._match(_VALUE)
        value = Span(start, self.at)
        self.marks[path] = Mark(key or value, value, opening not in "[{")

    def _inside(self, closing: str, item: Callable[[int], None]) -> None:
        index, self.at = 0, self.at + 1
        while True:
            self._match(_SPACE)
            if self.text[self.at] == closing:
                break
            if self.text[self.at] == ",":
                self.at += 1
                continue
            item(index)
            index += 1
        self.at += 1


def _name(key: str) -> str:
    """A key as TOML understands it: quotes and escapes undone."""
    return next(iter(tomllib.loads(f"{key}=0"))) if key[0] in "\"'" else key

"""A source of settings with positions, and what an error about it looks like.

error KC102: unknown key "min_proffit" in [risk]
  config/keeper.toml:41:1
  41 | min_proffit = "$25"
     | ^^^^^^^^^^^ did you mean "min_profit"?
  help: known here: max_gas_price, min_profit
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final, NamedTuple

from keeper.errors import Misconfigured
from keeper.settings.positions import Keys, Mark, Span

CODES: Final = {
    "KC101": "a configuration file cannot be read",
    "KC102": "an unknown key or section",
    "KC103": "a value of the wrong kind",
    "KC104": "a key that must be given is missing",
    "KC105": "a file is not valid TOML",
    "KC106": "a name that no section has",
    "KC107": "a secret stands where it can be read",
    "KC108": "settings that do not go together",
    "KC109": "an environment variable that is referred to is not set",
    "KC110": "a --set that is not key=value",
}


class Place(NamedTuple):
    """A stretch of a line; columns count from 0."""

    source: str
    line: int  # from 1; 0 when the source has no lines
    text: str  # the line, without secrets
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.start + 1}" if self.line else self.source

    def render(self) -> str:
        number = str(self.line) if self.line else ""
        under = " " * self.start + "^" * (self.end - self.start)
        return f"  {self}\n  {number} | {self.text}\n  {' ' * len(number)} | {under}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings."""

    code: str  # of CODES
    message: str
    place: Place | None = None
    hint: str = ""  # stands beside the carets
    help: str = ""

    def render(self) -> str:
        lines = [f"error {self.code}: {self.message}"]
        if self.place:
            lines.append(f"{self.place.render()} {self.hint}".rstrip())
        elif self.hint:
            lines.append(f"  {self.hint}")
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


class Unusable(Misconfigured):
    """Everything that is wrong with the settings, at once; the text is ready to be printed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n\n".join(problem.render() for problem in self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean "x"?``, or nothing when no known word is near."""
    near = get_close_matches(word, list(known), n=1)
    return f'did you mean "{near[0]}"?' if near else ""


def dotted(keys: Keys) -> str:
    """``a.b[0]``"""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def at(tree: Any, keys: Keys) -> Any:
    """What stands at a key of nested tables and arrays; None when nothing does."""
    for key in keys:
        try:
            tree = tree[key]
        except (LookupError, TypeError):
            return None
    return tree


@dataclass(frozen=True, repr=False)
class Document:
    """One source of settings: a file, the environment, or the command line."""

    name: str
    text: str
    tree: Mapping[str, Any]
    marks: Mapping[Keys, Mark]
    numbered: bool = True  # its lines have numbers that mean something to a person
    private: bool = False  # only this process can read it

    def place(self, keys: Keys, *, value: bool = False) -> Place | None:
        """Where a key stands, or its value; None when this document does not mention it."""
        mark = self.marks.get(keys)
        return None if mark is None else self.stretch(mark.value if value else mark.key)

    def value(self, keys: Keys) -> Any:
        """What is written at a key; None when nothing is."""
        return at(self.tree, keys)

    def origin(self, keys: Keys) -> str:
        """``config/keeper.toml:41`` or ``environment KEEPER__…``: who set this key."""
        place = self.place(keys)
        if place is None or place.line:
            return f"{self.name}:{place.line}" if place else self.name
        return f"{self.name} {place.text[place.start : place.end]}"

    def stretch(self, span: Span) -> Place:
        begin = self.text.rfind("\n", 0, span.start) + 1
        end = self.text.find("\n", begin)
        end = len(self.text) if end < 0 else end
        line = self.text.count("\n", 0, begin) + 1
        shown = self._masked[begin:end].rstrip("\r").replace("\t", " ")
        last = max(min(span.end, end), span.start + 1)
        return Place(self.name, line if self.numbered else 0, shown, span.start - begin, last - begin)

    @cached_property
    def _masked(self) -> str:
        """The text, as long as before, without values that may be secret."""
        text = self.text
        for keys, mark in self.marks.items():
            if mark.leaf and _SECRETIVE.search(".".join(map(str, keys))):
                text = _starred(text, mark.value)
        return _GIVEAWAY.sub(lambda match: "*" * len(match[0]), text)


_SECRETIVE = re.compile(r"(?i)^signers\.|pass|secret|private|mnemonic|seed|auth|(^|[._-])key|\brpc$|url|token$")
_GIVEAWAY = re.compile(r"(?<=://)[^\s\"']+|\b(?:0x)?[0-9a-fA-F]{64}\b")
_REFERENCE = re.compile(r"[\"']?\$\{\w+\}[\"']?")


def _starred(text: str, span: Span) -> str:
    value = text[span.start : span.end]
    if _REFERENCE.fullmatch(value):
        return text
    return text[: span.start] + re.sub(r"[^\n]", "*", value) + text[span.end :]


_SAFE = re.compile(r"\s*(?:\[[\w\s.-]*\]*|[\w.-]+\s*=?)")  # a header, or a key and its equals sign
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def not_toml(name: str, text: str, message: str) -> Problem:
    """What tomllib complained about, where it did. The value is masked: which ones are secret is unknown here."""
    lines = text.split("\n")
    found = _AT.search(message)
    line = int(found[1]) if found and found[1] else len(lines)
    column = int(found[2]) - 1 if found and found[2] else len(lines[line - 1])
    safe = _SAFE.match(lines[line - 1])
    kept = safe.end() if safe else 0
    shown = lines[line - 1][:kept] + re.sub(r"[^\s\"'\[\]{},=#]", "*", lines[line - 1][kept:])
    place = Place(name, line, shown.rstrip("\r").replace("\t", " "), column, column + 1)
    what = _AT.sub("", message)
    return Problem("KC105", f"not valid TOML: {what[:1].lower()}{what[1:]}", place)

"""Files, environment and command line: each is read into a document whose keys have places, and handed to the library.

pydantic-settings merges them, the stronger one first, key by key; arrays are replaced as a whole. Its own sources
are not used: they pass over files that do not exist and variables that nobody knows, and forget where a value stood.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from keeper.settings.located import Document, Place, Problem, Unusable, not_toml
from keeper.settings.positions import Keys, Mark, Span, positions

PREFIX = "KEEPER__"


class Source(PydanticBaseSettingsSource):
    """A document, as the library takes it."""

    def __init__(self, settings: type[BaseSettings], document: Document) -> None:
        super().__init__(settings)
        self._tree = dict(document.tree)

    def __call__(self) -> dict[str, Any]:
        return self._tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._tree.get(field.alias or field_name), field_name, False  # asked by nobody, but abstract


@dataclass(frozen=True, repr=False)
class Sources:
    """All documents, the weakest first, and what is asked about them together."""

    documents: tuple[Document, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    def find(self, keys: Keys) -> Document | None:
        """The strongest document that mentions the key."""
        return next((document for document in reversed(self.documents) if keys in document.marks), None)

    def place(self, keys: Keys, *, value: bool = False) -> Place | None:
        """Where the key stands, or else the nearest table around it."""
        for length in range(len(keys), 0, -1):
            if document := self.find(keys[:length]):
                return document.place(keys[:length], value=value and length == len(keys))
        return None

    def value(self, keys: Keys) -> Any:
        """What the strongest document that mentions the key says there; None when none does."""
        document = self.find(keys)
        return document.value(keys) if document else None

    def below(self, keys: Keys) -> list[str]:
        """The names in a table, from all documents."""
        every = (mark for document in self.documents for mark in document.marks)
        return list(dict.fromkeys(str(mark[-1]) for mark in every if mark[:-1] == keys))

    def tables(self, section: str) -> list[str]:
        """The names in a section that are tables."""
        return [name for name in self.below((section,)) if isinstance(self.value((section, name)), Mapping)]

    @cached_property
    def origin(self) -> Mapping[str, tuple[str, ...]]:
        """Dotted key -> who set it, the winner first."""
        said: dict[str, tuple[str, ...]] = {}
        for document in self.documents:
            for keys in leaves(document.tree):
                dotted = ".".join(map(str, keys))
                said[dotted] = (document.origin(keys), *said.get(dotted, ()))
        return said

    def refuse(self, problems: Iterable[Problem]) -> Unusable:
        """The error that names them all, as a reader of the documents meets them."""
        order = [document.name for document in self.documents]

        def met(problem: Problem) -> tuple[int, int, int]:
            place = problem.place
            return (order.index(place.source), place.line, place.start) if place else (-1, 0, 0)

        return Unusable(sorted(problems, key=met))


def leaves(tree: Mapping[str, Any], above: Keys = ()) -> Iterator[Keys]:
    """The keys of every value that is no table; an empty table is one too."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key)


# ─── reading ──────────────────────────────────────────────────────────────────────────────────────


def gather(files: Sequence[Path], overrides: Sequence[str], environ: Mapping[str, str]) -> Sources:
    """Read everything. Raises Unusable with all files that cannot be read and all overrides that are none."""
    read = [_file(file) for file in files]
    problems = [one for one in read if isinstance(one, Problem)]
    problems += [_no_override(text) for text in overrides if _assignment(text) is None]
    if problems:
        raise Unusable(problems)
    documents = [one for one in read if isinstance(one, Document)]
    known = {keys for document in documents for keys in document.marks}
    ours = sorted(name for name in environ if name.startswith(PREFIX))
    documents += [_variable(name, environ[name], known) for name in ours]
    return Sources((*documents, *map(_override, overrides)), environ)


def _file(path: Path) -> Document | Problem:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Problem(
            "KC101", f"no configuration file {path}", help="give another with -c, or copy config/keeper.toml"
        )
    except (OSError, UnicodeDecodeError) as error:
        return Problem("KC101", f"cannot read {path}: {type(error).__name__}")
    try:
        return Document(str(path), text, tomllib.loads(text), positions(text))
    except tomllib.TOMLDecodeError as error:
        return not_toml(str(path), text, str(error))


def _variable(name: str, value: str, known: set[Keys]) -> Document:
    """Only the name is ever shown."""
    keys = _spelled(name.removeprefix(PREFIX).lower().split("__"), known)
    shown = Span(0, len(name))
    return _single("environment", name, keys, _typed(value), shown, shown, private=True)


def _spelled(parts: Sequence[str], known: set[Keys]) -> Keys:
    """Names as the files spell them: variables know neither capitals nor hyphens."""
    keys: Keys = ()
    for part in parts:
        names = (str(found[-1]) for found in known if found[:-1] == keys)
        keys = (*keys, next((name for name in names if name.lower().replace("-", "_") == part), part))
    return keys


def _override(text: str) -> Document:
    keys, key, value = _assignment(text) or ((), "", "")
    line = f"--set {text}"
    start, end = len("--set "), len(line)
    middle = start + len(key)
    return _single("command line", line, keys, _typed(value), Span(start, middle), Span(middle + 1, end))


def _single(
    name: str, line: str, keys: Keys, written: Any, key: Span, value: Span, *, private: bool = False
) -> Document:
    """One line that gives one key a value; whatever is inside the value stands where the value does."""
    marks = {keys[:length]: Mark(key, key, False) for length in range(1, len(keys))}
    marks |= {inside: Mark(key, value, True) for inside in _within(written, keys)}
    for name_ in reversed(keys):
        written = {name_: written}
    return Document(name, line, written, marks, numbered=False, private=private)


def _within(value: Any, keys: Keys) -> Iterator[Keys]:
    yield keys
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from _within(one, (*keys, key))


def _assignment(text: str) -> tuple[Keys, str, str] | None:
    """``a.b=value`` taken apart: keys, the text of the keys, the text of the value."""
    key, equals, value = text.partition("=")
    try:
        node: Any = tomllib.loads(f"{key} = 0") if equals and "\n" not in text else {}
    except tomllib.TOMLDecodeError:
        return None
    keys: list[str] = []
    while isinstance(node, dict) and len(node) == 1:
        name, node = next(iter(node.items()))
        keys.append(name)
    return (tuple(keys), key, value) if keys else None


def _no_override(text: str) -> Problem:
    return Problem("KC110", "--set needs section.key=value", help="for example --set risk.max_inflight=1")


def _typed(text: str) -> Any:
    """A TOML value where the text is one (``3``, ``true``, ``["a"]``), else the text itself (``$25``, ``0x52…``)."""
    if text.startswith("0x"):  # TOML would make an integer of an address
        return text
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    plain = len(read) == 1 and isinstance(read["value"], bool | int | float | str | list | dict)
    return read["value"] if plain else text

"""Files, environment and command line as documents, and the one tree they make together."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keeper.settings.located import Document, Place, Problem, Unusable, at, not_toml
from keeper.settings.positions import Keys, Mark, Span, positions

PREFIX = "KEEPER__"


@dataclass(frozen=True, repr=False)
class Sources:
    """All documents, the weakest first, and their merged tree."""

    documents: Sequence[Document] = ()
    tree: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # dotted key -> places, winner first

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
        """What was written at a key; None when nothing was."""
        return at(self.tree, keys)

    def tables(self, section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The named tables of a section, as far as they are tables."""
        found = self.value((section,))
        named = found.items() if isinstance(found, Mapping) else ()
        return ((name, table) for name, table in named if isinstance(table, Mapping))


def gather(files: Sequence[Path], overrides: Sequence[str], environ: Mapping[str, str]) -> Sources:
    """Read everything. Raises Unusable with all files that cannot be read and all overrides that are none."""
    read = [_file(file) for file in files]
    documents = [source for source in read if isinstance(source, Document)]
    problems = [source for source in read if isinstance(source, Problem)]
    problems += [_no_override(text) for text in overrides if _assignment(text) is None]
    if problems:
        raise Unusable(problems)
    documents.append(_environment(environ, merge(documents).tree))
    documents.append(_command_line([text for text in overrides if text]))
    return merge(documents)


# ─── the three kinds of source ────────────────────────────────────────────────────────────────────


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


def _environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> Document:
    """One line for each of our variables: its name. Values are never shown."""
    tree: dict[str, Any] = {}
    marks: dict[Keys, Mark] = {}
    names = sorted(name for name in environ if name.startswith(PREFIX))
    start = 0
    for name in names:
        keys = _spelled(name.removeprefix(PREFIX).lower().split("__"), known)
        _put(tree, keys, _typed(environ[name]))
        _mark(marks, keys, Span(start, start + len(name)), Span(start, start + len(name)))
        start += len(name) + 1
    return Document("environment", "\n".join(names), tree, marks, numbered=False, private=True)


def _spelled(parts: Sequence[str], known: Mapping[str, Any]) -> Keys:
    """Names as the files spell them: variables know neither capitals nor hyphens."""
    keys: list[str] = []
    node: Any = known
    for part in parts:
        names = node if isinstance(node, Mapping) else {}
        keys.append(next((name for name in names if name.lower().replace("-", "_") == part), part))
        node = names.get(keys[-1])
    return tuple(keys)


def _command_line(overrides: Sequence[str]) -> Document:
    tree: dict[str, Any] = {}
    marks: dict[Keys, Mark] = {}
    lines = [f"--set {text}" for text in overrides]
    start = 0
    for text, line in zip(overrides, lines, strict=True):
        keys, key, value = _assignment(text) or ((), "", "")
        begin = start + len("--set ")
        _put(tree, keys, _typed(value))
        _mark(marks, keys, Span(begin, begin + len(key)), Span(begin + len(key) + 1, start + len(line)))
        start += len(line) + 1
    return Document("command line", "\n".join(lines), tree, marks, numbered=False)


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


def _put(tree: dict[str, Any], keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(str(key)), dict):
            tree[str(key)] = {}
        tree = tree[str(key)]
    tree[str(keys[-1])] = value


def _mark(marks: dict[Keys, Mark], keys: Keys, key: Span, value: Span) -> None:
    for length in range(1, len(keys)):
        marks.setdefault(keys[:length], Mark(key, key, False))
    marks[keys] = Mark(key, value, True)


# ─── merging ──────────────────────────────────────────────────────────────────────────────────────


def merge(documents: Sequence[Document]) -> Sources:
    """Later documents win key by key; arrays are replaced as a whole."""
    tree: dict[str, Any] = {}
    origin: dict[str, tuple[str, ...]] = {}
    for document in documents:
        for keys, value in leaves(document.tree, ()):
            _put(tree, keys, value)
            dotted = ".".join(map(str, keys))
            origin[dotted] = (_origin(document, keys), *origin.get(dotted, ()))
    return Sources(tuple(documents), tree, origin)


def leaves(tree: Mapping[str, Any], above: Keys) -> Iterator[tuple[Keys, Any]]:
    """Every value that is no table, with its keys; an empty table is one too."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _origin(document: Document, keys: Keys) -> str:
    place = document.place(keys)
    if place is None or place.line:
        return f"{document.name}:{place.line}" if place else document.name
    return f"{document.name} {place.text[place.start : place.end]}"

"""A view in which some records are others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keeper.model import BlockRef, Key
from keeper.ports import View


class WhatIf:
    """Implements ``ports.View``: ``changes`` over ``view``. One over another is as quick to ask as one alone."""

    def __init__(self, view: View, changes: Mapping[Key, Any]) -> None:
        self._view, self._changes = view, dict(changes)
        if isinstance(view, WhatIf):
            self._view, self._changes = view._view, view._changes | self._changes

    @property
    def ref(self) -> BlockRef:
        return self._view.ref

    def get(self, key: Key) -> Any:
        return self._changes[key] if key in self._changes else self._view.get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        more = {key for key, record in self._changes.items() if key.kind == kind and record is not None}
        gone = {key for key, record in self._changes.items() if key.kind == kind and record is None}
        return iter(sorted((more | set(self._view.keys(kind))) - gone))

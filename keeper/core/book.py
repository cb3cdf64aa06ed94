"""The state of one protocol, as its events tell it: apply a block, roll back a block.

Records are immutable values under a ``Key``; those of accounts live in columns, which are also what is screened. Each
applied block leaves an undo list; a reorg replays it backwards, so that rolling back is exactly "never having seen
those blocks". What a block tells of accounts is gathered and written at once, at its end or when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from keeper.errors import Broken
from keeper.model import BlockBatch, BlockRef, Delta, Fact, Key, Log, Read, Told
from keeper.ports import Adapter, Bulk, Columns

DEPTH = 256  # blocks that can be undone; deeper reorgs need a resync


@dataclass(frozen=True, slots=True)
class Written:
    """Columns of many records, written at once."""

    undo: Any  # of ``Bulk``


class Book:
    """Implements ``ports.View``."""

    def __init__(self, adapter: Adapter, genesis: BlockRef) -> None:
        self.ref = genesis  # the last block applied
        self.take(adapter.columns())
        self._adapter = adapter
        self._records: dict[Key, Any] = {}
        self._kinds: dict[str, set[Key]] = {}
        self._told: dict[Key, Any] = {}  # of columns, not written yet
        self._undo: deque[tuple[BlockRef, list[Delta | Written]]] = deque(maxlen=DEPTH)
        self.interests = adapter.interests(self)

    # ── View ──

    def get(self, key: Key) -> Any:
        if key.kind not in self.columns.kinds:
            return self._records.get(key)
        self._write()
        return self.columns.get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        if kind not in self.columns.kinds:
            return iter(sorted(self._kinds.get(kind, ())))
        self._write()
        return self.columns.keys(kind)

    # ── changes ──

    def apply(self, batch: BlockBatch) -> list[Fact]:
        """Absorb one block; returns the facts in it. Raises Broken unless it extends the last one.

        When the adapter raises, the book is as it was before.
        """
        if not self._extends(batch):
            raise Broken(f"block {batch.ref.number} does not extend block {self.ref.number} in the book")
        facts = list[Fact]()
        self._undo.append((self.ref, []))
        self.ref = batch.ref
        try:
            for source in self._sources(batch):
                for change in self._adapter.absorb(self, source, batch.ref):
                    if isinstance(change, Told):
                        self._told[change.key] = change.said
                    elif isinstance(change, Fact):
                        facts.append(change)
                    else:
                        self._change(change)
            self._write()
            self.interests = self._adapter.interests(self)
        except BaseException:
            self._told.clear()
            self._pop()
            raise
        return facts

    def _change(self, change: Delta) -> None:
        if change.key.kind in self.columns.kinds:
            self._write()
        self._put(change.key, change.after)
        self._undo[-1][1].append(change)

    def _write(self) -> None:
        """What was told of records in columns."""
        if self._told:
            told, self._told = self._told, {}
            self._undo[-1][1].append(Written(self._bulk.put_all(told)))

    def _sources(self, batch: BlockBatch) -> list[Log | tuple[Read, bytes]]:
        reads = [(read, batch.reads[read.name]) for read in self.interests.reads if read.name in batch.reads]
        return [*batch.logs, *reads]

    def _extends(self, batch: BlockBatch) -> bool:
        if batch.first is None or batch.first == batch.ref.number:
            return batch.ref.parent == self.ref.hash
        return batch.first == self.ref.number + 1  # skipped empty blocks: only the count can be checked

    def amend(self, changes: Sequence[Delta]) -> None:
        """Correct records at the last block; rolling that back undoes it."""
        for change in changes:
            self._put(change.key, change.after)
        if self._undo:
            self._undo[-1][1].extend(changes)

    def take(self, columns: Columns) -> None:
        """These in place of what was told of accounts; with empty ones it is as if none ever was."""
        self.columns, self._bulk = columns, cast(Bulk, columns)

    def rollback(self, to: BlockRef) -> None:
        """Undo blocks until ``to`` is the last one. Raises Broken, and undoes nothing, when it is none of those."""
        if to.hash != self.ref.hash and all(ref.hash != to.hash for ref, _ in reversed(self._undo)):
            raise Broken(f"cannot roll the book back to block {to.number}: not among the last {DEPTH} blocks")
        while self.ref.hash != to.hash:
            self._pop()
        self.interests = self._adapter.interests(self)

    def _pop(self) -> None:
        self.ref, done = self._undo.pop()
        for change in reversed(done):
            if isinstance(change, Written):
                self._bulk.restore(change.undo)
            else:
                self._put(change.key, change.before)

    def _put(self, key: Key, record: Any) -> None:
        if key.kind not in self.columns.kinds:
            self._keep(key, record)
        self.columns.put(key, record)

    def _keep(self, key: Key, record: Any) -> None:
        if record is None:
            self._records.pop(key, None)
            self._kinds.get(key.kind, set()).discard(key)
        else:
            self._records[key] = record
            self._kinds.setdefault(key.kind, set()).add(key)

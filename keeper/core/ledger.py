"""What we own, place by place, as a list of changes with causes; it must equal the chain to the wei.

Entries come from two sources only: receipts (gas) and changes of what the books say we hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    block: int
    place: str  # "signer coin", "options desk 0", "options account cash"
    amount: int  # smallest units of the place, signed
    cause: str  # "opening", "gas", or "event": what the books say of that block


@dataclass
class Ledger:
    entries: list[Entry] = field(default_factory=list)

    def add(self, block: int, place: str, amount: int, cause: str) -> None:
        if amount:
            self.entries.append(Entry(block, place, amount, cause))

    def change(self, block: int, before: Mapping[str, int], after: Mapping[str, int], cause: str) -> None:
        """One entry for every place that differs."""
        for place in sorted(before.keys() | after.keys()):
            self.add(block, place, after.get(place, 0) - before.get(place, 0), cause)

    def rollback(self, to: int) -> None:
        """Forget what happened in blocks above ``to``."""
        self.entries = [entry for entry in self.entries if entry.block <= to]

    def balances(self) -> Mapping[str, int]:
        sums: dict[str, int] = {}
        for entry in self.entries:
            sums[entry.place] = sums.get(entry.place, 0) + entry.amount
        return dict(sorted(sums.items()))

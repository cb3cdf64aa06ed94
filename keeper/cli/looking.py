"""What ``scan`` and ``explain`` share: a keeper that looks once and sends nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from keeper import bootstrap
from keeper.bootstrap import Keeper
from keeper.model import Effect, Key, Record, Turn
from keeper.settings import Settings


@dataclass
class Seen:
    """Watches one turn."""

    decisions: list[Record] = field(default_factory=list)

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Record) and effect.event.startswith("decision."):
            self.decisions.append(effect)

    def turn(self, turn: Turn) -> None: ...

    def about(self, key: Key) -> list[Record]:
        return [record for record in self.decisions if record.fields["account"] == f"0x{key.id:x}"]


@asynccontextmanager
async def looked(settings: Settings) -> AsyncIterator[tuple[Keeper, Seen]]:
    """A dry keeper that has caught up with the head and decided once."""
    seen = Seen()
    async with bootstrap.keeper(settings, bootstrap.Dry(), [seen]) as keeper:
        await keeper.daemon.run(1)
        yield keeper, seen

"""Each card notices the adapter that breaks its promise, and the world that never put it to the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random, SystemRandom
from typing import Any

import pytest

from keeper.model import (
    BlockRef,
    Call,
    Decision,
    Delta,
    Fact,
    HealthReport,
    Holding,
    Key,
    Liquidate,
    Log,
    Moment,
    Opportunity,
    Read,
    Realised,
    Reason,
)
from keeper.ports import Columns, View
from keeper.protocols import conformance
from keeper.protocols.conformance import CARDS, Card, moment
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.records import POSITION
from keeper.simulation.node import Anvil
from tests.conformance.morpho_harness import compiled
from tests.conformance.morpho_world import GENESIS, MorphoWorld

pytestmark = pytest.mark.chain

Source = Log | tuple[Read, bytes]


class Deaf(MorphoBlue):
    def absorb(self, view: View, source: Source, ref: BlockRef) -> Iterable[Delta | Fact]:
        changes = super().absorb(view, source, ref)
        return (c for c in changes if isinstance(c, Fact) or c.key.kind != POSITION or c.before is None)


class Forgetful(MorphoBlue):
    def absorb(self, view: View, source: Source, ref: BlockRef) -> Iterable[Delta | Fact]:
        changes = super().absorb(view, source, ref)
        return (c if isinstance(c, Fact) or c.key.kind != POSITION else replace(c, before=None) for c in changes)


class Generous(MorphoBlue):
    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        report = super().health(view, key, at)
        return replace(report, equity=report.equity + 1)


class Blind(MorphoBlue):
    def columns(self) -> Columns:
        return _Closed()


class _Closed:
    kinds = ()

    def rolling(self, turn: int, count: int) -> Sequence[Key]:
        return ()

    def get(self, key: Key) -> Any: ...

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(())

    def put(self, key: Key, record: Any) -> None: ...

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        return ()

    def nearest(self, view: View, at: Moment, count: int) -> Sequence[tuple[Key, float]]:
        return ()

    def warming(self) -> None: ...

    refusals: Mapping[Key, str] = {}

    def refused(self, view: View, at: Moment) -> Mapping[Key, str]:
        return {}


class Boastful(MorphoBlue):
    def opportunities(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        return [replace(o, gain=o.gain + 1) for o in super().opportunities(view, suspects, at)]

    def calls(self, decision: Decision) -> tuple[Call, ...]:
        return super().calls(Liquidate(decision.opportunity, floor=0))


class Vain(MorphoBlue):
    def realised(self, opportunity: Opportunity, facts: Sequence[Fact]) -> Realised:
        return Realised(super().realised(opportunity, facts).gain + 1)


class Clumsy(MorphoBlue):
    def calls(self, decision: Decision) -> tuple[Call, ...]:
        return super().calls(decision)[1:]


class Speechless(MorphoBlue):
    def explain(self, revert: bytes) -> Reason:
        return Reason.REVERTED_OTHER


class Timeless(MorphoBlue):
    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        return super().health(view, key, moment(view.ref))


class Moody(MorphoBlue):
    def opportunities(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        return [replace(o, id=SystemRandom().randbytes(24)) for o in super().opportunities(view, suspects, at)]


class Thief(MorphoBlue):
    def holdings(self, view: View) -> Mapping[str, Holding]:
        return {place: replace(held, amount=held.amount - 1) for place, held in super().holdings(view).items()}


class Cheap(MorphoBlue):
    def calls(self, decision: Decision) -> tuple[Call, ...]:
        return super().calls(Liquidate(decision.opportunity, floor=0))


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[MorphoWorld]:
    artifacts = compiled(request.config.cache.mkdir("solc"))
    with Anvil(timestamp=GENESIS, base_fee=10**9) as node:
        yield MorphoWorld(node, artifacts)


@pytest.mark.parametrize(
    ("card", "broken"),
    [
        (conformance.c01_book_equals_chain, Deaf),
        (conformance.c02_rollback_is_forgetting, Forgetful),
        (conformance.c03_health_is_the_contracts, Generous),
        (conformance.c04_screening_misses_none, Blind),
        (conformance.c05_calls_keep_their_promise, Boastful),
        (conformance.c05_calls_keep_their_promise, Vain),
        (conformance.c05_calls_keep_their_promise, Clumsy),
        (conformance.c06_reverts_are_explained, Speechless),
        (conformance.c07_health_foretells, Timeless),
        (conformance.c08_same_blocks_same_offers, Moody),
        (conformance.c09_holdings_are_the_chains, Thief),
        (conformance.c10_floors_are_kept, Cheap),
    ],
)
def test_a_broken_promise_is_noticed(card: Card, broken: Callable[..., MorphoBlue], world: MorphoWorld) -> None:
    world.adapter = broken(world.adapter.settings)
    with pytest.raises(AssertionError, match=f"^{card.__name__[:3].upper()}: "):
        card(world, Random(7), 30)


class Empty(MorphoWorld):
    """Nobody comes."""

    def live(self, dice: Random) -> None:
        self.mine()

    def reverts(self) -> list[tuple[bytes, Reason]]:
        return []


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.__name__)
def test_a_world_in_which_nothing_happens_proves_nothing(card: Card, world: MorphoWorld) -> None:
    world.__class__ = Empty
    with pytest.raises(AssertionError, match=f"^{card.__name__[:3].upper()}: "):
        card(world, Random(7), 3)

"""The numbered cards that every adapter passes, against a *world*: its protocol on a real node.

    C01  the book equals the chain, after every block
    C02  a rollback equals never having seen the blocks
    C03  health equals the contract's answer, exactly
    C04  screening never misses what health condemns
    C05  a proposed call succeeds at the stated block and realises the predicted gain
    C06  every known revert is explained
    C07  health at a later time equals the chain's when that time has come
    C08  the same blocks lead to the same offers

A card raises AssertionError when it does not hold, and also when its world never came to the point: a card that
saw no unhealthy account proves nothing. A world may be handed from card to card; it only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

from keeper.model import (
    Action,
    Bid,
    BlockBatch,
    BlockRef,
    Call,
    Fact,
    Hedge,
    Interests,
    Key,
    Kind,
    Liquidate,
    Moment,
    Opportunity,
    Reason,
)
from keeper.ports import Adapter, Columns, View

BLOCK = 12  # seconds to the block in which calls are performed
LATER = (0, BLOCK, 3_600, 30 * 86_400)  # seconds at which screening is tried


class Ledger(View, Protocol):
    """What ``keeper.core.book.Book`` is."""

    columns: Columns
    interests: Interests

    def apply(self, batch: BlockBatch) -> list[Fact]: ...

    def rollback(self, to: BlockRef) -> None: ...


class World(Protocol):
    """A protocol on a node, with users; everything it does is decided by the dice it is given."""

    @property
    def adapter(self) -> Adapter: ...

    @property
    def kinds(self) -> Sequence[str]:
        """Every kind of record that the adapter keeps."""
        ...

    def book(self) -> Ledger:
        """A new one, at the block before the protocol's first."""
        ...

    def batch(self, book: Ledger) -> BlockBatch | None:
        """The block after ``book.ref``, with what ``book.interests`` asks for; None at the head."""
        ...

    def live(self, dice: Random) -> None:
        """Mine one block of ordinary life: users act, prices move, time passes, accounts sink under water."""
        ...

    def records(self) -> Mapping[Key, Any]:
        """All records of all kinds as the contracts tell them at the head, equal to the book's."""
        ...

    def judge(self) -> Mapping[Key, tuple[int, int]]:
        """Equity and requirement of every account, computed by contracts at the head's own timestamp."""
        ...

    def perform(self, calls: Sequence[Call], at: Moment) -> int:
        """Mine these calls of the operator's as block ``at``; what they gained, gross, US dollars (wad).

        AssertionError when one of them reverts. Without calls this lets time pass.
        """
        ...

    def reverts(self) -> Iterable[tuple[bytes, Reason]]:
        """Revert data that the node gave for each way in which the adapter's calls can fail, and what it means."""
        ...


Card = Callable[[World, Random, int], None]


# ─── cards ────────────────────────────────────────────────────────────────────────────────────────


def c01_book_equals_chain(world: World, dice: Random, blocks: int) -> None:
    book = world.book()
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        assert contents(world, book) == world.records(), f"C01: the book differs from the chain at {book.ref.number}"


def c02_rollback_is_forgetting(world: World, dice: Random, blocks: int) -> None:
    for _ in range(blocks):
        world.live(dice)
    book, fresh = world.book(), world.book()
    batches = follow(world, book)
    keep = len(batches) - dice.randint(1, blocks)
    for batch in batches[:keep]:
        fresh.apply(batch)
    full = shown(world, book)
    book.rollback(fresh.ref)
    assert shown(world, book) == shown(world, fresh), f"C02: {len(batches) - keep} blocks left traces"
    for batch in batches[keep:]:
        book.apply(batch)
    assert shown(world, book) == full, "C02: the same blocks, again, led elsewhere"


def c03_health_is_the_contracts(world: World, dice: Random, blocks: int) -> None:
    book = world.book()
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        assert _healths(world, book, moment(book.ref)) == world.judge(), f"C03: at block {book.ref.number}"


def c04_screening_misses_none(world: World, dice: Random, blocks: int) -> None:
    book, condemned = world.book(), 0
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        for at in (moment(book.ref, seconds) for seconds in LATER):
            unhealthy = {key for key in world.judge() if not world.adapter.health(book, key, at).healthy}
            missed = unhealthy.difference(book.columns.suspects(book, at))
            assert not missed, f"C04: at {at} screening missed {missed}"
            condemned += len(unhealthy)
    assert condemned, "C04: no account was ever unhealthy"


def c05_calls_keep_their_promise(world: World, dice: Random, blocks: int) -> None:
    book, performed = world.book(), 0
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        at = moment(book.ref, BLOCK)
        possible = [o for o in offers(world, book, at) if o.refusal is None]
        if possible:
            chosen = dice.choice(possible)
            gained = world.perform(world.adapter.calls(_decide(chosen)), at)
            assert gained == chosen.gain, f"C05: {chosen.kind} at {at} gained {gained}, not {chosen.gain}"
            performed += 1
    assert performed, "C05: there was never anything to do"


def c06_reverts_are_explained(world: World, dice: Random, blocks: int) -> None:
    cases = list(world.reverts())
    for data, reason in cases:
        told = world.adapter.explain(data)
        assert told is reason, f"C06: 0x{data.hex()} means {reason}, not {told}"
    assert cases, "C06: nothing ever reverted"


def c07_health_foretells(world: World, dice: Random, blocks: int) -> None:
    book = world.book()
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        at = moment(book.ref, dice.randint(1, 10_000_000))
        foretold = _healths(world, book, at)
        world.perform((), at)
        assert world.judge() == foretold, f"C07: foretold at block {book.ref.number} for {at}"


def c08_same_blocks_same_offers(world: World, dice: Random, blocks: int) -> None:
    for _ in range(blocks):
        world.live(dice)
    first, second = world.book(), world.book()
    for batch in follow(world, first):
        second.apply(batch)
    at = moment(first.ref, BLOCK)
    assert offers(world, first, at) == offers(world, second, at), "C08: the same blocks led to other offers"


CARDS: tuple[Card, ...] = (
    c01_book_equals_chain,
    c02_rollback_is_forgetting,
    c03_health_is_the_contracts,
    c04_screening_misses_none,
    c05_calls_keep_their_promise,
    c06_reverts_are_explained,
    c07_health_foretells,
    c08_same_blocks_same_offers,
)


# ─── what the cards are made of ───────────────────────────────────────────────────────────────────


def moment(ref: BlockRef, seconds: int = 0) -> Moment:
    """The block ``ref`` itself, or the next one if it comes ``seconds`` later."""
    return Moment(ref.number + bool(seconds), ref.timestamp + seconds, ref.base_fee)


def follow(world: World, book: Ledger) -> list[BlockBatch]:
    """Bring the book to the head; the blocks it took."""
    taken = []
    while batch := world.batch(book):
        book.apply(batch)
        taken.append(batch)
    return taken


def contents(world: World, book: Ledger) -> dict[Key, Any]:
    return {key: book.get(key) for kind in world.kinds for key in book.keys(kind)}


def offers(world: World, book: Ledger, at: Moment) -> list[Opportunity]:
    """Screen, confirm, propose: what the kernel does with an adapter."""
    reports = [world.adapter.health(book, key, at) for key in book.columns.suspects(book, at)]
    return list(world.adapter.opportunities(book, [report for report in reports if not report.healthy], at))


def shown(world: World, book: Ledger) -> tuple[object, ...]:
    """Everything that a book lets be seen of itself."""
    suspects = book.columns.suspects(book, moment(book.ref, BLOCK))
    return book.ref, contents(world, book), book.interests, list(suspects)


def _healths(world: World, book: Ledger, at: Moment) -> dict[Key, tuple[int, int]]:
    reports = [world.adapter.health(book, key, at) for key in world.judge()]
    return {report.key: (report.equity, report.requirement) for report in reports}


def _decide(opportunity: Opportunity) -> Action:
    """To act on it as it stands."""
    if opportunity.kind is Kind.BID:
        return Bid(opportunity, floor=opportunity.gain)
    return (Hedge if opportunity.kind in (Kind.HEDGE, Kind.TOP_UP) else Liquidate)(opportunity)

"""The numbered cards that every adapter passes, against a *world*: its protocol on a real node.

    C01  the book equals the chain, after every block
    C02  a rollback equals never having seen the blocks
    C03  health equals the contract's answer, exactly, and condemns whom the contract condemns
    C04  screening never misses what health condemns
    C05  a proposed call succeeds at the stated block; its gain is the predicted one, and is told from its facts
    C06  every known revert is explained
    C07  health at a later time equals the chain's when that time has come
    C08  the same blocks lead to the same offers
    C09  what the book says we hold is what the chain says
    C10  a call that would gain less than its floor reverts

A card raises AssertionError when it does not hold, and also when its world never came to the point: a card that
saw no unhealthy account proves nothing. A world may be handed from card to card; it only grows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from keeper.errors import Reverted
from keeper.model import (
    Action,
    Bid,
    BlockBatch,
    BlockRef,
    Call,
    Fact,
    Hash,
    HealthReport,
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
from keeper.protocols import words

BLOCK: Final = 12  # seconds to the block in which calls are performed
PRICED: Final = (Kind.BID, Kind.TAKEOVER, Kind.LIQUIDATE)  # what gains at once; a flag's gain is an estimate of later


class Book(View, Protocol):
    """What ``keeper.core.book.Book`` is."""

    columns: Columns
    interests: Interests

    def apply(self, batch: BlockBatch) -> list[Fact]: ...

    def rollback(self, to: BlockRef) -> None: ...


class Verdict(NamedTuple):
    """What contracts say of one account at the head's own timestamp."""

    equity: int
    requirement: int
    liquidatable: bool | None  # None: they do not say at present, as while its auction runs


class Done(NamedTuple):
    """What performing some calls came to."""

    gain: int  # gross, US dollars (wad), counted without the adapter
    transactions: Collection[Hash]


class World(Protocol):
    """A protocol on a node, with users; everything it does is decided by the dice it is given."""

    @property
    def adapter(self) -> Adapter: ...

    @property
    def kinds(self) -> Sequence[str]:
        """Every kind of record that the adapter keeps."""
        ...

    @property
    def deeds(self) -> Collection[Kind]:
        """What there will be for the adapter to do: C05 wants to see all of it done."""
        ...

    @property
    def horizon(self) -> int:
        """Seconds ahead for which health can be foretold, before prices are too old or series expire."""
        ...

    @property
    def rounding(self) -> int:
        """US dollars (wad) by which two ways of counting the same gain may differ."""
        ...

    def book(self) -> Book:
        """A new one, at the block before the protocol's first."""
        ...

    def batch(self, book: Book) -> BlockBatch | None:
        """The block after ``book.ref``, with what ``book.interests`` asks for; None at the head."""
        ...

    def live(self, dice: Random) -> None:
        """Ordinary life for a block or more: users act, prices move, time passes, accounts sink, auctions ripen."""
        ...

    def records(self) -> Mapping[str, Mapping[Key, Any]]:
        """All records at the head as the contracts tell them, equal to the book's: by kind.

        Kinds of which the contracts tell nothing are left out; other cards must then hold them.
        """
        ...

    def accounts(self) -> Collection[Key]:
        """Whose health can be judged at the head."""
        ...

    def judge(self, reports: Sequence[HealthReport]) -> Mapping[Key, Verdict]:
        """What contracts say of these accounts; of the stated scenario, where they want one to be named."""
        ...

    def perform(self, calls: Sequence[Call], at: Moment) -> Done:
        """Mine these calls of our own as block ``at``. Reverted, after that block, when one of them reverts.

        Without calls this lets time pass.
        """
        ...

    def answer(self, call: Call) -> bytes:
        """What a view call returns at the head."""
        ...

    def reverts(self) -> Iterable[tuple[bytes, Reason]]:
        """Revert data that the node gave for each way in which the adapter's calls can fail, and what it means."""
        ...


Card = Callable[[World, Random, int], None]


# ─── cards ────────────────────────────────────────────────────────────────────────────────────────


def c01_book_equals_chain(world: World, dice: Random, blocks: int) -> None:
    book, seen = world.book(), set[str]()
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        for kind, told in world.records().items():
            wrong = _differing({key: book.get(key) for key in book.keys(kind)}, told)
            assert not wrong, f"C01: at block {book.ref.number} the book differs from the chain in {wrong}"
            seen |= {key.kind for key in told}
    assert seen == world.records().keys(), f"C01: there was never a record but of {seen}"


def c02_rollback_is_forgetting(world: World, dice: Random, blocks: int) -> None:
    for _ in range(blocks):
        world.live(dice)
    book, fresh = world.book(), world.book()
    batches = [batch for batch, _ in follow(world, book)]
    keep = len(batches) - dice.randint(1, blocks)
    for batch in batches[:keep]:
        fresh.apply(batch)
    full = shown(world, book)
    book.rollback(fresh.ref)
    assert shown(world, book) == shown(world, fresh), f"C02: {len(batches) - keep} blocks left traces"
    assert contents(world, book) != full.contents, "C02: nothing had happened in the blocks that were undone"
    for batch in batches[keep:]:
        book.apply(batch)
    assert shown(world, book) == full, "C02: the same blocks, again, led elsewhere"


def c03_health_is_the_contracts(world: World, dice: Random, blocks: int) -> None:
    book, verdicts = world.book(), set[bool]()
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        reports = _healths(world, book, moment(book.ref))
        judged = world.judge(reports)
        _agree("C03", reports, judged)
        for report in reports:
            verdict = judged[report.key].liquidatable
            if verdict is not None:
                assert verdict != report.healthy, f"C03: the contract would liquidate: {verdict}; ours: {report}"
                verdicts.add(verdict)
    assert verdicts == {True, False}, "C03: there were never both healthy and unhealthy accounts"


def c04_screening_misses_none(world: World, dice: Random, blocks: int) -> None:
    book, condemned = world.book(), 0
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        for at in (moment(book.ref, seconds) for seconds in (0, BLOCK, world.horizon // 100, world.horizon)):
            unhealthy = {report.key for report in _healths(world, book, at) if not report.healthy}
            missed = unhealthy.difference(book.columns.suspects(book, at))
            assert not missed, f"C04: at {at} screening missed {missed}"
            condemned += len(unhealthy)
    assert condemned, "C04: no account was ever unhealthy"


def c05_calls_keep_their_promise(world: World, dice: Random, blocks: int) -> None:
    book, performed = world.book(), Counter[Kind]()
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        possible = chances(world, book)
        if possible:
            dice.shuffle(possible)
            chosen = min(possible, key=lambda offer: performed[offer.kind])
            _keep(world, book, chosen)
            performed[chosen.kind] += 1
    assert performed.keys() >= set(world.deeds), f"C05: there was only this to do: {performed}"


def c06_reverts_are_explained(world: World, dice: Random, blocks: int) -> None:
    cases = list(world.reverts())
    for data, reason in cases:
        told = world.adapter.explain(data)
        assert told is reason, f"C06: 0x{data.hex()} means {reason}, not {told}"
    assert cases, "C06: nothing ever reverted"


def c07_health_foretells(world: World, dice: Random, blocks: int) -> None:
    book, owed = world.book(), 0
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        at = moment(book.ref, dice.randint(1, world.horizon))
        foretold = _healths(world, book, at)
        world.perform((), at)
        _agree("C07", foretold, world.judge(foretold))
        owed += sum(report.requirement for report in foretold)
    assert owed, "C07: nothing was ever required of anyone"


def c08_same_blocks_same_offers(world: World, dice: Random, blocks: int) -> None:
    first, second, seen = world.book(), world.book(), 0
    for _ in range(blocks):
        world.live(dice)
        for batch, _ in follow(world, first):
            second.apply(batch)
        at = moment(first.ref, BLOCK)
        found = offers(world, first, at)
        assert found == offers(world, second, at), f"C08: the same blocks, up to {at}, led to other offers"
        seen += len(found)
    assert seen, "C08: there was never an offer"


def c09_holdings_are_the_chains(world: World, dice: Random, blocks: int) -> None:
    book, amounts = world.book(), set[tuple[int, ...]]()
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        held = world.adapter.holdings(book)
        for place, holding in held.items():
            told = words.sint(world.answer(holding.proof), 0)
            assert told == holding.amount, f"C09: at block {book.ref.number} {place} is {told}, not {holding.amount}"
        amounts.add(tuple(holding.amount for holding in held.values()))
        possible = chances(world, book)
        if possible:
            _try(world, dice.choice(possible), floor=0)
    assert len(amounts) > 1, "C09: what we hold never changed"


def c10_floors_are_kept(world: World, dice: Random, blocks: int) -> None:
    book, tried = world.book(), 0
    for _ in range(blocks):
        world.live(dice)
        follow(world, book)
        possible = [offer for offer in chances(world, book) if offer.kind in PRICED]
        if possible:
            chosen = dice.choice(possible)
            done = _try(world, chosen, chosen.gain + world.rounding + 1)
            assert done is None, f"C10: {chosen.kind} at {chosen.at} did not mind its floor: {done}"
            tried += 1
    assert tried, "C10: there was never anything to gain"


CARDS: Final[tuple[Card, ...]] = (
    c01_book_equals_chain,
    c02_rollback_is_forgetting,
    c03_health_is_the_contracts,
    c04_screening_misses_none,
    c05_calls_keep_their_promise,
    c06_reverts_are_explained,
    c07_health_foretells,
    c08_same_blocks_same_offers,
    c09_holdings_are_the_chains,
    c10_floors_are_kept,
)


# ─── what the cards are made of ───────────────────────────────────────────────────────────────────


def moment(ref: BlockRef, seconds: int = 0) -> Moment:
    """The block ``ref`` itself, or the next one if it comes ``seconds`` later."""
    if not seconds:
        return Moment(ref.number, ref.timestamp, ref.base_fee)
    return Moment(ref.number + 1, ref.timestamp + seconds, ref.next_base_fee)


def follow(world: World, book: Book) -> list[tuple[BlockBatch, list[Fact]]]:
    """Bring the book to the head; the blocks it took, and the facts in each."""
    taken = []
    while batch := world.batch(book):
        taken.append((batch, book.apply(batch)))
    return taken


def offers(world: World, book: Book, at: Moment) -> list[Opportunity]:
    """Screen, confirm, propose: what the kernel does with an adapter."""
    reports = [world.adapter.health(book, key, at) for key in book.columns.suspects(book, at)]
    return list(world.adapter.opportunities(book, [report for report in reports if not report.healthy], at))


def chances(world: World, book: Book) -> list[Opportunity]:
    """Offers that can succeed in the next block."""
    at = moment(book.ref, BLOCK)
    return [o for o in offers(world, book, at) if o.refusal is None and o.opens <= at.timestamp <= o.expires]


class Shown(NamedTuple):
    """Everything that a book lets be seen of itself."""

    ref: BlockRef
    contents: Sequence[tuple[Key, Any]]
    interests: Interests
    suspects: Sequence[Key]
    offers: Sequence[Opportunity]


def shown(world: World, book: Book) -> Shown:
    at = moment(book.ref, BLOCK)
    suspects = list(book.columns.suspects(book, at))
    return Shown(book.ref, contents(world, book), book.interests, suspects, offers(world, book, at))


def contents(world: World, book: Book) -> list[tuple[Key, Any]]:
    return [(key, book.get(key)) for kind in world.kinds for key in book.keys(kind)]


def _healths(world: World, book: Book, at: Moment) -> list[HealthReport]:
    return [world.adapter.health(book, key, at) for key in world.accounts()]


def _agree(card: str, reports: Sequence[HealthReport], judged: Mapping[Key, Verdict]) -> None:
    ours = {report.key: (report.equity, report.requirement) for report in reports}
    wrong = _differing(ours, {key: (verdict.equity, verdict.requirement) for key, verdict in judged.items()})
    assert not wrong, f"{card}: health is not the contract's: {[(ours.get(k), judged.get(k)) for k in wrong]}"


def _differing(a: Mapping[Key, Any], b: Mapping[Key, Any]) -> list[Key]:
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def _keep(world: World, book: Book, offer: Opportunity) -> None:
    """Do it, on condition that it gains what it says; and ask the adapter what it brought."""
    done = _try(world, offer, offer.gain if offer.kind in PRICED else 0)
    assert done is not None, f"C05: {offer.kind} at {offer.at} reverted"
    off = done.gain - offer.gain if offer.kind in PRICED else 0
    assert abs(off) <= world.rounding, f"C05: {offer.kind} at {offer.at} gained {done.gain}, not {offer.gain}"
    own = [fact for _, facts in follow(world, book) for fact in facts if fact.tx_hash in done.transactions]
    told = world.adapter.realised(offer, own).gain
    assert abs(told - done.gain) <= world.rounding, f"C05: {offer.kind} gained {done.gain}; by its facts {told}"


def _try(world: World, offer: Opportunity, floor: int) -> Done | None:
    """Act on an offer as it stands; None when that reverts."""
    try:
        return world.perform(world.adapter.calls(_decide(offer, floor)), offer.at)
    except Reverted:
        return None


def _decide(offer: Opportunity, floor: int) -> Action:
    if offer.kind is Kind.BID:
        return Bid(offer, floor)
    return Hedge(offer) if offer.kind in (Kind.HEDGE, Kind.TOP_UP) else Liquidate(offer, floor)

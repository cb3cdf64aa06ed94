"""The feeds behind the oracles: what Morpho's own form of oracle reads, and its price once one of them has moved.

    price = scale x (base vault x base feeds) / (quote vault x quote feeds)        MorphoChainlinkOracleV2, rounded down

What an oracle is made of is asked once, of the oracle itself; its feeds and vaults are read with every block. One whose
price does not follow from that, at the block at which all was read, is of another form: nothing is foreseen of it.
Only feeds that the settings list are looked at, and only oracles that read one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keeper.model import Address, BlockRef, Key, Read
from keeper.ports import View
from keeper.protocols import words
from keeper.protocols.morpho_blue.records import (
    Aggregator,
    Answer,
    Slot,
    Transmitters,
    aggregator_key,
    answer_key,
    part_key,
    slot_key,
    transmitters_key,
    vault_key,
)
from keeper.protocols.morpho_blue.settings import NOBODY, Settings
from keeper.units import mul_down

# ─── questions ────────────────────────────────────────────────────────────────────────────────────

SCALE, VAULTS, SAMPLES, BASE_FEEDS, QUOTE_FEEDS = 0, (1, 5), (2, 6), (3, 4), (7, 8)
PARTS: Final = tuple(  # in the order of their numbers
    bytes.fromhex(one)
    for one in (
        "ce4b5bbe",  # SCALE_FACTOR()
        "eaa2d7b4",  # BASE_VAULT()
        "054f7ac0",  # BASE_VAULT_CONVERSION_SAMPLE()
        "f50a4718",  # BASE_FEED_1()
        "dc53858c",  # BASE_FEED_2()
        "2e6f20a6",  # QUOTE_VAULT()
        "461739d2",  # QUOTE_VAULT_CONVERSION_SAMPLE()
        "56095e11",  # QUOTE_FEED_1()
        "acfbd39e",  # QUOTE_FEED_2()
    )
)
LATEST: Final = bytes.fromhex("feaf968c")  # latestRoundData()
AGGREGATOR: Final = bytes.fromhex("245a7bfc")  # aggregator(), of a proxy
TRANSMITTERS: Final = (bytes.fromhex("666cab8d"), bytes.fromhex("81411834"))  # getTransmitters(), and transmitters()
ASSETS: Final = bytes.fromhex("07a2d13a")  # convertToAssets(uint256)
SLOT: Final = bytes.fromhex("3850c7bd")  # slot0(), of a pool of Uniswap v3
DAY: Final = 86_400  # seconds after which it is asked again who may transmit
NO_PART: Final = -1  # the oracle does not say

Change = tuple[Key, object]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the price of an oracle is made of."""

    scale: int
    vaults: tuple[tuple[Address, int], tuple[Address, int]]  # base and quote, with the sample that is converted
    base: tuple[Address, ...]
    quote: tuple[Address, ...]

    @property
    def feeds(self) -> tuple[Address, ...]:
        return self.base + self.quote

    def price(self, view: View) -> int | None:
        """At the answers of a view; None when one of them is not known, or nothing to be divided by."""
        over, under = (self._side(view, *side) for side in zip(self.vaults, (self.base, self.quote), strict=True))
        return None if over is None or not under else mul_down(self.scale, over, under)

    def _side(self, view: View, vault: tuple[Address, int], feeds: tuple[Address, ...]) -> int | None:
        worth: int | None = 1 if vault[0] == NOBODY else view.get(vault_key(*vault))
        answers: list[Answer | None] = [view.get(answer_key(feed)) for feed in feeds]
        for answer in answers:
            worth = None if worth is None or answer is None or answer.value < 0 else worth * answer.value
        return worth


def recipe(view: View, oracle: Address) -> Recipe | None:
    """None while it is not known, and where the oracle is of another form."""
    parts: list[int | None] = [view.get(part_key(oracle, i)) for i in range(len(PARTS))]
    known = [part for part in parts if part is not None and part != NO_PART]
    if len(known) < len(PARTS):
        return None
    places = [part.to_bytes(32)[12:] for part in known]
    vaults = tuple((places[v], known[s]) for v, s in zip(VAULTS, SAMPLES, strict=True))
    base, quote = (tuple(f for f in map(places.__getitem__, of) if f != NOBODY) for of in (BASE_FEEDS, QUOTE_FEEDS))
    return Recipe(known[SCALE], (vaults[0], vaults[1]), base, quote)


def recipes(settings: Settings, view: View, oracles: Iterator[Address] | tuple[Address, ...]) -> dict[Address, Recipe]:
    """Of the oracles that read a listed feed."""
    found = ((oracle, recipe(view, oracle)) for oracle in oracles)
    return {oracle: r for oracle, r in found if r is not None and not settings.feeds.keys().isdisjoint(r.feeds)}


def reads(settings: Settings, view: View, oracles: tuple[Address, ...]) -> Iterator[tuple[str, Address, bytes]]:
    """(what, of whom, call data): what an oracle is made of until that is known, and then what that is worth."""
    if not settings.feeds:
        return
    for oracle in oracles:
        yield from (("part", oracle, data) for i, data in enumerate(PARTS) if view.get(part_key(oracle, i)) is None)
    known = recipes(settings, view, oracles).values()
    yield from dict.fromkeys(("answer", feed, LATEST) for r in known for feed in r.feeds)
    yield from dict.fromkeys(
        ("vault", vault, ASSETS + words.pack(sample)) for r in known for vault, sample in r.vaults if vault != NOBODY
    )
    for feed in dict.fromkeys(f for r in known for f in r.feeds if f in settings.feeds):
        yield from _sources(settings, view, feed)


def _sources(settings: Settings, view: View, feed: Address) -> Iterator[tuple[str, Address, bytes]]:
    """Of one feed: where its answers come from, who brings them, and what a market says meanwhile."""
    answer: Answer | None = view.get(answer_key(feed))
    source: Aggregator | None = view.get(aggregator_key(feed))
    if answer is not None and (source is None or source.phase != answer.phase):
        yield "aggregator", feed, AGGREGATOR
    if source is not None:
        senders: Transmitters | None = view.get(transmitters_key(source.address))
        if senders is None or view.ref.timestamp - senders.asked >= DAY:
            yield from (("transmitters", source.address, data) for data in TRANSMITTERS)
    if settings.feeds[feed].pool != NOBODY:
        yield "slot", settings.feeds[feed].pool, SLOT


def pending(settings: Settings, view: View) -> Iterator[Address]:
    """Contracts through which answers of listed feeds come."""
    for feed in settings.feeds:
        source: Aggregator | None = view.get(aggregator_key(feed))
        if source is not None:
            senders: Transmitters | None = view.get(transmitters_key(source.address))
            yield from (source.address, *(senders.who if senders else ()))


# ─── answers ──────────────────────────────────────────────────────────────────────────────────────


def absorb(view: View, read: Read, answer: bytes, ref: BlockRef) -> Change | None:
    """The record that one answer makes, None as a record where there is none; no change for another's read."""
    asked, whole = read.data[:4], len(answer) >= words.WORD
    if asked in PARTS:
        return part_key(read.target, PARTS.index(asked)), words.uint(answer, 0) if whole else NO_PART
    if asked == LATEST:
        return answer_key(read.target), _answer(answer) if len(answer) >= 5 * words.WORD else None
    if asked == ASSETS:
        return vault_key(read.target, words.uint(read.data[4:], 0)), words.uint(answer, 0) if whole else None
    if asked == AGGREGATOR:
        of: Answer | None = view.get(answer_key(read.target))
        source = words.address(answer, 0) if whole else read.target  # what has none answers itself
        return aggregator_key(read.target), Aggregator(source, of.phase if of else 0)
    if asked in TRANSMITTERS:
        return transmitters_key(read.target), _transmitters(view, read.target, answer, ref)
    return (slot_key(read.target), Slot(words.uint(answer, 0)) if whole else None) if asked == SLOT else None


def _answer(data: bytes) -> Answer:
    return Answer(words.sint(data, 1), words.uint(data, 3), words.uint(data, 0) >> 64)


def _transmitters(view: View, aggregator: Address, answer: bytes, ref: BlockRef) -> Transmitters:
    """Of the two ways to ask, one is answered; the other changes nothing."""
    known: Transmitters | None = view.get(transmitters_key(aggregator))
    if len(answer) < 2 * words.WORD:
        return Transmitters(known.who if known else (), ref.timestamp)
    found = words.array(answer, 0)
    return Transmitters(tuple(words.address(found, i) for i in range(len(found) // words.WORD)), ref.timestamp)

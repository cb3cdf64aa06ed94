"""What an answer on its way to a price feed will do to Morpho's markets, against what it then does on a real node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from math import isqrt
from random import Random
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector

from keeper.core import health
from keeper.core.book import Book
from keeper.core.desk import Desk, coming
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits
from keeper.model import Address, Effect, Liquidate, Moment, Pending, Prepare, Record, Send
from keeper.observe.decisions import EVENTS
from keeper.ports import View
from keeper.protocols.conformance import follow, moment
from keeper.protocols.morpho_blue import ahead, feeds, transmit
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.records import position_key, price_key
from keeper.protocols.morpho_blue.settings import NOBODY, Feed
from keeper.simulation.node import Anvil
from keeper.units import wad
from strategies.instant import Instant
from tests.conformance.morpho_harness import call_data
from tests.conformance.morpho_life import Tx
from tests.conformance.morpho_world import GENESIS, MorphoWorld

pytestmark = pytest.mark.chain
SAMPLE = 10**12
RULE: dict[str, Any] = {"deviation": wad("0.005"), "heartbeat": 3_600}
TYPES = "uint256,address[2],uint256[2],address[4],uint256"
SECOND = "transmit(bytes32[3],bytes,bytes32[],bytes32[],bytes32)"
FIRST = "transmit(bytes,bytes32[],bytes32[],bytes32)"


def second(*observations: int) -> bytes:
    """As ``libocr`` lays it out."""
    report = encode(["uint32", "bytes32", "int192[]", "int192"], [GENESIS, bytes(32), sorted(observations), 7])
    some = [bytes([1]) * 32] * 3
    return call_data(SECOND, some, report, some[:2], some[:2], bytes(32))


def first(*observations: int) -> bytes:
    report = encode(["bytes32", "bytes32", "int192[]"], [bytes([2]) * 32, bytes(32), sorted(observations)])
    return call_data(FIRST, report, [bytes(32)] * 2, [bytes(32)] * 2, bytes(32))


class FeedWorld(MorphoWorld):
    """The first market: a vault share priced by two feeds over a quote feed; the second one: a bare feed below."""

    def __init__(self, node: Anvil, artifacts: Any, twist: int = 1, **settings: Any) -> None:
        self.twist, self.made = twist, 0
        super().__init__(node, artifacts)
        self.adapter = MorphoBlue(replace(self.adapter.settings, feeds={self.proxies[0]: Feed(**settings)}))

    def _oracle(self, price: int) -> Address:
        """Of the first market, then of the second."""
        self.made += 1
        if self.made == 1:
            self.forwarder, self.vault, self.pool = (self._deploy(n) for n in ("Forwarder", "Vault", "Pool"))
            self.aggregators = [
                self._aggregator(*one)
                for one in (("Aggregator", 3_000 * 10**8), ("OldAggregator", 104 * 10**6), ("Aggregator", 99_990_000))
            ]
            self.proxies = [self._proxy(one) for one in self.aggregators]
            self.set(self.vault, 1_057 * 10**15)
            sides = ((self.vault, NOBODY), (SAMPLE, 1), (*self.proxies, NOBODY))
            made = (10 ** (36 + 6 + 8 - 18 - 8 - 8) // SAMPLE, *sides, self.twist)
            return self._deploy("Composed", encode(TYPES.split(","), made))
        other = (price * 3_000 * 10**8, (NOBODY, NOBODY), (1, 1), (NOBODY, NOBODY, self.proxies[0], NOBODY), 1)
        return self._deploy("Composed", encode(TYPES.split(","), other))

    def _aggregator(self, name: str, answer: int) -> Address:
        return self._deploy(name, encode(["int192", "address[]"], [answer, [self.operators, self.forwarder]]))

    @property
    def operators(self) -> Address:
        return self.rival

    def _proxy(self, aggregator: Address) -> Address:
        proxy = self._deploy("Proxy")
        self._send([Tx(self.owner, proxy, call_data("point(address)", aggregator))])
        return proxy

    def set(self, what: Address, to: int) -> None:
        name = "set(uint160)" if what == self.pool else "set(uint256)"
        self._send([Tx(self.owner, what, call_data(name, to))])

    def pool_says(self, price: float) -> None:
        """Whole US dollars (6 decimals, the second token) of one coin (18, the first)."""
        self.set(self.pool, isqrt(int(price * 10**6) * 2**192 // 10**18))

    def forwarded(self, to: Address, data: bytes) -> Tx:
        return Tx(self.owner, self.forwarder, call_data("forward(address,bytes)", to, data))

    def followed(self, blocks: int = 4) -> Book:
        """A book that has had the time to ask what oracles are made of."""
        for _ in range(blocks):
            self.mine()
        book = Book(self.adapter, self.genesis)
        follow(self, book)
        return book

    def prices(self, view: View) -> list[int]:
        return [view.get(price_key(venue.params.oracle)).value for venue in self.venues]


Build = Callable[..., FeedWorld]


@pytest.fixture
def build(artifacts: dict[str, Any]) -> Iterator[Build]:
    with Anvil(timestamp=GENESIS, base_fee=10**9) as node:
        yield partial(FeedWorld, node, artifacts)


def at(book: Book) -> Moment:
    return moment(book.ref, 12)


def foreseen(world: FeedWorld, book: Book, tx: Tx) -> View | None:
    return world.adapter.foresee(book, Pending(tx.target, tx.data, tx.sender), at(book))


def test_the_prices_foreseen_are_those_that_come(build: Build) -> None:
    """To the last digit, whatever the form, the way and the feed; while vault shares are worth more every time."""
    world, dice = build(), Random(3)
    world.adapter = MorphoBlue(replace(world.adapter.settings, feeds={p: Feed() for p in world.proxies}))
    book, forms = world.followed(), (second, first, second)
    base = [3_000 * 10**8, 104 * 10**6, 99_990_000]
    for turn in range(24):
        n = dice.randrange(3)
        observed = [int(base[n] * dice.uniform(0.7, 1.3)) for _ in range(dice.choice((1, 4, 7, 31)))]
        data, aggregator = forms[n](*observed), world.aggregators[n]
        tx = world.forwarded(aggregator, data) if turn % 2 else Tx(world.operators, aggregator, data)
        assert tx.target in book.interests.pending
        view = foreseen(world, book, tx)
        assert view is not None
        told, before = world.prices(view), world.prices(book)
        world._send([tx])
        follow(world, book)
        assert told == world.prices(book) == [world.price(venue) for venue in world.venues]
        assert (told[0] != before[0]) and (told[1] != before[1]) == (n == 0)
        world.set(world.vault, 1_057 * 10**15 + turn * 10**11 + 1)
        follow(world, book)


def test_what_an_oracle_is_made_of_is_asked_once(build: Build) -> None:
    world = build(pool=bytes(19) + b"\1", pair=(18, 6), **RULE)
    book = world.followed()
    names = {read.name.split(".")[1] for read in book.interests.reads}
    assert names == {"price", "cash", "answer", "vault", "slot"}
    assert set(book.interests.pending) == {world.aggregators[0], world.operators, world.forwarder}
    world.mine(2 * feeds.DAY)
    follow(world, book)
    assert "transmitters" in {read.name.split(".")[1] for read in book.interests.reads}  # once a day


def test_another_aggregator_is_followed_when_the_proxy_turns_to_it(build: Build) -> None:
    world = build()
    book, new = world.followed(), world._aggregator("OldAggregator", 2_999 * 10**8)
    world._send([Tx(world.owner, world.proxies[0], call_data("point(address)", new))])
    for _ in range(3):
        world.mine()
    follow(world, book)
    assert new in book.interests.pending and world.aggregators[0] not in book.interests.pending
    assert foreseen(world, book, Tx(world.operators, world.aggregators[0], second(2_000 * 10**8))) is None
    view = foreseen(world, book, Tx(world.operators, new, first(2_000 * 10**8)))
    assert view is not None and world.prices(view)[0] < world.prices(book)[0]


def test_nothing_is_foreseen_of_an_oracle_of_another_form(build: Build) -> None:
    """One that says twice what it is made of, or where nobody listed a feed."""
    world = build(twist=2)
    book = world.followed()
    fall = Tx(world.operators, world.aggregators[0], second(2_000 * 10**8))
    view = foreseen(world, book, fall)
    assert view is not None  # of the second market, which is as usual
    assert world.prices(view)[0] == world.prices(book)[0] and world.prices(view)[1] > world.prices(book)[1]
    world.adapter = MorphoBlue(replace(world.adapter.settings, feeds={}))
    book = world.followed()
    assert {read.name.split(".")[1] for read in book.interests.reads} == {"price", "cash"}
    assert book.interests.pending == () and foreseen(world, book, fall) is None


def test_other_calls_and_garbled_ones_say_nothing(build: Build) -> None:
    world, dice = build(), Random(5)
    book, good = world.followed(), second(2_000 * 10**8, 2_100 * 10**8, 2_200 * 10**8)
    strangers = (good[4:], b"", b"\1\2\3\4" + good[4:], call_data("forward(address,bytes)", world.vault, good))
    calls = [Pending(world.aggregators[0], data) for data in strangers]
    calls += [
        Pending(world.vault, good),
        Pending(world.forwarder, call_data("forward(address,bytes)", b"\1" * 20, good)),
    ]
    unsorted = encode(["uint32", "bytes32", "int192[]", "int192"], [1, bytes(32), [2, 1], 0])
    calls += [Pending(world.aggregators[0], call_data(SECOND, [bytes(32)] * 3, unsorted, [], [], bytes(32)))]
    calls += [Pending(world.aggregators[0], second()), Pending(world.aggregators[0], second(-1, -1, 5))]
    calls += [Pending(world.aggregators[0], good[: 4 + dice.randrange(380)]) for _ in range(200)]
    assert [world.adapter.foresee(book, call, at(book)) for call in calls] == [None] * len(calls)
    for _ in range(300):  # nor does any other make it fail
        spoiled = bytearray(good)
        spoiled[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
        world.adapter.foresee(book, Pending(world.aggregators[0], bytes(spoiled)), at(book))


def test_a_liquidation_behind_the_answer_is_in_its_block(build: Build) -> None:
    world = build()
    venue, user = world.venues[0], world.users[0]
    world.settle(venue, user, collateral=venue.unit, part=95)
    book = world.followed()
    fall = Tx(world.operators, world.aggregators[0], second(2_700 * 10**8))
    view = foreseen(world, book, fall)
    assert view is not None
    assert not health.condemned(world.adapter, book, at(book))
    reports = health.condemned(world.adapter, book, at(book), view)
    [o] = world.adapter.against(view, reports, at(book))
    assert o.refusal is None
    world._submit(fall)
    world.perform(world.adapter.calls(Liquidate(o, 0)), at(book))
    assert world.position(venue, user).shares == 0
    assert world.node.head().timestamp == at(book).timestamp


def test_the_kernel_sends_behind_the_answer_and_first_when_it_was_expected(build: Build) -> None:
    world = pooled(build)
    venue, user = world.venues[0], world.users[0]
    world.settle(venue, user, collateral=venue.unit, part=95)
    kernel = Kernel([(world.adapter, [Instant()])], world.genesis, 12, lambda calls, *_: calls[-2], Limits())

    def caught_up() -> None:
        while (batch := world.batch(kernel.desks[0].book)) is not None:
            kernel.absorb(batch)

    caught_up()
    for _ in range(4):
        world.mine()
    caught_up()
    assert {world.aggregators[0], world.forwarder} <= kernel.awaited
    assert not sends(kernel.decide()) and not kernel.expect()
    fall = Tx(world.operators, world.aggregators[0], second(2_700 * 10**8))
    seen = Pending(fall.target, fall.data, fall.sender)
    kernel.absorb(seen)
    [send] = sends(kernel.glimpse())
    assert send.intent.behind == (seen,) and f"0x{position_key(venue.id, user).id:x}" in send.intent.purpose

    kernel = Kernel(
        [(world.adapter, [Instant()])], world.genesis, 12, lambda calls, *_: calls[-2], Limits()
    )  # one that sees nothing pending: only what the pool says
    caught_up()
    world.pool_says(2_700)
    caught_up()
    told, prepared = kernel.expect()
    assert isinstance(prepared, Prepare) and len(prepared.intents) == 1
    assert isinstance(told, Record) and f"0x{position_key(venue.id, user).id:x}" in str(told.fields["accounts"])
    assert not sends(kernel.first())  # not before it has come
    world._send([fall])
    batch = world.batch(kernel.desks[0].book)
    assert batch is not None
    with kernel.early(batch) as intents:
        assert not intents  # the price is not in the logs
    caught_up()
    [send] = sends(kernel.first())
    assert send.intent.subject == prepared.intents[0].subject


def test_a_call_that_cannot_be_reckoned_with_stops_nothing(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can send one. What is under water now is liquidated all the same, and the call is forgotten."""
    world = build()
    world.settle(world.venues[0], world.users[0], collateral=world.venues[0].unit, part=95)
    world._send([Tx(world.operators, world.aggregators[0], second(2_700 * 10**8))])
    kernel = Kernel([(world.adapter, [Instant()])], world.genesis, 12, lambda calls, *_: calls[-2], Limits())
    while (batch := world.batch(kernel.desks[0].book)) is not None:
        kernel.absorb(batch)

    for call in (Pending(world.aggregators[0], b"nonsense"), Pending(world.vault, second(1))):
        assert kernel.absorb(call) == []
    good = Pending(world.aggregators[0], second(2_600 * 10**8))
    assert [effect.event for effect in kernel.absorb(good) if isinstance(effect, Record)] == ["oracle.pending"]

    def fails(*_: object) -> None:
        raise ValueError("no market")

    monkeypatch.setattr(ahead, "after", fails)
    [told] = kernel.absorb(Pending(world.aggregators[0], second(2_500 * 10**8)))
    assert isinstance(told, Record) and told.event == "oracle.forgotten"
    effects = kernel.decide()  # the good one fails now too
    events = [effect.event for effect in effects if isinstance(effect, Record)]
    assert "oracle.forgotten" in events and "protocol.paused" not in events and set(events) <= set(EVENTS)
    assert len(sends(effects)) == 1
    assert not kernel.glimpse()


def sends(effects: Iterable[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


# ─── by rule ──────────────────────────────────────────────────────────────────────────────────────


def pooled(build: Build, **more: Any) -> FeedWorld:
    world = build()
    feed = Feed(pool=world.pool, **{"pair": (18, 6), **RULE, **more})
    world.adapter = MorphoBlue(replace(world.adapter.settings, feeds={world.proxies[0]: feed}))
    world.pool_says(3_000)
    return world


def test_whom_the_next_answer_condemns_is_known_from_rule_and_pool(build: Build) -> None:
    world = pooled(build)
    venue, user = world.venues[0], world.users[0]
    world.settle(venue, user, collateral=venue.unit, part=98)
    world._send([Tx(world.operators, world.aggregators[0], second(3_000 * 10**8))])
    for price, wanted in ((2_986.0, False), (2_900.0, True)):
        world.pool_says(price)
        book = world.followed()
        desk = Desk(world.adapter, book, ())
        calls = list(world.adapter.expected(book, at(book)))
        assert bool(calls) is wanted
        assert {report.key.id & 2**160 - 1 for report in coming(desk, at(book))[1]} == (
            {int.from_bytes(user)} if wanted else set()
        )
    [call] = calls
    told = transmit.told(call.target, call.data)
    assert told is not None and told[0] == world.aggregators[0]
    assert told[1] == pytest.approx(2_900 * 10**8, rel=1e-9)
    later = Moment(book.ref.number + 1, book.ref.timestamp + 3_600, 0)
    world.pool_says(2_999.0)
    book = world.followed()
    assert not list(world.adapter.expected(book, at(book)))
    assert len(list(world.adapter.expected(book, later))) == 1  # the heartbeat


@pytest.mark.parametrize("more", [{"pair": (6, 6)}, {"decimals": 18}, {"inverse": True}])
def test_a_pool_that_cannot_be_of_the_same_pair_is_not_believed(build: Build, more: dict[str, Any]) -> None:
    world = pooled(build, **more)
    world.pool_says(2_000)
    book = world.followed()
    assert list(world.adapter.expected(book, at(book))) == []


def test_a_pool_the_other_way_round() -> None:
    feed = Feed(pool=b"\1" * 20, pair=(6, 18), inverse=True, **RULE)
    root = isqrt(10**18 * 2**192 // (2_500 * 10**6))
    assert feed.answer(root) == pytest.approx(2_500 * 10**8, rel=1e-9)
    assert replace(feed, inverse=False).answer(0) == 0 == feed.answer(0)


@pytest.mark.parametrize("bad", [{"pair": ()}, {"deviation": 0}, {"heartbeat": 0}])
def test_a_pool_without_a_rule_or_a_pair_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a pool needs pair"):
        Feed(**{"pool": b"\1" * 20, "pair": (18, 6), **RULE, **bad})


@pytest.mark.parametrize(
    ("selector", "signature"),
    [
        *zip(
            feeds.PARTS,
            (
                "SCALE_FACTOR",
                "BASE_VAULT",
                "BASE_VAULT_CONVERSION_SAMPLE",
                "BASE_FEED_1",
                "BASE_FEED_2",
                "QUOTE_VAULT",
                "QUOTE_VAULT_CONVERSION_SAMPLE",
                "QUOTE_FEED_1",
                "QUOTE_FEED_2",
            ),
            strict=True,
        ),
        (feeds.LATEST, "latestRoundData"),
        (feeds.AGGREGATOR, "aggregator"),
        (feeds.TRANSMITTERS[0], "getTransmitters"),
        (feeds.TRANSMITTERS[1], "transmitters"),
        (feeds.SLOT, "slot0"),
        (feeds.ASSETS, "convertToAssets(uint256)"),
        (transmit.FIRST, FIRST),
        (transmit.SECOND, SECOND),
        (transmit.FORWARD, "forward(address,bytes)"),
    ],
)
def test_selector(selector: bytes, signature: str) -> None:
    assert selector == function_signature_to_4byte_selector(signature if "(" in signature else f"{signature}()")


def test_a_call_of_ours_reads_as_one_of_theirs() -> None:
    assert transmit.told(b"\1" * 20, transmit.call(12_345, 99)) == (b"\1" * 20, 12_345)

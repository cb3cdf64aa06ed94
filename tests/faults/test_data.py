"""What contracts, tokens and oracles may say: none of it makes the keeper act on nonsense, or fall over."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.exceptions import DecodingError
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.planner import Limits as Planning
from keeper.errors import AdapterFault, Reverted
from keeper.model import Liquidate, Log, Needs, Opportunity, Reason
from keeper.protocols import words
from keeper.protocols.abi import Contract, load, parse
from keeper.protocols.morpho_blue.maths import Totals
from keeper.protocols.morpho_blue.records import Position, position_key, price_key
from keeper.protocols.options import desk as house
from keeper.protocols.options import oracle
from keeper.simulation.node import Anvil
from keeper.tx.signer import LocalSigner
from tests.unit.morpho_shelf import ADAPTER, AT, DESK, LOAN, MARKET, ORACLE, REF, Shelf, a_market, shelf
from tests.unit.test_planner import House, act, done, made
from tests.worlds.options import GENESIS, OptionsWorld

DEBT = Totals(10**13, 10**19, 9 * 10**12, 9 * 10**18, REF.timestamp)


def indebted(price: int) -> Shelf:
    """A position that is well at a price of one, with cash at hand to liquidate it."""
    view = shelf(a_market(DEBT), price, cash=10**13)
    view.records[position_key(MARKET, DESK)] = Position(10**18, 2 * 10**12)
    return view


def told(view: Shelf, answer: bytes) -> None:
    """The oracle says this at a block."""
    [price] = [read for read in ADAPTER.interests(view).reads if read.target == ORACLE]
    for delta in ADAPTER.absorb(view, (price, answer), REF):
        if delta.after is None:  # type: ignore[union-attr]
            view.records.pop(delta.key)
        else:
            view.records[delta.key] = delta.after  # type: ignore[union-attr]


def offered(view: Shelf) -> list[Any]:
    suspects = [ADAPTER.health(view, position_key(MARKET, DESK), AT)] if view.get(price_key(ORACLE)) else []
    return list(ADAPTER.opportunities(view, suspects, AT))


def acts(view: Shelf) -> list[Any]:
    """What would pay, of all that is offered."""
    return [one for one in offered(view) if one.refusal is None and one.net > 0]


def test_the_position_of_these_tests_can_be_liquidated() -> None:
    assert acts(indebted(10**36)) == []
    assert len(acts(indebted(5 * 10**35))) == 1


@pytest.mark.fault("A01")
def test_at_a_price_of_zero_nothing_pays() -> None:
    view = indebted(10**36)
    told(view, words.pack(0))
    assert acts(view) == []


@pytest.mark.fault("A02", "A03")
@pytest.mark.parametrize("answer", [2**255, 2**256 - 1, 10**60])
def test_a_price_without_bounds_makes_nobody_unhealthy_and_overflows_nothing(answer: int) -> None:
    view = indebted(5 * 10**35)
    told(view, words.pack(answer))
    assert ADAPTER.health(view, position_key(MARKET, DESK), AT).healthy
    assert acts(view) == []


@pytest.mark.fault("A07")
@pytest.mark.parametrize("zeros", [10**2, 10**10, 10**18])
def test_an_oracle_that_says_its_price_with_fewer_zeros_stops_its_market(zeros: int) -> None:
    """By that price everybody could be liquidated; who was under water before cannot be either."""
    view = indebted(5 * 10**35)
    told(view, words.pack(5 * 10**35))
    assert len(acts(view)) == 1
    for _ in range(3):  # for as long as it says so
        told(view, words.pack(5 * 10**35 // zeros))
        assert acts(view) == []
        assert {one.refusal for one in offered(view)} == {Reason.ORACLE_DEVIATION}
    told(view, words.pack(4 * 10**35))
    assert len(acts(view)) == 1


@pytest.mark.fault("A07")
def test_with_more_zeros_it_liquidates_nobody_and_a_crash_is_believed() -> None:
    view = indebted(5 * 10**35)
    told(view, words.pack(5 * 10**35 * 10**10))
    assert acts(view) == []
    told(view, words.pack(2 * 10**35))
    told(view, words.pack(3 * 10**34))  # by more than five sixths, in a block
    assert len(offered(view)) == 1 and offered(view)[0].refusal is not Reason.ORACLE_DEVIATION


@pytest.mark.fault("A06", "A09")
def test_an_oracle_that_says_nothing_has_no_price() -> None:
    view = indebted(5 * 10**35)
    told(view, b"")
    assert view.get(price_key(ORACLE)) is None
    [refused] = ADAPTER.opportunities(view, [], AT)
    assert refused.refusal is Reason.PRICE_UNKNOWN


@pytest.mark.fault("A10")
@given(st.binary(min_size=1, max_size=31))
def test_an_answer_that_is_too_short_is_a_fault_of_that_adapter(answer: bytes) -> None:
    with pytest.raises(AdapterFault, match="ends before word"):
        told(indebted(10**36), answer)


@pytest.mark.fault("A11")
@given(st.binary(max_size=96))
def test_what_follows_the_answer_is_passed_over(junk: bytes) -> None:
    view = indebted(10**36)
    told(view, words.pack(7) + junk)
    assert view.get(price_key(ORACLE)).value == 7


@pytest.mark.fault("A26")
def test_an_account_of_dust_costs_little_memory() -> None:
    """A million of them cost less than half a gigabyte."""
    screen, count = ADAPTER.columns(), 20_000
    keys = [position_key(MARKET, n.to_bytes(20)) for n in range(count)]
    tracemalloc.start()
    try:
        for key in keys:
            screen.put(key, Position(1, 1))
        used = tracemalloc.get_traced_memory()[0]
        for key in keys:
            screen.put(key, None)
    finally:
        tracemalloc.stop()
    assert used / count < 500


# ─── ABI ──────────────────────────────────────────────────────────────────────────────────────────


def contracts() -> dict[str, Contract]:
    return {**load("keeper.protocols.options")}


@pytest.mark.fault("A12")
@pytest.mark.parametrize(
    ("kind", "word"), [("address", 1 << 160), ("bool", 2), ("uint8", 256), ("uint40", 1 << 40), ("bytes4", 1)]
)
def test_dirty_padding_is_refused(kind: str, word: int) -> None:
    item = {"type": "function", "name": "f", "inputs": [], "outputs": [{"type": kind, "name": ""}]}
    with pytest.raises(DecodingError):
        parse("c", [item]).result("f", words.pack(word))


DEEP = re.compile(r"\]\[|bytes\[|string\[|\([^)]*(bytes\b|string\b|\[)[^)]*\)\[")  # what has no length within


@pytest.mark.fault("A13", "A14")
def test_nothing_that_is_decoded_has_arrays_within_arrays_or_arrays_of_unknown_length_within() -> None:
    """Five kilobytes of ``uint256[][][][][]`` take eth-abi 21 seconds, half a megabyte of ``bytes[]`` a gigabyte."""
    decoded = [
        kind
        for contract in contracts().values()
        for entry in (*contract.events.values(), *contract.errors.values())
        for kind in entry.inputs
    ]
    decoded += [kind for c in contracts().values() for entry in c.functions.values() for kind in entry.outputs]
    assert decoded
    assert [kind for kind in decoded if DEEP.search(kind)] == []


@pytest.mark.fault("A15", "A16")
@given(st.binary(max_size=2_000))
def test_a_revert_may_carry_anything(data: bytes) -> None:
    assert isinstance(ADAPTER.explain(data), Reason)
    for contract in contracts().values():
        for entry in contract.errors.values():
            contract.error(entry.selector + data)


@pytest.mark.fault("A28")
@given(st.lists(st.binary(min_size=32, max_size=32), max_size=4), st.binary(max_size=200))
def test_a_log_of_any_shape_changes_nothing_or_is_a_fault_of_that_adapter(topics: list[bytes], data: bytes) -> None:
    log = Log(ADAPTER.settings.morpho, tuple(topics), data, bytes(32), 0)
    try:
        assert list(ADAPTER.absorb(indebted(10**36), log, REF)) == []
    except AdapterFault:
        return


@pytest.mark.fault("A24", "P06")
def test_the_hot_key_signs_transactions_and_nothing_else() -> None:
    """No messages, no permits, no authorisations: there is no method for them."""
    assert {name for name in vars(LocalSigner) if not name.startswith("_")} == {"address", "chain_id", "guard", "sign"}


@pytest.mark.fault("A23", "P07")
def test_what_is_allowed_is_taken_back_in_the_same_transaction() -> None:
    [offer] = acts(indebted(5 * 10**35))
    first, _, last = ADAPTER.calls(Liquidate(offer, 0))
    assert (first.target, last.target) == (LOAN, LOAN)
    assert words.uint(last.data[4:], 1) == 0 < words.uint(first.data[4:], 1) < 2**128


@pytest.mark.fault("A29")
def test_an_account_that_no_transaction_can_liquidate_is_skipped_with_a_reason_and_others_are_not() -> None:
    """The largest that the clearing house allows fits, beside the largest book of our own."""

    def bought(n: int, legs: int) -> Opportunity:
        gas = house.BID + house.MOVED_LEG * legs + house.MARGIN_LEG * 2 * legs + house.SWAP * 2
        gas += house.FLOOR + house.FLOOR_LEG * 3 * legs
        return replace(made(n, 1_000), needs=Needs(gas=gas))

    whole, beyond = bought(1, 32), bought(2, 256)
    assert done(act(whole, beyond), House(), Planning(max_fee=10**20)) == [True, Reason.GAS_ABOVE_CAP]


# ─── the oracle of the clearing house ─────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    with Anvil(timestamp=GENESIS) as node:
        made = OptionsWorld(node)
        made.open_markets()
        yield made


def published(world: OptionsWorld, spot: int, time: int, confidence: int = 10_000) -> None:
    """A message of the publisher's own, as the oracle takes it; Reverted when it does not."""
    args = (0, spot, time, confidence)
    signature = world.sign("spot", ("uint256",) * 4, *args)
    world.ask("Oracle", world.dep.oracle, "publish", *args, signature)


@pytest.mark.chain
@pytest.mark.fault("A01", "A02", "A03", "A05")
@pytest.mark.parametrize(
    ("spot", "ahead", "confidence"),
    [
        (0, 0, 10_000),
        (2**255, 0, 10_000),
        (2**256 - 1, 0, 10_000),
        (2_000 * 10**8, 3_600, 10_000),
        (2_000 * 10**8, 0, 10_001),
    ],
)
def test_the_oracle_takes_no_price_that_cannot_be_one(
    world: OptionsWorld, spot: int, ahead: int, confidence: int
) -> None:
    now = world.node.head().timestamp
    with pytest.raises(Reverted):
        published(world, spot, now + ahead, confidence)


@pytest.mark.chain
@pytest.mark.fault("A04")
def test_a_price_grown_old_is_stale_for_the_keeper_when_it_is_for_the_contract(world: OptionsWorld) -> None:
    feed, config = world.state.feed(0), world.state.config()
    assert feed is not None
    for age in (0, config.max_age, config.max_age + 1):
        assert oracle.prices(feed, feed.time + age, config).stale is (age > config.max_age)

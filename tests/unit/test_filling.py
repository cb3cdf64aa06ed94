"""Accounts on their way from the node into the book: few at a time, and all or none."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from structlog.testing import capture_logs

from keeper.chain.filling import AT_ONCE, FEW
from keeper.errors import NodeUnavailable
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.store import raw
from tests.worlds.crowd import HERD, Crowd, herd
from tests.worlds.teller import Market, Teller, filling

SEED, COUNT = 7, 24_500  # one call is not whole


async def filled(teller: Teller, market: Market, blocks: int = 1) -> list[Any]:
    """What was said."""
    with capture_logs() as said:
        async for _ in filling(teller, market, blocks).events(1):
            pass
    await asyncio.sleep(0)  # the loop lets go of the task that woke it
    gc.collect()  # and what an error held on to
    return said


def whole(columns: Columns) -> bool:
    right = Crowd()
    for ids, answer in herd(SEED, COUNT):
        right.columns.load(right, ids, answer)
    return raw(columns.store) == raw(right.columns.store)


@pytest.mark.parametrize("turns", [1, 5_000])
async def test_what_is_between_node_and_book_is_bounded(turns: int) -> None:
    """However many accounts there are; a node that takes longer than we do is asked for more at once."""
    teller, market = Teller(SEED, COUNT, turns), Market()
    await filled(teller, market)
    assert teller.most_asked <= FEW if turns == 1 else teller.most_asked == AT_ONCE
    assert teller.most_held <= AT_ONCE < COUNT // HERD
    assert teller.held == 0
    assert whole(market.book.columns)


@pytest.mark.parametrize("spoilt", [NodeUnavailable("gone"), bytes(32), bytes(33), b""])
@pytest.mark.parametrize("call", [1, 9, 25])
async def test_all_accounts_or_none(call: int, spoilt: bytes | Exception) -> None:
    teller, market = Teller(SEED, COUNT, 50), Market()
    before = market.book.columns
    teller.spoilt[call] = spoilt
    assert [line["event"] for line in await filled(teller, market)] == ["book.unread"]
    assert market.missing and market.book.columns is before and not len(before.store)
    assert teller.asked == teller.held == 0 and len(asyncio.all_tasks()) == 1
    assert [line["event"] for line in await filled(teller, market)] == ["book.read"]
    assert not market.missing and whole(market.book.columns)


@pytest.mark.parametrize("most", [HERD, 5 * HERD, 10**9])
async def test_names_are_asked_for_in_spans_that_the_node_can_answer(most: int) -> None:
    teller, market = Teller(SEED, COUNT, most=most), Market()
    [said] = await filled(teller, market)
    assert said["accounts"] == COUNT and whole(market.book.columns)
    assert [first for first, _ in teller.spans] == [1, *(last + 1 for _, last in teller.spans[:-1])]
    assert max(last + 1 - first for first, last in teller.spans) * HERD <= min(most, 16 * HERD)


async def test_a_node_that_answers_nothing_is_asked_again_at_the_next_block() -> None:
    teller, market = Teller(SEED, COUNT, most=0), Market()
    assert [line["event"] for line in await filled(teller, market, 2)] == ["book.unread"] * 2
    assert market.missing

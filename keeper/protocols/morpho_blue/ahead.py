"""The prices that are about to come: from an answer seen pending, or from the rule that makes the next one due.

The rule's answer is what a pool of the same pair says now: good enough to know whom to look at first, never to act on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from keeper.model import Address, Key, Moment, Pending
from keeper.ports import View
from keeper.protocols.morpho_blue import feeds, transmit
from keeper.protocols.morpho_blue.records import (
    LEAP,
    MARKET,
    Aggregator,
    Answer,
    OraclePrice,
    Slot,
    aggregator_key,
    answer_key,
    price_key,
    slot_key,
)
from keeper.protocols.morpho_blue.settings import Settings
from keeper.protocols.publishing import due
from keeper.protocols.whatif import WhatIf


def after(settings: Settings, view: View, pending: Pending, at: Moment) -> WhatIf | None:
    """The book after this call, mined at ``at``; None when it is no answer of a listed feed, or moves no price."""
    told = transmit.told(pending.target, pending.data) if settings.feeds else None
    if told is None:
        return None
    changes = dict(_answers(settings, view, *told, at))
    changed = WhatIf(view, changes)
    prices = dict(_prices(settings, view, changed))
    return WhatIf(changed, prices) if prices else None


def _answers(settings: Settings, view: View, source: Address, value: int, at: Moment) -> Iterator[tuple[Key, Answer]]:
    for feed in settings.feeds:
        from_: Aggregator | None = view.get(aggregator_key(feed))
        before: Answer | None = view.get(answer_key(feed))
        if from_ is not None and from_.address == source and before is not None:
            yield answer_key(feed), replace(before, value=value, updated=at.timestamp)


def _prices(settings: Settings, view: View, changed: View) -> Iterator[tuple[Key, Any]]:
    """Of the oracles whose price moves; one that says another price than it is made of is of another form."""
    markets = (view.get(key) for key in view.keys(MARKET))
    for oracle, recipe in feeds.recipes(settings, view, tuple(dict.fromkeys(m.params.oracle for m in markets))).items():
        before: OraclePrice | None = view.get(price_key(oracle))
        price = recipe.price(changed)
        if before is not None and price is not None and recipe.price(view) == before.value != price:
            yield price_key(oracle), before.then(price)


def due_by(settings: Settings, view: View, at: Moment) -> Iterator[Pending]:
    """A call for each listed feed whose next answer its rule asks for by ``at``, without its operators' signatures."""
    for address, feed in settings.feeds.items():
        answer: Answer | None = view.get(answer_key(address))
        source: Aggregator | None = view.get(aggregator_key(address))
        slot: Slot | None = view.get(slot_key(feed.pool))
        if feed.rule is None or answer is None or source is None or slot is None or answer.value <= 0:
            continue
        said = feed.answer(slot.root)
        if not answer.value < said * LEAP < answer.value * LEAP**2:
            continue  # a pool of something else, or other decimals
        if said != answer.value and due(feed.rule, answer.value, answer.updated, said, at.timestamp):
            yield Pending(source.address, transmit.call(said, at.timestamp))

"""Over blocks, with all that is kept from one look to the next, the screen misses none that the exact telling condemns.

Every other account stands on the edge at one of the blocks. Prices, smiles, rates and confidence move; smiles grow old,
an expiry passes; blocks come late, and two are taken back. ``KEEPER_SCREENED_SEED`` is the first of the walks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from keeper.margin.scan import kernels, slack
from keeper.model import BlockRef, Key, Moment
from keeper.protocols.options import columns, oracle
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.book import fed
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.oracle import REALISTIC
from keeper.protocols.options.records import Account, State, smile_key
from tests.worlds.crowd import DAYS, NOW, SPOTS, Crowd, person

SEED = int(os.environ.get("KEEPER_SCREENED_SEED", "0"))
COUNT = 160
EDGE = 10**12  # wad: a millionth of a dollar
PAUSES = (*[12] * 8, 13, 24, 301, 1_201, 1_201)  # seconds; the last make prices and smiles old
STARTS = (0, 86_400 - REALISTIC.window - 30, 86_400 - 700)  # after ``NOW``; before, and in, the first settlement window


@dataclass(eq=False)
class Block:
    """Implements ``ports.View``: the market of one block, and one account."""

    records: dict[Key, Any]
    ref: BlockRef
    held: Account | None = None

    def get(self, key: Key) -> Any:
        return self.held if key.kind == "account" else self.records.get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(sorted(key for key in self.records if key.kind == kind))

    @property
    def at(self) -> Moment:
        return Moment(self.ref.number + 1, self.ref.timestamp + 12, 0)

    def margin(self, account: Account) -> int:
        """Wad; LookupError where it has no value."""
        self.held = account
        report = Options.health(None, self, Key("account", 0), self.at)  # type: ignore[arg-type]
        return report.equity - report.requirement


def walk(dice: Random) -> list[Block]:
    """Ten blocks and two that are taken back, after the fifth."""
    c, found = Crowd(now=NOW + dice.choice(STARTS)), list[Block]()
    c.records |= {key: replace(c.records[key], rate=dice.randint(-40_000, 60_000)) for key in c.keys("smile")}
    kept = dict(c.records), c.now
    for n in range(12):
        if n == 5:
            kept = dict(c.records), c.now
        if n == 7:
            c.records, c.now = dict(kept[0]), kept[1]
        if n:
            step(c, dice, 12 if n in (5, 7) else dice.choice(PAUSES))
        ref = BlockRef(n, dice.randbytes(32), bytes(32), c.now, 0, 0, 1)
        found.append(Block(dict(c.records), ref))
    return found


def step(c: Crowd, dice: Random, pause: int) -> None:
    c.now += pause
    wild = dice.choice((0.0, 0.0002, 0.04))
    for u in range(len(SPOTS)):
        feed = c.records[Key("feed", u)]
        spot, sure = round(feed.spot * (1 + dice.gauss(0, wild))), dice.choice((*[10_000] * 7, 9_000))
        c.records |= fed(State(c), u, *oracle.publish(feed, spot, c.now, sure, c.now, REALISTIC))
    for _ in range(dice.choice((0, 0, 1, 3))):
        u, day = dice.randrange(2), dice.choice(DAYS)
        key = smile_key(u, NOW + day * 86_400)
        old, by = c.records[key], dice.randint(-20_000, 20_000)
        new = replace(old, atm=old.atm + by, skew=old.skew + by, rate=old.rate + by, time=c.now, confidence=9_500)
        c.records[key] = oracle.publish_smile(old, new, c.records[Key("feed", u)], REALISTIC)


def people(dice: Random, blocks: list[Block]) -> Iterator[tuple[int, Account]]:
    for n in range(COUNT):
        account, block = person(dice), dice.choice(blocks)
        off = dice.choice((-1, 0, 1, dice.randint(-EDGE, EDGE), dice.randint(-EDGE * 10**7, EDGE * 10**7)))
        try:
            short = off - block.margin(account) if n % 2 else 0
        except LookupError:
            short = 0
        yield int.from_bytes(dice.randbytes(20)), replace(account, cash=account.cash + short)


@pytest.mark.parametrize("kernel", kernels.installed())
@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_it_misses_no_account(seed: int, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All accounts are kept in order by their slack, so that after the first look none is a scan of all."""
    monkeypatch.setattr(slack, "NEAREST", 1)
    monkeypatch.setattr(columns, "DENSE", 1)
    dice = Random(seed)
    blocks = walk(dice)
    c, held, near = Crowd(columns=Columns(kernels.named(kernel), index_from=0)), dict(people(dice, blocks)), 0
    c.settle(held.items())
    for block in blocks:
        c.records, c.ref, c.now = dict(block.records), block.ref, block.ref.timestamp
        named = {key.id for key in c.columns.suspects(c, block.at)}
        for id, account in held.items():
            try:
                margin = block.margin(account)
            except LookupError:
                continue
            near += abs(margin) <= EDGE
            assert margin >= 0 or id in named, f"block {block.ref.number} condemns 0x{id:x}"
        c.columns.ahead(c, replace(block.at, timestamp=block.at.timestamp + 12))
    assert near > COUNT / 8, "nobody stood on the edge"

"""What the packed reader says, decoded at array speed, is what the events said one by one."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import numpy as np
import pytest

from keeper.errors import AdapterFault
from keeper.model import Key
from keeper.protocols.options import packed
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.records import Account, Leg
from keeper.units import WAD
from tests.worlds.crowd import Crowd, people, series

ASSETS = 3
NONE = (0,) * ASSETS


def told(accounts: Iterable[Account], dice: Random) -> bytes:
    """As ``Reader.sol`` would; three assets are listed."""
    heads, holdings = zip(*(pack(account, dice) for account in accounts), strict=True)
    return b"".join((ASSETS.to_bytes(32), *heads, *holdings))


def pack(account: Account, dice: Random) -> tuple[bytes, bytes]:
    """One account: its head, and what it holds, legs in any order."""
    legs = [leg.series << 128 | leg.size & 2**128 - 1 for leg in account.legs]
    dice.shuffle(legs)
    held = sum(1 << a for a, amount in enumerate(account.collateral) if amount)
    head = bytes([dice.randrange(2), held, len(legs)]) + account.change_id.to_bytes(5)
    head += account.index.to_bytes(8) + account.cash.to_bytes(16, signed=True)
    words = [*legs, *(amount for amount in account.collateral if amount)]
    return head, b"".join(word.to_bytes(32) for word in words)


def odd_ones() -> list[Account]:
    """Accounts at the edges of what columns hold."""
    word, size = series(0, 7, True, 100), 10**15
    return [
        Account(0, (), NONE, 0),
        Account(-(2**127), (), NONE, 2**40 - 1),
        Account(2**127 - 1, (Leg(word, size * (2**31 - 1)),), NONE, 1),
        Account(-1, (Leg(word, -size * 2**31),), NONE, 1),
        Account(1, (Leg(word, size * 2**31),), NONE, 1),
        Account(1, (Leg(word, size + 1), Leg(word + 1, -1)), (0, 2**255, 0), 1),
        Account(5 * WAD, (Leg(word, 2**126),), NONE, 1, WAD // 2),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_many_at_once_are_the_same_as_one_by_one(seed: int) -> None:
    dice, crowd, other = Random(seed), Crowd(), Columns()
    mine = dict(people(seed, 700, 8 if seed % 2 else 14)) | {10**6 + i: one for i, one in enumerate(odd_ones())}
    blob = told(mine.values(), dice)
    assert packed.accounts(blob, len(mine)) == list(mine.values())
    other.load(crowd, list(mine), blob)
    crowd.settle(mine.items())
    assert {id: other.get(Key("account", id)) for id in mine} == mine
    named = crowd.columns.suspects(crowd, crowd.at)
    assert named
    assert other.suspects(crowd, crowd.at) == named
    for id in list(mine)[::7]:
        other.put(Key("account", id), None)
        crowd.columns.put(Key("account", id), None)
    assert other.suspects(crowd, crowd.at) == crowd.columns.suspects(crowd, crowd.at)
    assert set(other.store.listing.live().values()) == set(crowd.columns.store.listing.live().values())


def test_an_answer_cut_short_is_refused() -> None:
    mine = dict(people(1, 5))
    blob = told(mine.values(), Random(1))
    for cut in (1, 31, 32, 64, len(blob) - 32):
        with pytest.raises(AdapterFault):
            packed.accounts(blob[:-cut], len(mine))
        with pytest.raises(AdapterFault):
            Columns().load(Crowd(), list(mine), blob[:-cut])
    with pytest.raises(AdapterFault):
        packed.accounts(blob + bytes(32), len(mine))


def test_what_was_known_of_an_account_is_written_over() -> None:
    columns, [(id, account), (other, third)] = Columns(), list(people(2, 2))
    columns.put(Key("account", id), third)
    columns.load(Crowd(), [other, id], told([third, account], Random(0)))
    assert (columns.get(Key("account", id)), columns.get(Key("account", other))) == (account, third)
    assert np.isfinite(columns.store.cash).all()

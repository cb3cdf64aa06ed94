"""Many events at once are the same as one by one, and taking them back leaves no trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from eth_abi.abi import encode

from keeper.errors import AdapterFault
from keeper.model import Key
from keeper.protocols.options import bulk
from keeper.protocols.options.bulk import Event
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.records import Account, Leg, State
from keeper.protocols.options.store import Store
from keeper.units import WAD
from tests.worlds.crowd import Crowd, people, series, stored

LOT = 10**15
Told = Mapping[Key, Event]


def event(account: Account, dice: Random) -> Event:
    """As ``Clearing._changed`` emits it, legs in any order."""
    legs = [leg.series << 128 | leg.size & 2**128 - 1 for leg in account.legs]
    dice.shuffle(legs)
    kinds = ["uint256", "int256", "uint256[]", "uint256[]"]
    return Event(encode(kinds, [account.change_id, account.cash, legs, account.collateral]), account.index)


def odd_ones() -> list[Account]:
    word, none = series(0, 7, True, 100), (0, 0, 0)
    many = tuple(
        Leg(series(u, d, c, 88), LOT * (d - 20)) for u in (0, 1) for d in (1, 3, 7, 14, 21) for c in (False, True)
    )
    return [
        Account(-(2**127), (), none, 2**40 - 1),
        Account(2**127 - 1, (Leg(word, LOT * (2**31 - 1)),), (), 1),
        Account(-1, (Leg(word, -LOT * 2**31),), none, 1),
        Account(1, (Leg(word, LOT + 1), Leg(word + 1, -1)), (0, 2**255), 1),
        Account(7 * WAD, tuple(sorted(many)), (0, 5 * 10**17, 3), 9),
        Account(7 * WAD, tuple(sorted(many))[:10], none, 9),
        Account(0, (), (0, 10**18, 10**8), 3),
        Account(10**18, (Leg(word, 2**126),), (0, 2**200, 0), 4),
    ]


def walk(seed: int, blocks: int, count: int = 40) -> list[Told]:
    """What some blocks tell: of old accounts and new ones, after losses too."""
    dice, ids = Random(seed), [id for id, _ in people(seed, count)]
    told, loss = list[Told](), WAD
    for n in range(blocks):
        loss = loss * dice.choice((100, 100, 97)) // 100
        fresh = [account for _, account in people(seed * 1_000 + n, dice.choice((1, 5, 30)), dice.choice((3, 8, 14)))]
        fresh += dice.sample(odd_ones(), 3)
        chosen = dice.sample(ids, len(fresh))
        told.append(
            {
                Key("account", id): event(replace(account, index=dice.choice((loss, WAD))), dice)
                for id, account in zip(chosen, fresh, strict=True)
            }
        )
    return told


def picture(store: Store) -> dict[str, Any]:
    """All that a store holds, without the numbers it gives to rows of the table and to blocks."""
    rows = {account: row for row, account in enumerate(map(store.account, range(len(store)))) if store.get(account)}
    return {
        "records": {account: store.get(account) for account in rows},
        "cash": {account: store.cash[row].tobytes() for account, row in rows.items()},
        "parts": {account: sorted(_part(store, *part) for part in store._parts(row)) for account, row in rows.items()},
        "holders": {word: store.listing._holders[row] for word, row in store.listing._rows.items()},
        "halves": {word: _word(store, row) for word, row in store.listing._rows.items()},
        "pledged": {store.account(row): amounts for row, amounts in store.pledged.items()},
        "huge": {store.account(row) for row in store.huge},
    }


def _word(store: Store, row: int) -> int:
    high, low = store.listing.halves
    return high.item(row) << 64 | low.item(row)


def _part(store: Store, blocks: Any, at: int) -> tuple[Any, ...]:
    used = blocks.used
    words = tuple(store.listing.words[row] if row else 0 for row in used.series[at].tolist())
    rest = (used.lots, used.first, used.under, used.units, used.shorts, used.naked, used.gross)
    return (store.blocks.index(blocks), words, *(column[at].tobytes() for column in rest))


def nobody(store: Store) -> bool:
    """Whether a store has rows in which nothing is left, and blocks that can be used again."""
    held = any(blocks.used.gross.any() or blocks.used.series.any() for blocks in store.blocks)
    free = all(len(blocks._free) == blocks.size for blocks in store.blocks[1:])
    return free and not held and not store.cash.any()


@pytest.mark.parametrize("seed", range(6))
def test_at_once_is_the_same_as_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd, fast, slow = Crowd(), Columns(), Columns()
    for columns in (fast, slow):
        columns._count(State(crowd))
    for told in walk(seed, 12):
        monkeypatch.setattr(bulk, "MANY", 1)
        fast.put_all(told)
        monkeypatch.setattr(bulk, "MANY", 10**9)
        slow.put_all(told)
        assert {key: fast.get(key) for key in told} == {key: said.account() for key, said in told.items()}
        assert picture(fast.store) == picture(slow.store)
    assert fast.suspects(crowd, crowd.at) == slow.suspects(crowd, crowd.at)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("many", [1, 8, 10**9])
def test_taken_back_block_by_block_it_is_as_it_was(seed: int, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when losses were shared, or collateral began to count, in between."""
    monkeypatch.setattr(bulk, "MANY", many)
    crowd, columns, undone = Crowd(), Columns(), list[tuple[dict[str, Any], bulk.Undo]]()
    columns._count(State(crowd))
    for told in walk(seed, 8):
        undone.append((picture(columns.store), columns.put_all(told)))
    meanwhile(crowd, columns)
    for before, undo in reversed(undone):
        columns.restore(undo)
        assert picture(columns.store) == before
        meanwhile(crowd, columns)
        assert picture(columns.store) == before
    assert nobody(columns.store)


def meanwhile(crowd: Crowd, columns: Columns) -> None:
    """Another loss and another parameter set, and both as they were again."""
    house, sets = crowd.records[Key("clearing", 0)], crowd.records[Key("params", 1)]
    crowd.records[Key("clearing", 0)] = replace(house, index=WAD // 3)
    first, *others = sets.risk.assets
    crowd.records[Key("params", 1)] = stored(replace(sets, risk=replace(sets.risk, assets=(first, *others[:-1]))))
    columns._count(State(crowd))
    crowd.records |= {Key("clearing", 0): house, Key("params", 1): sets}
    columns._count(State(crowd))


def test_collateral_counts_as_it_does_now_when_a_block_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The set that was accepted before the block stays accepted after it."""
    monkeypatch.setattr(bulk, "MANY", 1)
    crowd, columns, dice = Crowd(), Columns(), Random(1)
    word, key = series(1, 7, True, 100), Key("account", 7)
    holder = Account(WAD, (Leg(word, -LOT),), (0, 0, 10**8), 1)
    columns.put_all({key: event(holder, dice)})  # before anything counts
    undo = columns.put_all({key: event(replace(holder, collateral=(0, 0, 0), change_id=2), dice)})
    columns._count(State(crowd))
    columns.restore(undo)
    assert columns.store.first.used.units[0] == WAD // LOT


def test_what_is_not_understood_changes_nothing() -> None:
    """However many others the block has."""
    dice, columns = Random(3), Columns()
    good = {Key("account", id): event(account, dice) for id, account in people(3, 30)}
    columns.put_all(good)
    before, key = picture(columns.store), Key("account", 5)
    data = event(odd_ones()[4], dice).data
    longer = data[:128] + (2**200).to_bytes(32) + data[160:]
    shifted = data[:64] + (160).to_bytes(32) + data[96:]
    for bad in (data[:-32], data[:-1], data + bytes(32), b"", data[:160], longer, shifted):
        changed = {k: event(account, dice) for k, (_, account) in zip(good, people(4, 30), strict=True)}
        with pytest.raises(AdapterFault):
            columns.put_all({**changed, key: Event(bad, WAD)})
        assert picture(columns.store) == before

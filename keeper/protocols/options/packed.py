"""Many accounts in one answer: the words of ``Reader.sol``, as they lie in storage.

once     number of assets listed
account  8 unused | uint8 assets held, a bit each | uint8 legs | uint40 change id | uint64 index | int128 cash
legs     one word each, see ``Leg.sol``
assets   one word each of those held, native units
"""

from __future__ import annotations

from typing import Final

import numpy as np

from keeper.errors import AdapterFault
from keeper.protocols.options.plain import Ints
from keeper.protocols.options.raw import Raw, Words, words_of
from keeper.protocols.options.records import Account, Clearing
from keeper.protocols.options.risk import cash_of
from keeper.units import WAD

MOST: Final = 8  # assets


def of_storage(data: bytes, count: int) -> Raw:
    """The answer of ``Reader.sol``. AdapterFault unless it is one of so many accounts."""
    words = words_of(data, "the packed reader's answer")
    listed = int(words[0, 3]) if len(words) else MOST + 1
    if listed > MOST:
        raise AdapterFault("the packed reader's answer is none")
    heads = _heads(words, count)
    head = words[heads]
    top, slots = head[:, 0], np.arange(listed)
    legs = (top >> np.uint64(40) & np.uint64(0xFF)).view(np.int64)
    held = (top >> np.uint64(48)).view(np.int64)[:, None] >> slots & 1  # (N, A)
    amounts = np.where(held, (heads + legs)[:, None] + np.cumsum(held, axis=1), -1)
    index = np.where(head[:, 1], head[:, 1], np.uint64(WAD))
    return Raw(
        words, heads, top & np.uint64(2**40 - 1), index, heads + 1, legs, amounts, np.full(count, listed, np.int64)
    )


def _heads(words: Words, count: int) -> Ints:
    """Where each account begins."""
    lengths, held = (words[:, 0] >> np.uint64(bit) & np.uint64(0xFF) for bit in (40, 48))
    sizes = (1 + (lengths + np.bitwise_count(held)).view(np.int64)).tolist()
    heads, at = list[int](), 1
    while at < len(sizes):
        heads.append(at)
        at += sizes[at]
    if len(heads) != count or at != max(1, len(words)):
        raise AdapterFault(
            f"the packed reader told of {len(heads)} accounts in {at} words, not {count} in {len(words)}"
        )
    return np.array(heads, np.int64)


def accounts(data: bytes, count: int) -> list[Account]:
    """One by one, exact. AdapterFault unless the data is that of so many accounts."""
    raw = of_storage(data, count)
    return [raw.record(i) for i in range(count)]


def differ(ours: Account | None, theirs: Account, clearing: Clearing) -> bool:
    """Whether the chain's account is another than the book's, at the current loss index."""
    mine = ours or Account(0, (), (), 0)
    return (cash_of(mine, clearing), mine.legs, _held(mine), mine.change_id) != (
        cash_of(theirs, clearing),
        theirs.legs,
        _held(theirs),
        theirs.change_id,
    )


def _held(account: Account) -> dict[int, int]:
    return {asset: amount for asset, amount in enumerate(account.collateral) if amount}

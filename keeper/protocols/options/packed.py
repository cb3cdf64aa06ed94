"""Many accounts in one answer: the words of ``Reader.sol``, as they lie in storage.

once       number of assets listed
heads      8 unused | uint8 assets held, a bit each | uint8 legs | uint40 change id | uint64 index | int128 cash
holdings   account by account: its legs, one word each, see ``Leg.sol``; then the assets held, native units
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from keeper.errors import AdapterFault
from keeper.protocols import words as abi
from keeper.protocols.abi import load
from keeper.protocols.options.raw import Raw, words_of
from keeper.protocols.options.records import Account, Clearing
from keeper.protocols.options.risk import cash_of
from keeper.units import WAD

MOST: Final = 8  # assets
READER: Final = load("keeper.protocols.options")["Reader"]
READ: Final = READER.functions["read"].selector


def question(accounts: Sequence[int]) -> bytes:
    """Call data of ``Reader.read``."""
    return READ + abi.pack(abi.WORD, len(accounts)) + b"".join([account.to_bytes(abi.WORD) for account in accounts])


def of_storage(data: bytes, count: int) -> Raw:
    """The answer of ``Reader.sol``. AdapterFault unless it is one of so many accounts."""
    words = words_of(data, "the packed reader's answer")
    listed = int(words[0, 3]) if len(words) else MOST + 1
    if listed > MOST:
        raise AdapterFault("the packed reader's answer is none")
    head = words[1 : 1 + count]
    top, slots = head[:, 0], np.arange(listed)
    legs = (top >> np.uint64(40) & np.uint64(0xFF)).view(np.int64)
    held = (top >> np.uint64(48)).view(np.int64)[:, None] >> slots & 1  # (N, A)
    sizes = legs + np.bitwise_count(top >> np.uint64(48) & np.uint64(0xFF))
    first, end = 1 + count + np.cumsum(sizes) - sizes, 1 + count + int(sizes.sum())
    if len(head) != count or end != len(words):
        raise AdapterFault(f"of {count} accounts the packed reader told {len(head)}, in {end} of {len(words)} words")
    amounts = np.where(held, (first + legs - 1)[:, None] + np.cumsum(held, axis=1), -1)
    index = np.where(head[:, 1], head[:, 1], np.uint64(WAD))
    change, assets = top & np.uint64(2**40 - 1), np.full(count, listed, np.int64)
    return Raw(words, np.arange(1, 1 + count), change, index, first, legs, amounts, assets)


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

"""Many accounts in one answer: the words of ``Reader.sol``, read into the store at array speed.

once     number of assets listed
account  uint8 flagged | uint8 assets held, a bit each | uint8 legs | uint40 change id | uint64 index | int128 cash
legs     one word each, see ``Leg.sol``
assets   one word each of those held, native units
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keeper.errors import AdapterFault
from keeper.protocols.options.records import Account, Clearing, unpack_leg
from keeper.protocols.options.risk import cash_of
from keeper.protocols.options.store import LOT, Plain, Store
from keeper.units import WAD

WORD = 32  # bytes
LEGS = 8  # of accounts that are read at array speed

Words = NDArray[np.uint64]  # (..., 4), the most significant first


def accounts(data: bytes, count: int) -> list[Account]:
    """One by one, exact. AdapterFault unless the data is that of so many accounts."""
    words, found, at = _words(data), list[Account](), 1
    for _ in range(count):
        if at >= len(words):
            raise AdapterFault(f"the packed reader told of {len(found)} accounts instead of {count}")
        account, at = _account(data, at)
        found.append(account)
    if at != len(words):
        raise AdapterFault(f"the packed reader told more than {count} accounts")
    return found


def _account(data: bytes, at: int) -> tuple[Account, int]:
    head, listed = data[WORD * at : WORD * (at + 1)], data[WORD - 1]
    held, legs = head[1], head[2]
    end = at + 1 + legs + held.bit_count()
    if end * WORD > len(data):
        raise AdapterFault("the packed reader's answer ends within an account")
    words = [int.from_bytes(data[WORD * i : WORD * (i + 1)]) for i in range(at + 1, end)]
    amounts = iter(words[legs:])
    collateral = tuple(next(amounts) if held >> a & 1 else 0 for a in range(listed))
    cash, index = int.from_bytes(head[16:], signed=True), int.from_bytes(head[8:16])
    sizes = tuple(sorted(unpack_leg(word) for word in words[:legs]))
    return Account(cash, sizes, collateral, int.from_bytes(head[3:8]), index or WAD), end


def fill(store: Store, ids: Sequence[int], data: bytes) -> None:
    """All of them into the store; the unusual ones one by one. ValueError when it has one of them already."""
    if known := [id for id in ids if id in store]:
        raise ValueError(f"account 0x{known[0]:x} is in the store already")
    words = _words(data)
    heads, legs = _heads(words, len(ids))
    top, index = words[heads, 0], words[heads, 1]
    usual = (top >> np.uint64(48) & np.uint64(0xFF) == 0) & (legs <= LEGS) & (_change(top) < 2**31)
    usual &= (index == np.uint64(WAD)) | (index == 0)
    plain, fits = _plain(words, heads[usual], legs[usual])
    chosen = np.flatnonzero(usual)[fits].tolist()
    store.fill([ids[i] for i in chosen], plain.where(fits))
    others = np.ones(len(ids), bool)
    others[chosen] = False
    for i in np.flatnonzero(others).tolist():
        store.put(ids[i], _account(data, int(heads[i]))[0], {})


def _words(data: bytes) -> Words:
    if len(data) % WORD:
        raise AdapterFault(f"the packed reader's answer has {len(data)} bytes, which are no words")
    return np.frombuffer(data, ">u8").reshape(-1, 4).astype(np.uint64)


def _heads(words: Words, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each account begins, and its number of legs."""
    lengths = words[:, 0] >> np.uint64(40) & np.uint64(0xFF)
    held = words[:, 0] >> np.uint64(48) & np.uint64(0xFF)
    heads, at = [], 1
    sizes = (1 + lengths + np.bitwise_count(held)).tolist()
    while at < len(sizes):
        heads.append(at)
        at += int(sizes[at])
    if len(heads) != count or at != len(words):
        raise AdapterFault(
            f"the packed reader told of {len(heads)} accounts in {at} words, not {count} in {len(words)}"
        )
    where = np.array(heads, np.int64)
    return where, lengths[where].astype(np.int64)


def _plain(words: Words, heads: NDArray[np.int64], legs: NDArray[np.int64]) -> tuple[Plain, NDArray[np.bool_]]:
    """Accounts of up to eight legs, and which of them are as plain as ``Plain`` needs them."""
    slots = np.arange(LEGS)
    used = slots < legs[:, None]
    each = words[np.where(used, heads[:, None] + 1 + slots, 0)]  # (N, 8, 4)
    high, low = np.where(used, each[..., 0], 0), np.where(used, each[..., 1], 0)
    lots, whole = _lots(each[..., 2], each[..., 3])
    order = _order(high, low, used)
    high, low, lots, whole = (np.take_along_axis(a, order, axis=1) for a in (high, low, np.where(used, lots, 0), whole))
    under = high >> np.uint64(48)
    one = ((under == under[:, :1]) | (high == 0)).all(axis=1)
    head, listed = words[heads], words[0, 3] if len(words) else 0
    change, assets = _change(head[:, 0]).astype(np.uint32), np.full(len(heads), listed, np.uint8)
    plain = Plain(head[:, 2].view(np.int64), head[:, 3], change, assets, high, low, lots)
    one &= np.abs(plain.high) < 2**31 - 1
    return plain, one & (whole | ~(slots < legs[:, None])).all(axis=1)


def _change(top: Words) -> Words:
    return top & np.uint64(2**40 - 1)


def _order(high: Words, low: Words, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Slots by series, the empty ones last."""
    top = np.where(used, high, np.uint64(2**64 - 1))
    by_low = np.argsort(low, axis=1, kind="stable")
    return np.take_along_axis(
        by_low, np.argsort(np.take_along_axis(top, by_low, axis=1), axis=1, kind="stable"), axis=1
    )


def _lots(high: Words, low: Words) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Sizes (int128 in two words) in whole lots, and whether they are exactly that."""
    guess = np.rint((high.view(np.int64) * float(2**64) + low) / LOT)
    small = np.abs(guess) < 2**31
    lots = np.where(small, guess, 0).astype(np.int64)
    back = lots.view(np.uint64) * np.uint64(LOT)  # modulo 2^64; the guess is off by less than that
    return lots, small & (back == low)


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

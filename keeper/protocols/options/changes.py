"""What a handler of events gives: the changes of one log, and the words to say them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keeper.model import Address, BlockRef, Delta, Fact, Key, Log, Told
from keeper.protocols.options.records import State

Changes = Iterable[Delta | Told | Fact]
Handler = Callable[[State, Log, BlockRef], Changes]


def put(state: State, key: Key, after: object) -> Delta:
    return Delta(key, state.view.get(key), after)


def owner_of(account: int) -> Address:
    """The low 160 bits of an account."""
    return (account & (1 << 160) - 1).to_bytes(20)

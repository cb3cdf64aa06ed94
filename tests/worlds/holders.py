"""Accounts of a bare clearing house: given cash and collateral, and trading with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeper.model import Address
from keeper.protocols.options.records import Leg
from keeper.units import WAD
from tests.worlds.acts import act
from tests.worlds.options import OptionsWorld

USD = 10**6  # native units of cash


def account_of(owner: Address, number: int = 0) -> int:
    return int.from_bytes(owner) | number << 160


def owner_of(account: int) -> Address:
    return (account & (1 << 160) - 1).to_bytes(20)


def give(w: OptionsWorld, account: int, amount: int, asset: int = 0) -> None:
    """Mint and deposit; ``amount`` in native units of the asset."""
    owner, token, spender = owner_of(account), w.dep.tokens[asset], w.dep.clearing
    w.send(w.governor, token, w.c["Token"].call("mint", owner, amount))
    w.send(owner, token, w.c["Token"].call("approve", spender, amount))
    act(w, "Clearing", "deposit", account, asset, amount, sender=owner)


def words(legs: Sequence[Leg]) -> list[int]:
    return [leg.series << 128 | leg.size & 2**128 - 1 for leg in legs]


def trade(w: OptionsWorld, a: int, b: int, legs: Sequence[Leg], premium: int = 0) -> Any:
    """``a`` receives the legs and pays ``premium`` (usd, wad); both belong to one owner."""
    deadline = w.now + 10 * 86_400
    return act(w, "Clearing", "trade", a, b, words(legs), premium, deadline, 0, b"", sender=owner_of(a))


def withdraw(w: OptionsWorld, account: int, usd: int) -> Any:
    owner = owner_of(account)
    return act(w, "Clearing", "withdraw", account, 0, usd * USD // WAD, owner, sender=owner)

"""Calls through the desk: the contract that holds the capital and makes only calls its owner has listed."""

from __future__ import annotations

from collections.abc import Callable

from keeper.errors import Broken
from keeper.model import Address, Call
from keeper.protocols.abi import load

# Argument words that must name the desk itself, as bit masks; see ``Desk.Rule``.
RULES = {
    ("Liquidator", "flag"): 0,
    ("Liquidator", "bid"): 1 << 1,
    ("Liquidator", "takeover"): 1 << 1,
    ("Clearing", "deposit"): 1 << 0,
    ("Clearing", "withdraw"): 1 << 0 | 1 << 3,
    ("SpotPool", "swap"): 1 << 3,
}


def through(desk: Address) -> Callable[[tuple[Call, ...], int], Call]:
    """Makes one call of several: all or none, not after the deadline."""
    contract = load("keeper.protocols.options")["Desk"]

    def wrap(calls: tuple[Call, ...], deadline: int) -> Call:
        listed = [(call.target, call.data) for call in calls]
        return Call(desk, contract.call("run", listed, [], deadline))

    return wrap


def directly(calls: tuple[Call, ...], deadline: int) -> Call:
    """The signer makes the call itself; only one is possible, and nothing enforces the deadline."""
    if len(calls) != 1:
        raise Broken("several calls in one transaction need a desk", help="set `desk` in the protocol's table")
    return calls[0]

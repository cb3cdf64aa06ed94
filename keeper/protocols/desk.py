"""Calls through the desk: the contract that holds the capital and makes only calls its owner has listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from keeper.errors import Broken
from keeper.model import Address, Call, Log, LogFilter
from keeper.protocols.abi import Contract, load

ADDRESS = 2**160 - 1  # the bits of an argument that name an owner: an address, or the account's low end

# Calls that a desk lists for the clearing house: contract, function -> arguments that must be the desk.
RULES: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("Liquidator", "flag"): (),
    ("Liquidator", "bid"): (1,),
    ("Liquidator", "takeover"): (1,),
    ("Clearing", "deposit"): (0,),
    ("Clearing", "withdraw"): (0, 3),
    ("SpotPool", "swap"): (3,),
}


def pins(words: Iterable[int], desk: Address) -> list[tuple[int, int, int]]:
    """``Desk.Pin`` values that hold these argument words to the desk."""
    return [(word, ADDRESS, int.from_bytes(desk)) for word in words]


def reason(revert: bytes) -> bytes:
    """The revert data of the call that failed: the desk wraps it."""
    found = _contract().error(revert)
    return bytes(found[1][1]) if found and found[0] == "CallFailed" else revert


def _contract() -> Contract:
    return load("keeper.protocols.options")["Desk"]


def appointments(desk: Address) -> LogFilter:
    """The events that say who may act for the desk; see ``operators``."""
    return LogFilter(desk, (_contract().events["Operator"].topic,))


def operators(appointments: Iterable[Log]) -> list[Address]:
    """Who may act for a desk, in the order of their appointment."""
    allowed = dict[str, bool]()
    for log in appointments:
        said = _contract().event("Operator", log)
        allowed.pop(said["who"], None)
        allowed[said["who"]] = said["allowed"]
    return [bytes.fromhex(who[2:]) for who, yes in allowed.items() if yes]


def through(desk: Address) -> Callable[[tuple[Call, ...], int], Call]:
    """Makes one call of several: all or none, not after the deadline."""
    contract = _contract()

    def wrap(calls: tuple[Call, ...], deadline: int) -> Call:
        listed = [(call.target, call.data) for call in calls]
        return Call(desk, contract.call("run", listed, [], deadline))

    return wrap


def directly(calls: tuple[Call, ...], deadline: int) -> Call:
    """The signer makes the call itself; only one is possible, and nothing enforces the deadline."""
    if len(calls) != 1:
        raise Broken("several calls in one transaction need a desk", help="set `desk` in the protocol's table")
    return calls[0]

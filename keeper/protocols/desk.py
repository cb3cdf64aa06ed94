"""Calls through the desk: the contract that holds the capital and makes only calls its owner has listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from keeper.errors import Broken
from keeper.model import Address, Call, Log, LogFilter
from keeper.protocols.abi import Contract, load

ADDRESS = 2**160 - 1  # the bits of an argument that name an owner: an address, or the account's low end

# Calls that a desk lists for the clearing house: contract, function -> arguments that must be the desk.
RULES: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("Liquidator", "flag"): (),
    ("Liquidator", "bid"): (1,),
    ("Liquidator", "takeover"): (1,),
    ("Liquidator", "improve"): (),
    ("Liquidator", "cure"): (),
    ("Liquidator", "restart"): (),
    ("Sealed", "commit"): (1,),
    ("Sealed", "reveal"): (1,),
    ("Sealed", "award"): (),
    ("Quotes", "cover"): (1,),
    ("Waterfall", "deleverage"): (),
    ("Waterfall", "closeOut"): (),
    ("Waterfall", "socialise"): (),
    ("Clearing", "settle"): (),
    ("Clearing", "deposit"): (0,),
    ("Clearing", "withdraw"): (0, 3),
    ("SpotPool", "swap"): (3,),
}

# Where a call says what it costs at worst, so that the contract enforces it: contract, function -> argument, kind.
# A "most" is a signed amount that may not be paid above, a "least" an amount that may not be received below.
BOUNDS: Mapping[tuple[str, str], tuple[int, str]] = {
    ("Liquidator", "bid"): (3, "most"),
    ("Liquidator", "takeover"): (2, "most"),
    ("SpotPool", "swap"): (2, "least"),
}
BOUNDLESS = 2**127  # no amount that anybody means is as large
APPROVE = bytes.fromhex("095ea7b3")


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


def owner(desk: Address) -> Call:
    """Who may do anything with a desk: an address, in the last 20 bytes of what it returns."""
    return Call(desk, _contract().call("owner"))


def through(desk: Address) -> Callable[[tuple[Call, ...], int], Call]:
    """Makes one call of several: all or none, not after the deadline."""
    contract = _contract()

    def wrap(calls: tuple[Call, ...], deadline: int) -> Call:
        listed = [(call.target, call.data) for call in calls]
        return Call(desk, contract.call("run", listed, [], deadline))

    return wrap


def terms(data: bytes) -> int:
    """What the chain will hold a ``run`` to: its deadline (timestamp).

    ValueError when it does nothing, when a call in it has no bound on what it costs, or when something would still be
    approved after it.
    """
    calls, deadline = _ran(data)
    if not calls:
        raise ValueError("it does nothing")
    approved = dict[tuple[bytes, bytes], int]()
    for target, call in calls:
        _bounded(call)
        if call[:4] == APPROVE:
            approved[target, call[4:36]] = int.from_bytes(call[36:68])
    if left := [target for (target, _), amount in approved.items() if amount]:
        raise ValueError(f"an approval of 0x{left[0].hex()} would be left standing")
    return deadline


def _ran(data: bytes) -> tuple[list[tuple[Address, bytes]], int]:
    """Target and call data of each call in a ``run``, and its deadline; by the offsets that Solidity would follow.

    The general decoder takes ten times as long, and this stands between a block and its transaction.
    """

    def word(at: int) -> int:
        if at + 32 > len(data):
            raise ValueError("it cannot be read: it ends too early")
        return int.from_bytes(data[at : at + 32])

    start, found = 4 + word(4), list[tuple[Address, bytes]]()
    first = start + 32
    for n in range(word(start)):
        call = first + word(first + 32 * n)
        at = call + word(call + 32)
        end = at + 32 + word(at)
        if end > len(data) or word(call) > ADDRESS:
            raise ValueError("it cannot be read: a call that is none")
        found.append((data[call + 12 : call + 32], data[at + 32 : end]))
    return found, word(68)


def _bounded(call: bytes) -> None:
    """ValueError unless the amount that bounds a call is one that somebody means."""
    word, kind = _bounds().get(call[:4], (0, ""))
    amount = int.from_bytes(call[4 + 32 * word : 36 + 32 * word], signed=kind == "most")
    if (kind == "most" and amount >= BOUNDLESS) or (kind == "least" and amount == 0):
        raise ValueError(f"call {call[:4].hex()} has no bound on what it costs")


@cache
def _bounds() -> Mapping[bytes, tuple[int, str]]:
    """By selector."""
    contracts = load("keeper.protocols.options")
    return {contracts[c].functions[f].selector: bound for (c, f), bound in BOUNDS.items()}


def directly(calls: tuple[Call, ...], deadline: int) -> Call:
    """The signer makes the call itself; only one is possible, and nothing enforces the deadline."""
    if len(calls) != 1:
        raise Broken("several calls in one transaction need a desk", help="set `desk` in the protocol's table")
    return calls[0]

"""Calls through the desk: the contract that holds the capital and makes only calls its owner has listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

from keeper.errors import Broken
from keeper.model import Address, Call, Floor, Log, LogFilter
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


class Wrap(Protocol):
    """Makes one call of several."""

    def __call__(self, calls: tuple[Call, ...], deadline: int, floors: tuple[Floor, ...] = ()) -> Call: ...


def through(desk: Address) -> Wrap:
    """Makes one call of several: all or none, not after the deadline, and only if every floor holds."""
    contract = _contract()

    def wrap(calls: tuple[Call, ...], deadline: int, floors: tuple[Floor, ...] = ()) -> Call:
        listed = [(call.target, call.data) for call in calls]
        held = [(floor.proof.target, floor.proof.data, floor.least) for floor in floors]
        return Call(desk, contract.call("run", listed, held, deadline))

    return wrap


class Held(NamedTuple):
    """What the chain will hold a ``run`` to."""

    deadline: int  # timestamp
    gain: int | None  # US dollars (wad) at least; None: it buys nothing


class Worth(Protocol):
    """What some calls of a protocol must bring, as far as the bytes hold the chain to it."""

    @property
    def buys(self) -> frozenset[bytes]:
        """Selectors."""
        ...

    def gain(self, calls: Sequence[tuple[Address, bytes]], floors: Sequence[Floor]) -> int:
        """US dollars (wad) that a ``run`` of these brings at least. ValueError when nothing holds it to any."""
        ...


@dataclass(frozen=True)
class Counted:
    """Implements ``Worth`` where the protocol itself says in US dollars (wad) what we have in it."""

    buys: frozenset[bytes]
    proof: Call

    def gain(self, calls: Sequence[tuple[Address, bytes]], floors: Sequence[Floor]) -> int:
        return least(floors, self.proof)


def least(floors: Sequence[Floor], proof: Call) -> int:
    """By which a number must rise: all floors hold, so the highest counts. ValueError when there is none."""
    found = [floor.least for floor in floors if floor.proof == proof]
    if not found:
        raise ValueError("it buys, and nothing says what that must bring")
    return max(found)


def terms(data: bytes, worths: Iterable[Worth] = ()) -> Held:
    """What the chain will hold a ``run`` to.

    ValueError when it does nothing, when a call in it has no bound on what it costs, when it buys and no floor says
    what that must bring, or when something would still be approved after it.
    """
    calls, floors, deadline = _ran(data)
    if not calls:
        raise ValueError("it does nothing")
    approved = dict[tuple[bytes, bytes], int]()
    for target, call in calls:
        _bounded(call)
        if call[:4] == APPROVE:
            approved[target, call[4:36]] = int.from_bytes(call[36:68])
    if left := [target for (target, _), amount in approved.items() if amount]:
        raise ValueError(f"an approval of 0x{left[0].hex()} would be left standing")
    bought = {call[:4] for _, call in calls}
    gains = [worth.gain(calls, floors) for worth in worths if worth.buys & bought]
    return Held(deadline, min(gains, default=None))


def _ran(data: bytes) -> tuple[list[tuple[Address, bytes]], list[Floor], int]:
    """Target and call data of each call in a ``run``, its floors and its deadline; by the offsets Solidity follows.

    The general decoder takes ten times as long, and this stands between a block and its transaction.
    """

    def word(at: int) -> int:
        if at + 32 > len(data):
            raise ValueError("it cannot be read: it ends too early")
        return int.from_bytes(data[at : at + 32])

    def listed(start: int) -> Iterator[tuple[int, Address, bytes]]:
        """Where each item of a list begins, the address in its first word, and the bytes that its second points to."""
        first = start + 32
        for n in range(word(start)):
            item = first + word(first + 32 * n)
            at = item + word(item + 32)
            end = at + 32 + word(at)
            if end > len(data) or word(item) > ADDRESS:
                raise ValueError("it cannot be read: a call that is none")
            yield item, data[item + 12 : item + 32], data[at + 32 : end]

    calls = [(target, call) for _, target, call in listed(4 + word(4))]
    floors = [Floor(Call(target, read), _signed(word(item + 64))) for item, target, read in listed(4 + word(36))]
    return calls, floors, word(68)


def _signed(word: int) -> int:
    return word - 2**256 if word >> 255 else word


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


def directly(calls: tuple[Call, ...], deadline: int, floors: tuple[Floor, ...] = ()) -> Call:
    """The signer makes the call itself; only one is possible, and nothing enforces the deadline or a floor."""
    if len(calls) != 1:
        raise Broken("several calls in one transaction need a desk", help="set `desk` in the protocol's table")
    return calls[0]

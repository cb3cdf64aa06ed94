"""What this key never signs. The last check, on the bytes that will be hashed, not on what they were made from.

    shape     type 2 of this chain, one recipient, no access list, every field in its one spelling
    calls     nothing to oneself (how a nonce is cancelled), or a listed target and selector; approvals never
    terms     what the contract will enforce: a deadline near enough, a bound on what is paid, the least gain
    costs     value and worst case, per transaction, hour and day: ``budget.py``

The first three raise Forbidden: they are bugs, or worse. Costs, and too small a gain, raise Refused: they are limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Final, Protocol

from keeper.errors import Broken
from keeper.model import Address
from keeper.tx import rlp
from keeper.tx.budget import Budget
from keeper.tx.fees import NOOP_GAS
from keeper.units import GWEI

Selector = bytes  # the first four bytes of call data; empty for a plain transfer


class Bound(Protocol):
    """What the contract will hold a call to."""

    @property
    def deadline(self) -> int:
        """Timestamp."""
        ...

    @property
    def gain(self) -> int | None:
        """US dollars (wad) that it brings at least, or it reverts; None: it is no purchase."""
        ...


Terms = Callable[[bytes], Bound]  # of call data; raises ValueError when it binds nobody
Allowed = Mapping[tuple[Address, Selector], Terms | None] | Set[tuple[Address, Selector]]

MOST_GAS: Final = 2**24  # of one transaction (EIP-7825)
MOST_PER_GAS: Final = 10**6 * GWEI  # a bid beyond this is a slip of the decimal point, whatever the settings say
APPROVALS: Final = {
    bytes.fromhex(selector): name
    for selector, name in {
        "095ea7b3": "approve(address,uint256)",
        "39509351": "increaseAllowance(address,uint256)",
        "a22cb465": "setApprovalForAll(address,bool)",
        "d505accf": "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
        "8fcbaf0c": "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)",
        "87517c45": "approve(address,address,uint160,uint48)",
        "2b67b570": "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)",
    }.items()
}


class Forbidden(Broken):
    """Asked to sign what this key never signs."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A type-2 transaction as its own bytes tell it. Wei and wei per gas."""

    chain_id: int
    nonce: int
    tip: int
    max_fee: int
    gas: int
    to: Address
    value: int
    data: bytes

    @property
    def worst(self) -> int:
        return self.gas * self.max_fee + self.value


def read(payload: bytes) -> Unsigned:
    """What is about to be hashed and signed. Forbidden unless it is a plain type-2 transaction."""
    if payload[:1] != b"\x02":
        raise Forbidden("asked to sign something that is not a type-2 transaction")
    try:
        chain, nonce, tip, max_fee, gas, to, value, data, access = rlp.items(payload[1:])
        n = rlp.integer
        found = Unsigned(n(chain), n(nonce), n(tip), n(max_fee), n(gas), to, n(value), data)
    except ValueError as error:
        raise Forbidden(f"asked to sign a transaction that is not in order: {error}") from None
    if len(to) != 20 or access:
        raise Forbidden("asked to sign a transaction without a 20-byte target, or with an access list")
    return found


class Guard:
    """The rules of one key. ``allowed`` None: every call, for local chains and tests."""

    def __init__(
        self, chain_id: int, address: Address, allowed: Allowed | None = None, budget: Budget | None = None
    ) -> None:
        self._chain_id, self._address, self._allowed = chain_id, address, allowed
        self._budget = budget

    def check(self, payload: bytes) -> None:
        """Raises Forbidden or Refused. What passes is counted: the budget knows of it from now on."""
        tx = read(payload)
        if tx.chain_id != self._chain_id:
            raise Forbidden(f"asked to sign for chain {tx.chain_id}; this key is for chain {self._chain_id}")
        noop = (tx.to, tx.value, tx.data) == (self._address, 0, b"")
        bound = None if noop else self._called(tx)
        if self._budget is not None:
            self._charge(tx, bound, noop)

    def _charge(self, tx: Unsigned, bound: Bound | None, noop: bool) -> None:
        assert self._budget is not None
        if tx.tip > tx.max_fee or not NOOP_GAS <= tx.gas <= MOST_GAS or tx.max_fee > MOST_PER_GAS:
            raise Forbidden(f"asked to sign for gas {tx.gas} at {tx.max_fee} wei, {tx.tip} of them tip")
        if not noop:
            self._budget.in_time(None if bound is None else bound.deadline)
            self._budget.worth_it(None if bound is None else bound.gain)
        self._budget.allow(self._address, tx.nonce, tx.worst, tx.value)

    def _called(self, tx: Unsigned) -> Bound | None:
        """What a listed call is held to, if it is one that has terms."""
        call = tx.to, tx.data[:4]
        if call[1] in APPROVALS:
            raise Forbidden(
                f"asked to sign an approval: {APPROVALS[call[1]]} at 0x{tx.to.hex()}",
                help="the hot key gives none; let the owner approve, for the desk",
            )
        if self._allowed is None:
            return None
        if call not in self._allowed:
            raise Forbidden(
                f"asked to sign a call that is not on the list: 0x{tx.to.hex()} 0x{call[1].hex()}",
                help="add the target and the selector to the allowed calls if this call is meant",
            )
        terms = self._allowed[call] if isinstance(self._allowed, Mapping) else None
        try:
            return None if terms is None else terms(tx.data)
        except ValueError as error:
            raise Forbidden(f"asked to sign a call that the contract would not hold to its terms: {error}") from None

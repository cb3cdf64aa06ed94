"""Ordinary life on Morpho Blue, some of which reverts as it does elsewhere, and each way in which we could fail.

Caller, owner and receiver are different accounts wherever an event names more than one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from keeper.errors import Reverted
from keeper.model import Address, Hash, Liquidate, Opportunity, Reason
from keeper.protocols.morpho_blue.records import Params
from keeper.units import WAD
from tests.conformance.morpho_harness import call_data

if TYPE_CHECKING:
    from tests.conformance.morpho_world import MorphoWorld

PARAMS: Final = "(address,address,address,address,uint256)"
LENDING: Final = "uint256,uint256,address,bytes"  # arguments of supply and repay, after the market
TAKING: Final = "uint256,uint256,address,address"  # and of withdraw and borrow


@dataclass(frozen=True)
class Venue:
    """A market, and what the world knows about it beyond the contract."""

    params: Params
    created: int  # timestamp
    unit: int  # smallest units of collateral worth some thousands

    @property
    def id(self) -> Hash:
        return keccak(encode([PARAMS], [self.params.words()]))

    def call(self, function: str, types: str = "", *arguments: object) -> bytes:
        """Call data of a function of Morpho's whose first argument is the market."""
        signature = f"{function}({PARAMS}{',' if types else ''}{types})"
        return call_data(signature, self.params.words(), *arguments)


@dataclass(frozen=True)
class Tx:
    sender: Address
    target: Address
    data: bytes


# ─── acts ─────────────────────────────────────────────────────────────────────────────────────────


def _lend(world: MorphoWorld, venue: Venue, dice: Random) -> Tx:
    who, amount = world.lender, dice.randint(1, world.worth(venue))
    supply = venue.call("supply", LENDING, amount, 0, who, b"")
    withdraw = venue.call("withdraw", TAKING, 0, amount * 10**6, who, who)
    return Tx(who, world.morpho, dice.choice((supply, withdraw)))


def _deposit(world: MorphoWorld, venue: Venue, dice: Random) -> Tx:
    who, amount = dice.choice(world.users), dice.randint(1, 3 * venue.unit)
    supply = Tx(world.lender, world.morpho, venue.call("supplyCollateral", "uint256,address,bytes", amount, who, b""))
    withdraw = venue.call("withdrawCollateral", "uint256,address,address", amount // 100 + 1, who, world.lender)
    return dice.choice((supply, supply, Tx(who, world.morpho, withdraw)))


def _borrow(world: MorphoWorld, venue: Venue, dice: Random) -> Tx:
    room = {who: limit - debt for who in world.users for limit, debt in [world.judged(venue, who)]}
    who = dice.choice([who for who in room if room[who] > 0] or world.users)
    amount = max(room[who], 1) * dice.randint(80, 100) // 100
    return Tx(who, world.morpho, venue.call("borrow", TAKING, amount, 0, who, world.lender))


def _repay(world: MorphoWorld, venue: Venue, dice: Random) -> Tx:
    who = dice.choice(world.users)
    shares = world.position(venue, who).shares * dice.choice((1, 50, 100)) // 100
    assets, shares = dice.choice(((dice.randint(1, 10**6), 0), (0, shares)))
    return Tx(world.lender, world.morpho, venue.call("repay", LENDING, assets, shares, who, b""))


def _move_price(world: MorphoWorld, venue: Venue, dice: Random) -> Tx:
    price = world.price(venue) * dice.choice((70, 90, 97, 104, 111, 130)) // 100 + dice.randint(0, 10**9)
    return Tx(world.owner, venue.params.oracle, call_data("setPrice(uint256)", price))


def _touch(world: MorphoWorld, venue: Venue, dice: Random) -> Tx:
    fee = venue.call("setFee", "uint256", dice.randint(0, WAD // 4))
    return Tx(world.owner, world.morpho, dice.choice((venue.call("accrueInterest"), fee)))


def _rival(world: MorphoWorld, venue: Venue, dice: Random) -> Tx:
    who = dice.choice(world.users)
    position = world.position(venue, who)
    seized, shares = dice.choice(((position.collateral, 0), (0, position.shares), (0, position.shares // 3)))
    liquidate = venue.call("liquidate", "address,uint256,uint256,bytes", who, seized, shares, b"")
    return Tx(world.rival, world.morpho, liquidate)


ACTS: Final[tuple[Callable[[MorphoWorld, Venue, Random], Tx], ...]] = (
    _lend,
    _deposit,
    _deposit,
    _borrow,
    _borrow,
    _borrow,
    _repay,
    _move_price,
    _move_price,
    _touch,
    _rival,
)


# ─── failures ─────────────────────────────────────────────────────────────────────────────────────

GONE: Final = "0x"
REVERTING: Final = "0x5f5ffd"
RETURNS: Final = "0x60{:02x}5f5260205ff3"  # one word, whatever is asked


def failures(world: MorphoWorld, venue: Venue, offer: Opportunity, healthy: Address) -> Iterator[tuple[bytes, Reason]]:
    """What the node says when one thing is wrong with carrying out ``offer``: an argument, or a contract's code."""
    params, shares = venue.params, world.position(venue, offer.plan.borrower).shares

    def wrong(code: Mapping[Address, str] | None = None, sender: Address = world.operator, **plan: Any) -> bytes:
        changed = replace(offer, plan=replace(offer.plan, **plan))
        return _revert_data(world, changed, sender, {"0x" + a.hex(): {"code": c} for a, c in (code or {}).items()})

    yield wrong(borrower=healthy), Reason.NOT_UNDERWATER
    yield wrong(seized=0, repaid_shares=0), Reason.DUST
    yield wrong(params=replace(params, lltv=1)), Reason.MARKET_RETIRED
    yield wrong({params.collateral: GONE}), Reason.TOKEN_DENIED
    yield wrong({params.collateral: REVERTING}), Reason.TOKEN_DENIED
    yield wrong({params.collateral: RETURNS.format(0)}), Reason.TOKEN_DENIED
    yield wrong(sender=world.owner), Reason.INVENTORY_SHORT
    yield wrong({params.loan: RETURNS.format(0)}), Reason.INVENTORY_SHORT
    yield wrong({params.oracle: RETURNS.format(1)}, repaid_shares=shares, seized=0), Reason.ORACLE_DEVIATION
    yield wrong({params.oracle: RETURNS.format(0)}, repaid_shares=shares, seized=0), Reason.PRICE_UNKNOWN
    yield wrong(repaid_shares=shares + 1, seized=0), Reason.REVERTED_STATE_CHANGED
    yield wrong({params.oracle: REVERTING}), Reason.REVERTED_OTHER


def _revert_data(world: MorphoWorld, offer: Opportunity, sender: Address, state: Mapping[str, Any]) -> bytes:
    _, liquidate, _ = world.adapter.calls(Liquidate(offer, floor=0))
    try:
        world.node.rpc("eth_call", {"from": sender, "to": liquidate.target, "data": liquidate.data}, "latest", state)
    except Reverted as error:
        return error.data
    raise AssertionError("it went through")

"""What the book remembers of Morpho Blue, and under which keys.

Only borrowers are followed: lenders cannot be liquidated, so their shares appear in the totals alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Address, Hash, Key
from keeper.protocols.morpho_blue.maths import Totals

MARKET = "market"
POSITION = "position"
PRICE = "price"
CASH = "cash"
LEAP = 8  # less than one decimal
KINDS = (MARKET, POSITION, PRICE, CASH)


@dataclass(frozen=True, slots=True)
class Params:
    """``MarketParams`` of IMorpho.sol: immutable, and hashed into the market's id."""

    loan: Address
    collateral: Address
    oracle: Address
    irm: Address
    lltv: int  # wad

    def words(self) -> tuple[Address, Address, Address, Address, int]:
        """As the ABI orders them."""
        return self.loan, self.collateral, self.oracle, self.irm, self.lltv


@dataclass(frozen=True, slots=True)
class Market:
    """``totals.last_update`` follows accruals only: a market without rate contract keeps that of its creation."""

    params: Params
    totals: Totals
    disputed: bool = False  # the chain once used another rate than the configured model gives


@dataclass(frozen=True, slots=True)
class Position:
    """The borrowing side of ``Position`` in IMorpho.sol."""

    shares: int = 0  # borrow shares
    collateral: int = 0  # collateral assets


@dataclass(frozen=True, slots=True)
class OraclePrice:
    """``IOracle.price()``: loan assets per collateral asset, scaled by 10**36.

    An oracle whose decimals changed says the same price with another number of zeros: one that is ``LEAP`` times or a
    part of what it was is not believed until it is back in reach of the last that was.
    """

    value: int
    sound: int = 0  # the last that is believed; 0: this one

    @property
    def believed(self) -> bool:
        return not self.sound

    def then(self, value: int) -> OraclePrice:
        """What the next reading makes of it."""
        last = self.sound or self.value
        return OraclePrice(value, 0 if last < value * LEAP < last * LEAP**2 else last)


@dataclass(frozen=True, slots=True)
class Cash:
    """What the desk holds of a token, of those that can be paid or seized."""

    assets: int


def market_key(market: Hash) -> Key:
    return Key(MARKET, int.from_bytes(market))


def position_key(market: Hash, borrower: Address) -> Key:
    return Key(POSITION, int.from_bytes(market + borrower))


def price_key(oracle: Address) -> Key:
    return Key(PRICE, int.from_bytes(oracle))


def cash_key(token: Address) -> Key:
    return Key(CASH, int.from_bytes(token))


def token_of(cash: Key) -> Address:
    return cash.id.to_bytes(20)


def market_of(position: Key) -> Key:
    return Key(MARKET, position.id >> 160)


def borrower_of(position: Key) -> Address:
    return (position.id & (2**160 - 1)).to_bytes(20)

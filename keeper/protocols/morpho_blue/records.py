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


# ─── behind the oracles ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Answer:
    """``latestRoundData`` of a feed."""

    value: int  # in the feed's decimals
    updated: int  # timestamp
    phase: int  # upper part of its round: another one, another aggregator


@dataclass(frozen=True, slots=True)
class Aggregator:
    """Where the answers of a feed come from."""

    address: Address
    phase: int


@dataclass(frozen=True, slots=True)
class Transmitters:
    """Who may bring answers to an aggregator: operators, or their forwarders."""

    who: tuple[Address, ...]
    asked: int  # timestamp


@dataclass(frozen=True, slots=True)
class Slot:
    """The price of a pool of Uniswap v3."""

    root: int  # square root of smallest units of token 1 per one of token 0, times 2**96


# ─── keys ─────────────────────────────────────────────────────────────────────────────────────────


def part_key(oracle: Address, i: int) -> Key:
    """A whole number that an oracle is made of, see ``feeds.PARTS``."""
    return Key("part", int.from_bytes(oracle) << 8 | i)


def answer_key(feed: Address) -> Key:
    return Key("answer", int.from_bytes(feed))


def aggregator_key(feed: Address) -> Key:
    return Key("aggregator", int.from_bytes(feed))


def transmitters_key(aggregator: Address) -> Key:
    return Key("transmitters", int.from_bytes(aggregator))


def slot_key(pool: Address) -> Key:
    return Key("slot", int.from_bytes(pool))


def vault_key(vault: Address, sample: int) -> Key:
    """Assets, a whole number, that so many shares are worth."""
    return Key("vault", sample << 160 | int.from_bytes(vault))


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

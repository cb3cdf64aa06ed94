"""What an operator decides about Morpho Blue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from keeper.model import Address, Hash
from keeper.protocols.morpho_blue.maths import Irm
from keeper.protocols.publishing import Rule
from keeper.units import WAD, Bps, Money, Seconds, Share, div_up, mul_down

NOBODY: Final[Address] = bytes(20)
NO_IRM: Final = NOBODY
PAIR: Final = 2  # tokens of a pool
MARKET_ID: Final = "0x[0-9a-fA-F]{64}"


@dataclass(frozen=True, slots=True)
class Token:
    """A loan token the operator deals in, at a fixed value: this form of the adapter asks no second oracle."""

    usd: Money  # wad per whole token
    decimals: int
    symbol: str = ""  # for people; a token without one is called by its address

    def value(self, assets: int) -> int:
        """US dollars (wad), rounded towards minus infinity."""
        return mul_down(assets, self.usd, 10**self.decimals)

    def assets(self, usd: int) -> int:
        """The fewest smallest units whose ``value`` is at least ``usd`` (wad)."""
        return div_up(usd, self.usd, 10**self.decimals)


@dataclass(frozen=True)
class Feed:
    """A price feed that oracles read. Its next answer is known when it is seen pending; and, with a rule and a pool
    of the same pair, about known when the rule makes it due.

    ValueError when these do not fit together.
    """

    deviation: Share = 0  # wad, of the last answer; its operators publish it, as they do the heartbeat
    heartbeat: Seconds = 0
    pool: Address = NOBODY  # of Uniswap v3
    pair: tuple[int, ...] = ()  # decimals of the pool's two tokens
    decimals: int = 8  # of the feed
    inverse: bool = False  # the feed has the price of the pool's second token in the first

    def __post_init__(self) -> None:
        if self.pool != NOBODY and not (len(self.pair) == PAIR and self.deviation > 0 and self.heartbeat > 0):
            raise ValueError("a pool needs pair, the decimals of its two tokens, and deviation and heartbeat above 0")

    @property
    def rule(self) -> Rule | None:
        return None if self.pool == NOBODY else Rule(self.deviation, self.heartbeat)

    def answer(self, root: int) -> int:
        """What the feed would say at a pool's root price (``records.Slot``), rounded down; 0 where there is none."""
        over, under = root**2, 2**192
        first, second = self.pair
        if self.inverse:
            over, under, first, second = under, over, second, first
        return over * 10 ** (first + self.decimals) // (under * 10**second) if under else 0


@dataclass(frozen=True)
class Settings:
    """Anyone can open a market, with a worthless collateral and an oracle that calls it dear, and then sink in it:
    only ``markets`` that somebody has looked at are followed.

    ``haircut`` stands in for the market in which seized collateral is sold back for the loan token.
    ValueError when these do not fit together.
    """

    morpho: Address
    desk: Address  # executes the calls: pays the loan token, receives the collateral
    markets: tuple[str, ...]  # ids, "0x" and 64 digits; all others are ignored
    tokens: Mapping[Address, Token]  # markets that lend another token are refused
    irms: Mapping[Address, Irm]  # markets with another rate contract are refused; none at all is always understood
    coin_usd: Money  # wad per whole coin of the chain, for gas
    haircut: Bps = 50  # bps of the oracle's value that selling seized collateral costs
    window: Seconds = 120  # seconds past the stated block for which the interest is reckoned with
    since: int = 0  # block in which Morpho was deployed
    feeds: Mapping[Address, Feed] = field(default_factory=dict)  # whose answers are foreseen
    sigmas: Mapping[str, Share] = field(default_factory=dict)  # by market: of the collateral's price in the loan
    #   token, wad a year; where there is none, no time to a liquidation is told

    def __post_init__(self) -> None:
        if wrong := [market for market in (*self.markets, *self.sigmas) if not re.fullmatch(MARKET_ID, market)]:
            raise ValueError(f"markets: {wrong[0]!r} is not the id of one: 0x and 64 hexadecimal digits")
        if strange := [market for market in self.sigmas if not self.lists(bytes.fromhex(market[2:]))]:
            raise ValueError(f"sigmas: {strange[0]} is not among the markets")
        if still := [market for market, sigma in self.sigmas.items() if not sigma > 0]:
            raise ValueError(f"sigmas: {still[0]} must be above 0, a year")
        symbols = [token.symbol for token in self.tokens.values() if token.symbol]
        if len(symbols) > len(set(symbols)):
            raise ValueError(f"tokens: two have the same symbol, of {', '.join(symbols)}")

    @cached_property
    def _ids(self) -> frozenset[Hash]:
        return frozenset(bytes.fromhex(market[2:]) for market in self.markets)

    def lists(self, market: Hash) -> bool:
        return market in self._ids

    def sigma(self, market: int) -> float | None:
        """A year; None where the operator has not said."""
        return self._sigmas.get(market)

    @cached_property
    def _sigmas(self) -> Mapping[int, float]:
        return {int(market, 16): sigma / WAD for market, sigma in self.sigmas.items()}

    def irm(self, contract: Address) -> Irm | None:
        """The rate model behind a contract; None when it is not known."""
        return Irm.ZERO if contract == NO_IRM else self.irms.get(contract)

    def name(self, token: Address) -> str:
        known = self.tokens.get(token)
        return known.symbol if known and known.symbol else f"0x{token.hex()}"

"""What the adapter must be told: where the contracts are, who we are, and what things are worth to us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from keeper.model import Address
from keeper.protocols.publishing import Rule
from keeper.units import Account, Coin, Money, Seconds, Share, wad

NONE: Final = bytes(20)  # this deployment has no such contract


@dataclass(frozen=True)
class Contracts:
    """One deployment. ``tokens`` by asset id (0 is cash), ``pools`` by underlying."""

    clearing: Address
    liquidator: Address
    oracle: Address
    params: Address
    tokens: tuple[Address, ...]
    pools: tuple[Address, ...]
    since: int = 0  # block of the deployment
    waterfall: Address = NONE
    sealed: Address = NONE
    quotes: Address = NONE

    @property
    def _others(self) -> tuple[tuple[Address, str], ...]:
        return ((self.waterfall, "Waterfall"), (self.sealed, "Sealed"), (self.quotes, "Quotes"))

    @cached_property
    def names(self) -> Mapping[Address, str]:
        """Which contract an address is, for those whose events make up the book."""
        return {
            self.clearing: "Clearing",
            self.liquidator: "Liquidator",
            self.oracle: "Oracle",
            self.params: "Params",
            **{address: name for address, name in self._others if address != NONE},
        }


@dataclass(frozen=True)
class SmileRule:
    """The same for the smiles of an underlying, of which the vol at the money decides.

    ``response``: what that gains at 30 days per unit of log return lost, at other expiries times sqrt(30 d / left);
    0: it is not known, and stays as it is.
    """

    deviation: Share  # wad, points of volatility
    heartbeat: Seconds
    response: Share = 0


@dataclass(frozen=True)
class Settings:
    """Who we are, and what a portfolio costs us to hold and to leave.

    Quoted half spreads of real chains: 1 vol point in calm, 2 to 6 in a crash (at the money to the wings).
    """

    contracts: Contracts
    account: Account  # own account in the clearing house
    desk: Address  # holds the capital and owns the account
    coin: int = 0  # underlying whose price is the chain's coin
    tip: Coin = 10**9  # wei per gas that a usual transaction pays on top of the base fee
    reserve: Money = 0  # usd of own initial margin that bids leave untouched
    floor: Money = 0  # usd of E - Q_im below which the own account is topped up
    band: Money = wad(50_000)  # usd of own net delta that is tolerated
    least_hedge: Money = wad(2_000)  # usd of the smallest swap
    inventory: tuple[int, ...] = ()  # native units of each underlying that the desk holds when it is flat
    half_spread: Share = wad("0.02")  # wad, vol points of vega
    least_spread: Share = wad("0.0003")  # wad of spot per contract
    capital: Share = wad("0.0002")  # wad of own initial margin, for the time it is held
    reverts: Share = wad("0.35")  # wad, part of its gas that a transaction burns when it reverts
    pool_weight: Share = 0  # wad, of the pools in the price that the oracle reports
    impact: Seconds = 120  # for which own trades count as still in that price
    publisher: Address = NONE  # whose signature counts at the oracle, unless replaced since; none: it is not checked
    rules: tuple[Rule, ...] = ()  # by underlying, how its publisher works; what comes next is read from the pool
    smiles: tuple[SmileRule, ...] = ()  # by underlying, the same for its smiles
    crowd: Share = wad("0.05")  # wad, of the delta of all others under water, that is in the pool before our hedge
    tolerance: Share = wad("0.02")  # wad, how much worse than planned a swap may be before all reverts

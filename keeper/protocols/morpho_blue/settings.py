"""What an operator decides about Morpho Blue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keeper.model import Address
from keeper.protocols.morpho_blue.maths import Irm
from keeper.units import mul_down

NO_IRM: Address = bytes(20)


@dataclass(frozen=True, slots=True)
class Token:
    """A loan token the operator deals in, at a fixed value: this form of the adapter asks no second oracle."""

    usd: int  # wad per whole token
    decimals: int

    def value(self, assets: int) -> int:
        """US dollars (wad), rounded towards minus infinity."""
        return mul_down(assets, self.usd, 10**self.decimals)


@dataclass(frozen=True, slots=True)
class Settings:
    """``haircut`` stands in for the market in which seized collateral is sold back for the loan token."""

    morpho: Address
    operator: Address  # executes the calls: pays the loan token, receives the collateral
    tokens: Mapping[Address, Token]  # markets that lend another token are refused
    irms: Mapping[Address, Irm]  # markets with another rate contract are refused; none at all is always understood
    coin_usd: int  # wad per whole coin of the chain, for gas
    haircut: int = 50  # bps of the oracle's value that selling seized collateral costs
    window: int = 120  # seconds past the stated block for which the allowance still suffices
    since: int = 0  # block in which Morpho was deployed

    def irm(self, contract: Address) -> Irm | None:
        """The rate model behind a contract; None when it is not known."""
        return Irm.ZERO if contract == NO_IRM else self.irms.get(contract)

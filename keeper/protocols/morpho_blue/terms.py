"""What a liquidation is held to on chain, and how much of a gain can be read from its bytes alone.

Nothing here knows the price at which it will be carried out. Morpho does, and gives collateral worth the incentive more
than is repaid, at that price; so whoever is held to repaying at least so much is held to a gain, in loan tokens:

    gain >= worth(repaid) - repaid        worth: the incentive times what is repaid, less what Morpho rounds away

Repaid is by how much Morpho's own balance of the loan token rises. What a dollar is, the settings say; what the
collateral is worth by any other price than the market's oracle, nobody does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from eth_hash.auto import keccak

from keeper.errors import AdapterFault
from keeper.model import Address, Call, Floor
from keeper.protocols import words
from keeper.protocols.desk import least
from keeper.protocols.morpho_blue.maths import incentive_factor
from keeper.protocols.morpho_blue.settings import Settings
from keeper.units import WAD

BALANCE_OF: Final = bytes.fromhex("70a08231")  # balanceOf(address)
APPROVE: Final = bytes.fromhex("095ea7b3")  # approve(address,uint256)
LIQUIDATE: Final = bytes.fromhex("d8eabcb8")  # liquidate(MarketParams,address,uint256,uint256,bytes)

# Loan assets by which what is repaid exceeds what is paid for: assets and shares are rounded up, and a share is less
# than an asset until interest has made a millionfold of a debt.
ROUNDED: Final = 2
FIELDS: Final = 5  # words of MarketParams


def balance(token: Address, holder: Address) -> Call:
    return Call(token, BALANCE_OF + words.pack(holder))


def worth(repaid: int, lltv: int, arriving: Fraction) -> Fraction:
    """Loan assets at least, of the collateral that arrives; ``arriving``: the share of what was seized that does."""
    return (Fraction((repaid - ROUNDED) * incentive_factor(lltv), WAD) - 1) * arriving


def least_repaid(gain: int, lltv: int, arriving: Fraction) -> int | None:
    """Loan assets from which on ``worth`` exceeds them by ``gain``; None where no amount does."""
    rate = Fraction(incentive_factor(lltv), WAD) * arriving
    return None if rate <= 1 else max(0, -((-gain - ROUNDED * rate - arriving) // (rate - 1)))


def arrives(units: int, seized: int) -> Fraction:
    """Of what is seized, when so many units must arrive: by shares (``seized`` 0) all but a part of the last unit."""
    return Fraction(units, seized or units + 1)


class Said(NamedTuple):
    """The arguments of a ``liquidate`` that say what is gained."""

    market: bytes  # its id
    loan: Address
    collateral: Address
    lltv: int  # wad
    seized: int  # collateral assets; 0: shares are named


def read(call: bytes) -> Said:
    """AdapterFault when it ends too early."""
    data = call[4:]
    market, (loan, collateral) = keccak(data[: FIELDS * words.WORD]), (words.address(data, i) for i in (0, 1))
    return Said(market, loan, collateral, lltv=words.uint(data, 4), seized=words.uint(data, 6))


@dataclass(frozen=True)
class Incentive:
    """Implements ``desk.Worth`` for liquidations."""

    settings: Settings
    buys = frozenset({LIQUIDATE})

    def gain(self, calls: Sequence[tuple[Address, bytes]], floors: Sequence[Floor]) -> int:
        """US dollars (wad). ValueError when the bytes hold it to none, or something else is done beside it."""
        bought = [call for target, call in calls if call[:4] == LIQUIDATE and target == self.settings.morpho]
        approved = [(target, call) for target, call in calls if call[:4] == APPROVE]
        if len(bought) != 1 or len(calls) != len(approved) + 1:
            raise ValueError("it does more than one liquidation")
        try:
            said = read(bought[0])
            most = max(words.uint(call[4:], 1) for target, call in approved if target == said.loan)
        except (AdapterFault, ValueError):
            raise ValueError("it liquidates, and what that may cost cannot be read") from None
        if not self.settings.lists(said.market) or said.loan not in self.settings.tokens:
            raise ValueError("it liquidates in a market that is not in the settings")
        return self.settings.tokens[said.loan].value(self._least(said, most, floors))

    def _least(self, said: Said, most: int, floors: Sequence[Floor]) -> int:
        """Loan assets, for all that may be repaid between the floor and the allowance."""
        repaid = least(floors, balance(said.loan, self.settings.morpho))
        units = least(floors, balance(said.collateral, self.settings.desk))
        share = arrives(max(0, units), said.seized)
        return int(min(worth(r, said.lltv, share) - r for r in (repaid, most)) // 1)

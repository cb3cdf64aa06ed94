"""Morpho Blue's arithmetic in exact integers.

Each function names the Solidity it mirrors (package ``@morpho-org/morpho-blue`` 1.0.0). *Assets* are the
smallest units of a token, *shares* are virtual-share units, rates and ratios are wad, prices carry
``ORACLE_PRICE_SCALE``: loan assets = collateral assets x price / 10**36. Python does not overflow; where
Solidity would revert on 256 bits, no answer of the contract exists to be mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from keeper.units import WAD, YEAR, div_down, div_up, mul_down, mul_up

# ConstantsLib and SharesMathLib
ORACLE_PRICE_SCALE: Final = 10**36
LIQUIDATION_CURSOR: Final = 3 * WAD // 10
MAX_LIQUIDATION_INCENTIVE_FACTOR: Final = 115 * WAD // 100
VIRTUAL_SHARES: Final = 10**6
VIRTUAL_ASSETS: Final = 1


@dataclass(frozen=True, slots=True)
class Totals:
    """``Market`` of IMorpho.sol: as of ``last_update``, without the interest accrued since."""

    supply_assets: int = 0
    supply_shares: int = 0
    borrow_assets: int = 0
    borrow_shares: int = 0
    last_update: int = 0  # timestamp
    fee: int = 0  # wad share of the interest


# ─── MathLib ──────────────────────────────────────────────────────────────────────────────────────


def taylor_compounded(rate: int, seconds: int) -> int:
    """``wTaylorCompounded(x, n)``: e**(rate x seconds) - 1 to the third term, wad, each term rounded down."""
    first = rate * seconds
    second = mul_down(first, first, 2 * WAD)
    third = mul_down(second, first, 3 * WAD)
    return first + second + third


# ─── SharesMathLib ────────────────────────────────────────────────────────────────────────────────


def to_shares_down(assets: int, total_assets: int, total_shares: int) -> int:
    """``toSharesDown``."""
    return mul_down(assets, total_shares + VIRTUAL_SHARES, total_assets + VIRTUAL_ASSETS)


def to_assets_down(shares: int, total_assets: int, total_shares: int) -> int:
    """``toAssetsDown``."""
    return mul_down(shares, total_assets + VIRTUAL_ASSETS, total_shares + VIRTUAL_SHARES)


def to_shares_up(assets: int, total_assets: int, total_shares: int) -> int:
    """``toSharesUp``."""
    return mul_up(assets, total_shares + VIRTUAL_SHARES, total_assets + VIRTUAL_ASSETS)


def to_assets_up(shares: int, total_assets: int, total_shares: int) -> int:
    """``toAssetsUp``."""
    return mul_up(shares, total_assets + VIRTUAL_ASSETS, total_shares + VIRTUAL_SHARES)


# ─── interest ─────────────────────────────────────────────────────────────────────────────────────


class Irm(StrEnum):
    """A model of the borrow rate. Each market names a contract for it; these are the ones mirrored.

    AdaptiveCurveIrm, which most deployed markets use, has a memory of its own and is not among them.
    """

    ZERO = "zero"  # no contract: the market bears no interest
    UTILISATION = "utilisation"  # IrmMock: x % of the supply borrowed costs x % a year


def _utilisation_rate(totals: Totals) -> int:
    """``IrmMock.borrowRateView``: wad per second, both divisions rounded down."""
    if not totals.supply_assets:
        return 0
    return div_down(totals.borrow_assets, totals.supply_assets) // YEAR


RATES: Final[Mapping[Irm, Callable[[Totals], int]]] = {
    Irm.ZERO: lambda _: 0,
    Irm.UTILISATION: _utilisation_rate,
}


def accrue(totals: Totals, irm: Irm, timestamp: int) -> Totals:
    """``Morpho._accrueInterest`` at ``timestamp``; nothing changes when no time has passed."""
    elapsed = timestamp - totals.last_update
    if elapsed <= 0:
        return totals
    interest = mul_down(totals.borrow_assets, taylor_compounded(RATES[irm](totals), elapsed))
    supply = totals.supply_assets + interest
    fee = mul_down(interest, totals.fee)
    return replace(
        totals,
        supply_assets=supply,
        supply_shares=totals.supply_shares + to_shares_down(fee, supply - fee, totals.supply_shares),
        borrow_assets=totals.borrow_assets + interest,
        last_update=timestamp,
    )


# ─── health ───────────────────────────────────────────────────────────────────────────────────────


def borrowed(shares: int, totals: Totals) -> int:
    """The debt side of ``Morpho._isHealthy``: loan assets, rounded up. Accrue ``totals`` first."""
    return to_assets_up(shares, totals.borrow_assets, totals.borrow_shares)


def max_borrow(collateral: int, price: int, lltv: int) -> int:
    """The other side of ``Morpho._isHealthy``: loan assets, rounded down twice."""
    return mul_down(mul_down(collateral, price, ORACLE_PRICE_SCALE), lltv)


# ─── liquidation ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Liquidation:
    """What changes hands."""

    repaid: int  # loan assets, from the liquidator
    repaid_shares: int  # borrow shares burned
    seized: int  # collateral assets, to the liquidator


def incentive_factor(lltv: int) -> int:
    """``liquidationIncentiveFactor`` in ``Morpho.liquidate``: min(1.15, 1 / (1 - 0.3 (1 - lltv))), wad."""
    return min(
        MAX_LIQUIDATION_INCENTIVE_FACTOR,
        div_down(WAD, WAD - mul_down(LIQUIDATION_CURSOR, WAD - lltv)),
    )


def by_seizing(seized: int, totals: Totals, price: int, lltv: int) -> Liquidation:
    """``Morpho.liquidate`` with ``seizedAssets`` given: what it costs, every step rounded up."""
    quoted = mul_up(seized, price, ORACLE_PRICE_SCALE)
    shares = to_shares_up(div_up(quoted, incentive_factor(lltv)), totals.borrow_assets, totals.borrow_shares)
    return Liquidation(borrowed(shares, totals), shares, seized)


def by_repaying(shares: int, totals: Totals, price: int, lltv: int) -> Liquidation:
    """``Morpho.liquidate`` with ``repaidShares`` given: what it yields, every step rounded down.

    ZeroDivisionError when ``price`` is 0, where the contract panics.
    """
    assets = to_assets_down(shares, totals.borrow_assets, totals.borrow_shares)
    seized = mul_down(mul_down(assets, incentive_factor(lltv)), ORACLE_PRICE_SCALE, price)
    return Liquidation(borrowed(shares, totals), shares, seized)


def bad_debt(shares: int, collateral: int, totals: Totals, done: Liquidation) -> int:
    """``badDebtAssets`` in ``Morpho.liquidate``: what the lenders lose once no collateral is left, loan assets.

    ``shares`` and ``collateral`` are the position's, and ``totals`` the market's, before ``done``.
    """
    if done.seized < collateral:
        return 0
    assets = max(totals.borrow_assets - done.repaid, 0)
    return min(assets, to_assets_up(shares - done.repaid_shares, assets, totals.borrow_shares - done.repaid_shares))

"""Trading delta away in the pool: what a swap brings, and what it loses against the price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keeper.protocols.options.records import Asset, Pool
from keeper.units import BPS, WAD, mul_down

FEE: Final = 30  # bps, ``SpotPool.FEE``
CROWD: Final = 4  # at most 1/CROWD of a reserve is believed to be traded before us


@dataclass(frozen=True, slots=True)
class Swap:
    """One call of ``SpotPool.swap``. Native units."""

    underlying: int
    sell: bool  # base for quote
    amount_in: int
    least: int  # smallest acceptable output
    cost: int  # usd lost against the price it was planned at
    delta: int  # units of the underlying (wad) this adds to the book


def amount_out(pool: Pool, sell: bool, amount_in: int) -> int:
    """``SpotPool.amountOut``: y ga z / (x + ga z), rounded down."""
    x, y = (pool.base, pool.quote) if sell else (pool.quote, pool.base)
    z = amount_in * (BPS - FEE)
    return y * z // (x * BPS + z)


def amount_in(pool: Pool, sell: bool, out: int) -> int | None:
    """Least input that brings at least ``out``; None when the pool does not hold that much."""
    x, y = (pool.base, pool.quote) if sell else (pool.quote, pool.base)
    if out >= y:
        return None
    return -(-x * BPS * out // ((y - out) * (BPS - FEE)))


def crowded(pool: Pool, swap: Swap, ahead: int, price: int, base: Asset, cash: Asset, tolerance: int) -> int:
    """Usd (wad) that a swap brings less when ``ahead`` base units (native) were traded the same way before it.

    Constant product, as ``margin/cascade.py`` follows forced flow with all the weight on this pool; of the reserve no
    more than ``CROWD`` is believed to go. Never below 0, and never above ``tolerance`` of the swap: beyond that it
    reverts, and all with it.
    """
    gone = min(max(0, ahead), pool.base // CROWD)
    if swap.sell:
        after = Pool(pool.base + gone, pool.base * pool.quote // (pool.base + gone))
        units = swap.amount_in
        lost = (amount_out(pool, True, units) - amount_out(after, True, units)) * (WAD // cash.unit)
    else:
        after = Pool(pool.base - gone, -(-pool.base * pool.quote // (pool.base - gone)))
        units = amount_out(pool, False, swap.amount_in)
        lost = mul_down((units - amount_out(after, False, swap.amount_in)) * WAD // base.unit, price)
    return min(max(0, lost), mul_down(mul_down(units * WAD // base.unit, price), tolerance))


def plan_swap(
    pool: Pool, delta: int, price: int, underlying: int, base: Asset, cash: Asset, held: int, money: int, tolerance: int
) -> Swap | None:
    """The swap that takes ``delta`` (wad units of the underlying) off the book: sell when positive, buy when negative.

    ``held`` and ``money`` are what there is of base and cash, native units; when they do not suffice, the delta is
    reduced in part. ``tolerance`` (wad): how much less than planned may come out. None when nothing can be done.
    """
    amount = abs(delta) * base.unit // WAD
    sell = delta > 0
    if sell:
        spent = amount = min(amount, held)
        out = amount_out(pool, True, spent)
    else:
        spent = amount_in(pool, False, amount) or money + 1
        if spent > money:
            spent, amount = money, amount_out(pool, False, money)
        out = amount
    if not spent or not out:
        return None
    units = amount * WAD // base.unit
    paid = (out if sell else spent) * (WAD // cash.unit)
    cost = mul_down(units, price) - paid
    return Swap(
        underlying, sell, spent, mul_down(out, WAD - tolerance), cost if sell else -cost, -units if sell else units
    )

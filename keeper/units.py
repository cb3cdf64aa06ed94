"""Units and the arithmetic that keeps them apart.

Money and prices are exact integers. Scales: *wad* 10**18 (prices, sizes, ratios, US dollars), *ray* 10**27,
*bps* 10**4, *wei* of the chain's coin, seconds. A name says the scale, a function name says the rounding:
``_down`` is towards minus infinity, ``_up`` towards plus infinity, ``_trunc`` towards zero (what
Solidity's signed division does). Floats appear only in screening columns and in ``margin/``.
"""

from decimal import Decimal
from typing import Annotated, Final

# How operators write a number in a configuration: a field of such a type is read in human units (settings/bind.py).
Money = Annotated[int, "money"]  # US dollars, wad: "$25"
Coin = Annotated[int, "coin"]  # wei: "1 gwei"
Share = Annotated[int, "share"]  # wad: "2 %"
Bps = Annotated[int, "bps"]  # "50 bps"
Duration = Annotated[int, "duration"]  # milliseconds: "250ms"
Seconds = Annotated[int, "seconds"]  # "12s"
Account = Annotated[int, "account"]  # owner | number << 160: "0x5290…9EE7/3"

WAD: Final = 10**18
RAY: Final = 10**27
BPS: Final = 10**4
YEAR: Final = 31_536_000  # seconds; 365 days, as the contracts count them
GWEI: Final = 10**9


def mul_down(a: int, b: int, scale: int = WAD) -> int:
    """``floor(a * b / scale)``."""
    return a * b // scale


def mul_up(a: int, b: int, scale: int = WAD) -> int:
    """``ceil(a * b / scale)``."""
    return -(-a * b // scale)


def div_down(a: int, b: int, scale: int = WAD) -> int:
    """``floor(a * scale / b)``; ZeroDivisionError when ``b`` is 0."""
    return a * scale // b


def div_up(a: int, b: int, scale: int = WAD) -> int:
    """``ceil(a * scale / b)``; ZeroDivisionError when ``b`` is 0."""
    return -(-a * scale // b)


def div_trunc(a: int, b: int) -> int:
    """``a / b`` rounded towards zero: Solidity's signed ``/``."""
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def clamp(x: int, low: int, high: int) -> int:
    """``x`` limited to ``[low, high]``."""
    return low if x < low else high if x > high else x


def wad(x: float | int | str) -> int:
    """A readable literal in wad: ``wad("0.25") == 25 * 10**16``. Exact for strings and ints."""
    if isinstance(x, int):
        return x * WAD
    return int(Decimal(str(x)).scaleb(18).to_integral_value())

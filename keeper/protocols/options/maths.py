"""Fixed point, bit for bit as on chain.

``exp_wad``, ``ln_wad`` and ``sqrt`` are those of solady 0.1.26 (Remco Bloemen's rational approximations),
``value`` is that of ``lib/Black76.sol``. Python's ``>>`` on negative integers floors, as SAR does;
where Solidity divides signed numbers it truncates, which is ``div_trunc`` here.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt as sqrt
from typing import Final

from keeper.protocols.options.normal import ONE, SCALE, cdf
from keeper.units import WAD, div_trunc

__all__ = ["density", "exp_wad", "growth", "ln_wad", "sqrt", "value"]

MIN_W: Final = 10**9
PACE: Final = 165_838_847_552_801  # ln(1.01) / 60, wad per second, as in ``lib/Pace.sol``
_LN2_96: Final = 54916777467707473351141471128


def exp_wad(x: int) -> int:
    """``exp(x)``, wad; 0 below -41.4465; OverflowError at 135.306 and above."""
    if x <= -41446531673892822313:
        return 0
    if x >= 135305999368893231589:
        raise OverflowError("exp_wad")
    x = div_trunc(x << 78, 5**18)
    k = (div_trunc(x << 96, _LN2_96) + 2**95) >> 96
    x -= k * _LN2_96
    y = x + 1346386616545796478920950773328
    y = ((y * x) >> 96) + 57155421227552351082224309758442
    p = y + x - 94201549194550492254356042504812
    p = ((p * y) >> 96) + 28719021644029726153956944680412240
    p = p * x + (4385272521454847904659076985693276 << 96)
    q = x - 2855989394907223263936484059900
    q = ((q * x) >> 96) + 50020603652535783019961831881945
    q = ((q * x) >> 96) - 533845033583426703283633433725380
    q = ((q * x) >> 96) + 3604857256930695427073651918091429
    q = ((q * x) >> 96) - 14423608567350463180887372962807573
    q = ((q * x) >> 96) + 26449188498355588339934803723976023
    return (div_trunc(p, q) * 3822833074963236453042738258902158003155416615667) >> (195 - k)


@lru_cache(maxsize=1 << 12)
def growth(dt: int) -> int:
    """``Pace.growth``: 1 % a minute, compounding; wad."""
    return exp_wad(dt * PACE)


def ln_wad(x: int) -> int:
    """``ln(x)``, wad; ValueError unless ``x`` > 0."""
    if x <= 0:
        raise ValueError("ln_wad of a number that is not positive")
    r = 256 - x.bit_length()  # leading zeros
    x = ((x << r) & (2**256 - 1)) >> 159
    p = (((x + 3273285459638523848632254066296) * x) >> 96) + 24828157081833163892658089445524
    p = ((p * x) >> 96) + 43456485725739037958740375743393
    p = ((p * x) >> 96) - 11111509109440967052023855526967
    p = ((p * x) >> 96) - 45023709667254063763336534515857
    p = ((p * x) >> 96) - 14706773417378608786704636184526
    p = p * x - (795164235651350426258249787498 << 96)
    q = x + 5573035233440673466300451813936
    q = ((x * q) >> 96) + 71694874799317883764090561454958
    q = ((x * q) >> 96) + 283447036172924575727196451306956
    q = ((x * q) >> 96) + 401686690394027663651624208769553
    q = ((x * q) >> 96) + 204048457590392012362485061816622
    q = ((x * q) >> 96) + 31853899698501571402653359427138
    q = ((x * q) >> 96) + 909429971244387300277376558375
    p = div_trunc(p, q)
    p = p * 1677202110996718588342820967067443963516166
    p += 16597577552685614221487285958193947469193820559219878177908093499208371 * (159 - r)
    p += 600920179829731861736702779321621459595472258049074101567377883020018308
    return p >> 174


def density(ln_fk: int, w: int) -> int:
    """``Black76.density``: phi(d1), wad; ``w`` above 0."""
    d = div_trunc(ln_fk * WAD, w) + (w >> 1)
    return exp_wad(div_trunc(-(d * d), 2 * WAD)) * 398_942_280_401_432_678 // WAD


@lru_cache(maxsize=1 << 16)
def value(is_call: bool, f: int, k: int, ln_fk: int, w: int) -> tuple[int, int]:
    """Undiscounted Black (1976) value, wad, and ``N(d1)`` times 2^54, from forward, strike, ``ln(f/k)`` and
    ``sigma sqrt(t)``, all wad."""
    if w < MIN_W:
        if f > k:
            return (f - k if is_call else 0), ONE
        return (0 if is_call else k - f), 0
    d = div_trunc(ln_fk * WAD, w) + (w >> 1)
    n1 = cdf(d)
    call = (f * n1 - k * cdf(d - w)) >> SCALE
    return max(0, call if is_call else call + k - f), n1

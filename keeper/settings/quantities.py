"""Quantities as people write them in configuration, and the exact integers behind them.

    DURATION   "12s" "250ms" "1.5h"       milliseconds
    COIN       "2 ETH" "80 gwei" "1 wei"  wei
    MONEY      "$25" "$0.50"              US dollars, wad
    SHARE      "50 bps" "0.5 %"           wad
    BPS        "50 bps" "0.5 %"           bps

Nothing is rounded: a text that is not a whole number of the smallest unit is refused, and so are signs and
bare numbers, because a number without its unit is how a limit ends up a thousand times too high.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from keeper.units import GWEI, WAD

_WRITTEN = re.compile(r"(?P<sign>\$?)\s*(?P<whole>\d[\d_]*)(?:\.(?P<part>\d+))?\s*(?P<unit>[A-Za-z%]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Quantity:
    what: str
    example: str
    scales: Mapping[str, int]  # unit -> how many of the smallest unit
    form: str  # how number and unit stand together

    def parse(self, written: object) -> int:
        """Exact, in the smallest unit. ValueError says what was expected; it does not repeat the text."""
        if not isinstance(written, str):
            raise ValueError(f'needs a quoted {self.what} with its unit, like "{self.example}"')
        match = _WRITTEN.fullmatch(written.strip())
        if match is None:
            raise ValueError(f'is not a {self.what}; write it like "{self.example}"')
        scale = self._scale((match["sign"] + match["unit"]).casefold())
        part = match["part"] or ""
        decimals: int = 10 ** len(part)
        value, rest = divmod(int(match["whole"] + part) * scale, decimals)
        if rest:
            smallest = next((unit for unit, one in self.scales.items() if one == 1), "10**-18")
            raise ValueError(f"is finer than its smallest unit, {smallest}")
        return value

    def _scale(self, unit: str) -> int:
        for name, scale in self.scales.items():
            if name.casefold() == unit:
                return scale
        problem = f"has an unknown unit {unit!r}" if unit else "has no unit"
        raise ValueError(f'{problem}; a {self.what} is written with {", ".join(self.scales)}, like "{self.example}"')

    def show(self, value: int) -> str:
        """The shortest text that parses to ``value``."""
        return min((self._written(value, *unit) for unit in self.scales.items() if _fits(value, unit[1])), key=len)

    def _written(self, value: int, unit: str, scale: int) -> str:
        whole, rest = divmod(value, scale)
        part = f".{rest:0{len(str(scale)) - 1}d}".rstrip("0") if rest else ""
        return self.form.format(number=f"{whole}{part}", unit=unit)


def _fits(value: int, scale: int) -> bool:
    """Whether the value has finitely many decimals in this unit, judged simply: whole, or a power of ten."""
    return value % scale == 0 or str(scale).strip("0") == "1"


DURATION = Quantity(
    "duration", "12s", {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}, "{number}{unit}"
)
COIN = Quantity("coin amount", "0.5 ETH", {"wei": 1, "gwei": GWEI, "ETH": WAD}, "{number} {unit}")
MONEY = Quantity("dollar amount", "$25", {"$": WAD}, "{unit}{number}")
SHARE = Quantity("share", "50 bps", {"bps": WAD // 10_000, "%": WAD // 100}, "{number} {unit}")
BPS = Quantity("share", "50 bps", {"bps": 1, "%": 100}, "{number} {unit}")

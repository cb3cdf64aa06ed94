"""One market of Morpho Blue on a shelf: what the unit tests of the adapter look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keeper.model import BlockRef, Key, Moment
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.maths import Irm, Totals
from keeper.protocols.morpho_blue.records import Cash, Market, OraclePrice, Params, cash_key, market_key, price_key
from keeper.protocols.morpho_blue.settings import Settings, Token
from keeper.units import WAD

MORPHO, DESK, LOAN, COLLATERAL, ORACLE, IRM = (bytes([i]) * 20 for i in range(1, 7))
MARKET = b"\x07" * 32
NOW = 1_700_000_000
REF = BlockRef(1, bytes(32), bytes(32), NOW, base_fee=10**9, gas_used=0, gas_limit=30_000_000)
AT = Moment(2, NOW + 12, base_fee=10**9)

DOLLAR = Token(WAD, 6, "USDC")
SETTINGS = Settings(
    MORPHO,
    DESK,
    markets=(f"0x{MARKET.hex()}",),
    tokens={LOAN: DOLLAR},
    irms={IRM: Irm.UTILISATION},
    coin_usd=3000 * WAD,
)
ADAPTER = MorphoBlue(SETTINGS)


class Shelf:
    """A view that holds what it is given."""

    ref = REF

    def __init__(self, records: dict[Key, Any]) -> None:
        self.records = records

    def get(self, key: Key) -> Any:
        return self.records.get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(sorted(key for key in self.records if key.kind == kind))


def shelf(market: Market, price: int = 10**36, cash: int = 0) -> Shelf:
    records = {market_key(MARKET): market, price_key(ORACLE): OraclePrice(price), cash_key(LOAN): Cash(cash)}
    return Shelf(records)


def a_market(totals: Totals, lltv: int = 86 * WAD // 100, irm: bytes = IRM) -> Market:
    return Market(Params(LOAN, COLLATERAL, ORACLE, irm, lltv), totals)

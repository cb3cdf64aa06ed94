"""A market as it will be when a transaction executes, or why that cannot be known."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Key, Moment, Reason
from keeper.ports import View
from keeper.protocols.morpho_blue import maths
from keeper.protocols.morpho_blue.maths import Totals
from keeper.protocols.morpho_blue.records import Market, OraclePrice, Params, price_key
from keeper.protocols.morpho_blue.settings import Settings


@dataclass(frozen=True, slots=True)
class Valued:
    """A market with the interest of ``at`` in it, at the last oracle price known."""

    params: Params
    totals: Totals
    price: int  # scaled by 10**36


def unserved(settings: Settings, market: Market) -> Reason | None:
    """Why this market is left alone whatever its price: a token not listed, or a rate model unknown or refuted."""
    if market.params.loan not in settings.tokens:
        return Reason.TOKEN_DENIED
    return Reason.PRICE_UNKNOWN if market.disputed or settings.irm(market.params.irm) is None else None


def value(settings: Settings, view: View, key: Key, at: Moment) -> Valued | Reason:
    """The market at ``at``, or the reason why no number can be given for it."""
    market: Market = view.get(key)
    price: OraclePrice | None = view.get(price_key(market.params.oracle))
    irm = settings.irm(market.params.irm)
    if reason := unserved(settings, market):
        return reason
    if price is None or irm is None:
        return Reason.PRICE_UNKNOWN
    return Valued(market.params, maths.accrue(market.totals, irm, at.timestamp), price.value)

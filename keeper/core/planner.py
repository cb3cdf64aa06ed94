"""Decisions into transaction intents, within what all of them share: own capital, slots in flight, block gas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from keeper.core.scanner import UPKEEP
from keeper.model import Action, Call, Decision, Moment, Opportunity, Reason, Skip, TxIntent, Wait
from keeper.ports import Adapter, View

TX_GAS: Final = 2**24  # most gas of one transaction (EIP-7825)
OVERHEAD: Final = 60_000  # units for the call through the desk


@dataclass(frozen=True, slots=True)
class Limits:
    max_inflight: int = 16
    max_fee: int = 10**18  # wei; the most that the gas of one transaction may cost
    min_profit: int = 0  # usd, net, of anything but upkeep
    block_gas: int = 25_000_000  # units that our transactions may take of one block
    tip: int = 10**9  # wei per gas, assumed when a budget is set
    fee_share: int = 2  # at most 1/fee_share of the expected profit is paid for gas beyond what is expected
    horizon: int = 60  # seconds after which an intent is stale


def choose(
    decisions: Sequence[Decision],
    adapter: Adapter,
    view: View,
    at: Moment,
    inflight: Sequence[Opportunity],
    limits: Limits,
) -> list[Decision]:
    """The same decisions in the same order; actions that do not fit beside the earlier ones become skips.

    ``inflight`` is what is on its way already, of all protocols: it takes slots, gas and capital like the rest.
    """
    chosen, out = list(inflight), list[Decision]()
    for d in decisions:
        if not isinstance(d, Wait | Skip):
            why = _too_much(d.opportunity, chosen, limits) or _too_dear(d.opportunity, chosen, adapter, view, at)
            if why is None:
                chosen.append(d.opportunity)
            else:
                d = Skip(d.opportunity, why)
        out.append(d)
    return out


def _too_much(o: Opportunity, chosen: Sequence[Opportunity], limits: Limits) -> Reason | None:
    if any((c.protocol, c.key) == (o.protocol, o.key) for c in chosen):
        return Reason.INFLIGHT_DUPLICATE  # one action on an account at a time
    if o.kind not in UPKEEP and o.net < limits.min_profit:
        return Reason.BELOW_MIN_PROFIT
    gas = _gas_limit(o)
    if gas > TX_GAS or gas * (o.at.base_fee + limits.tip) > limits.max_fee:
        return Reason.GAS_ABOVE_CAP
    if len(chosen) >= limits.max_inflight or gas + sum(map(_gas_limit, chosen)) > limits.block_gas:
        return Reason.SET_NOT_CHOSEN
    return None


def _too_dear(o: Opportunity, chosen: Sequence[Opportunity], adapter: Adapter, view: View, at: Moment) -> Reason | None:
    """Nothing may leave less than nothing of own capital, unless it leaves no less than there was before."""
    mine = [c for c in chosen if c.protocol == o.protocol]
    left = adapter.afford(view, [*mine, o], at)
    if left < 0 and left < adapter.afford(view, mine, at):
        return Reason.CAPITAL_RESERVED
    return None


def intent(action: Action, call: Call, at: Moment, limits: Limits, name: Callable[[Opportunity], str]) -> TxIntent:
    """An action as the transaction manager takes it."""
    o = action.opportunity
    gas_limit = _gas_limit(o)
    return TxIntent(
        id=o.id + at.number.to_bytes(8),
        call=call,
        gas_limit=gas_limit,
        budget=min(limits.max_fee, gas_limit * _highest_fee(o, at, limits)),
        valid_until=min(o.expires, at.timestamp + limits.horizon),
        purpose=name(o),
        at=at,
        subject=f"{o.protocol} {o.key.kind} 0x{o.key.id:x}",
        urgent=o.kind not in UPKEEP,
    )


def _gas_limit(o: Opportunity) -> int:
    """Half again what it is expected to take; what is not used costs nothing."""
    return o.needs.gas * 3 // 2 + OVERHEAD


def _highest_fee(o: Opportunity, at: Moment, limits: Limits) -> int:
    """Wei per gas: twice the base fee, and for a profitable action as much as a share of the profit allows."""
    usual = 2 * at.base_fee + limits.tip
    if o.kind in UPKEEP or o.costs.gas <= 0:
        return 2 * usual
    spare = max(0, o.net) // limits.fee_share
    return max(usual, (at.base_fee + limits.tip) * (o.costs.gas + spare) // o.costs.gas)

"""Sizing and valuing a liquidation, before and after, and refusing a market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from keeper.errors import AdapterFault
from keeper.model import Address, Costs, Fact, Key, Kind, Moment, Needs, Opportunity, Realised, Reason
from keeper.ports import View
from keeper.protocols.morpho_blue import maths, terms
from keeper.protocols.morpho_blue.events import LIQUIDATED
from keeper.protocols.morpho_blue.maths import Liquidation
from keeper.protocols.morpho_blue.records import (
    Cash,
    OraclePrice,
    Params,
    Position,
    borrower_of,
    cash_key,
    market_of,
    price_key,
)
from keeper.protocols.morpho_blue.settings import Settings
from keeper.protocols.morpho_blue.valuation import Valued, value
from keeper.units import BPS, mul_down, mul_up

NAME: Final = "morpho_blue"
GAS: Final = 300_000  # units for the three calls, with plain tokens and a rate contract


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments of ``Morpho.liquidate``, of which exactly one of ``seized`` and ``repaid_shares`` is not zero."""

    params: Params
    borrower: Address
    seized: int  # collateral assets
    repaid_shares: int
    worth: int  # loan assets; what would be seized, at the oracle price it was decided at
    allowance: int  # loan assets; the most it costs at that price until the opportunity expires


@dataclass(frozen=True, slots=True)
class Size:
    """How much to liquidate, and which of the two amounts to name in the call."""

    done: Liquidation  # at the stated moment
    late: Liquidation  # when the opportunity expires
    by_shares: bool

    @property
    def allowance(self) -> int:
        return max(self.done.repaid, self.late.repaid)


def must_value(settings: Settings, view: View, market: Key, at: Moment) -> Valued:
    """AdapterFault when the market cannot be valued."""
    valued = value(settings, view, market, at)
    if isinstance(valued, Reason):
        raise AdapterFault(f"market 0x{market.id:064x} cannot be valued: {valued}")
    return valued


def cash_at_hand(view: View, token: Address) -> int:
    """The desk's balance in smallest units; 0 when it is not known."""
    cash: Cash | None = view.get(cash_key(token))
    return cash.assets if cash else 0


def size(position: Position, now: Valued, late: Valued, cash: int) -> Size:
    """The most that debt, collateral and cash allow.

    The whole debt, unless that is worth more than the collateral; then all collateral, which leaves the rest to
    the lenders as bad debt; in either case no more than ``cash`` can repay, even if included late.
    """
    whole = _by_repaying(position.shares, now, late) if now.price else None
    best = whole if whole and whole.done.seized <= position.collateral else _by_seizing(position.collateral, now, late)
    if best.allowance <= cash:
        return best
    return _by_repaying(maths.to_shares_down(cash, late.totals.borrow_assets, late.totals.borrow_shares), now, late)


def _by_repaying(shares: int, now: Valued, late: Valued) -> Size:
    done, later = (maths.by_repaying(shares, m.totals, m.price, m.params.lltv) for m in (now, late))
    return Size(done, later, by_shares=True)


def _by_seizing(seized: int, now: Valued, late: Valued) -> Size:
    done, later = (maths.by_seizing(seized, m.totals, m.price, m.params.lltv) for m in (now, late))
    return Size(done, later, by_shares=False)


def liquidation(settings: Settings, view: View, key: Key, at: Moment) -> Opportunity:
    """What liquidating an unhealthy position gives; ``at.base_fee`` prices the gas."""
    expires = at.timestamp + settings.window
    position: Position = view.get(key)
    now = must_value(settings, view, market_of(key), at)
    late = must_value(settings, view, market_of(key), Moment(at.number, expires, at.base_fee))
    cash = cash_at_hand(view, now.params.loan)
    chosen = size(position, now, late, cash)
    done, token = chosen.done, settings.tokens[now.params.loan]
    worth = _worth(done.seized, now.price)
    return Opportunity(
        id=_id(key, position.shares, position.collateral),
        protocol=NAME,
        key=key,
        kind=Kind.LIQUIDATE,
        at=at,
        gain=token.value(worth - done.repaid),
        costs=Costs(
            gas=mul_up(GAS * at.base_fee, settings.coin_usd),
            slippage=mul_up(token.value(worth), settings.haircut, BPS),
        ),
        needs=Needs(
            cash=token.value(chosen.allowance),
            gas=GAS,
            tokens=tuple(chosen.allowance if t == now.params.loan else 0 for t in settings.tokens),
        ),
        plan=_plan(key, now.params, chosen, worth),
        expires=expires,
        refusal=_doubtful(view, now.params) or _refusal(done, cash),
        evidence=_evidence(position, now, done),
    )


def _worth(seized: int, price: int) -> int:
    """Loan assets, rounded down."""
    return mul_down(seized, price, maths.ORACLE_PRICE_SCALE)


def _plan(key: Key, params: Params, chosen: Size, worth: int) -> Plan:
    done, by_shares = chosen.done, chosen.by_shares
    seized, shares = (0, done.repaid_shares) if by_shares else (done.seized, 0)
    return Plan(params, borrower_of(key), seized, shares, worth, chosen.allowance)


def _doubtful(view: View, params: Params) -> Reason | None:
    price: OraclePrice | None = view.get(price_key(params.oracle))
    return None if price is None or price.believed else Reason.ORACLE_DEVIATION


def _refusal(done: Liquidation, cash: int) -> Reason | None:
    if done.seized:
        return None
    return Reason.DUST if cash > done.repaid else Reason.INVENTORY_SHORT


def _evidence(position: Position, now: Valued, done: Liquidation) -> dict[str, int]:
    """In smallest units of the two tokens."""
    return {
        "price": now.price,
        "debt": maths.borrowed(position.shares, now.totals),
        "collateral": position.collateral,
        "repaid": done.repaid,
        "seized": done.seized,
        "bad_debt": maths.bad_debt(position.shares, position.collateral, now.totals, done),
    }


def limit(settings: Settings, plan: Plan, floor: int) -> int:
    """The most that may be paid, loan assets: what leaves ``floor`` (US dollars, wad) of the plan's worth.

    When shares are repaid, the price has no say in what they cost, and the least that covers it is enough.
    """
    most = plan.worth - settings.tokens[plan.params.loan].assets(floor)
    return max(0, min(most, plan.allowance) if plan.repaid_shares else most)


def least(settings: Settings, opportunity: Opportunity, floor: int) -> int:
    """Collateral units: all that is seized, where it is named; else, rounded up, what is repaid and ``floor``
    (US dollars, wad), at the price it was decided at."""
    said, token = opportunity.evidence, settings.tokens[opportunity.plan.params.loan]
    wanted = mul_up(said["repaid"] + token.assets(floor), maths.ORACLE_PRICE_SCALE, said["price"])
    return opportunity.plan.seized or min(wanted, said["seized"])


def least_repaid(settings: Settings, opportunity: Opportunity, floor: int) -> int:
    """Loan assets that leave ``floor`` (US dollars, wad) at whatever price; no more than would be repaid now."""
    plan, most = opportunity.plan, opportunity.evidence["repaid"]
    share = terms.arrives(least(settings, opportunity, floor), plan.seized)
    wanted = terms.least_repaid(settings.tokens[plan.params.loan].assets(floor), plan.params.lltv, share)
    return most if wanted is None else min(wanted, most)


def realised(settings: Settings, opportunity: Opportunity, facts: Sequence[Fact]) -> Realised:
    """What was seized, at the oracle price it was decided at, less what was repaid. Nothing is hedged."""
    token, price = settings.tokens[opportunity.plan.params.loan], opportunity.evidence["price"]
    own = [f.amounts for f in facts if (f.name, f.key, f.who) == (LIQUIDATED, opportunity.key, settings.desk)]
    return Realised(gain=sum(token.value(_worth(a["seized"], price) - a["repaid"]) for a in own))


def refused(market: Key, at: Moment, why: Reason) -> Opportunity:
    """Nothing is known of this market's positions, and nothing will be done."""
    return Opportunity(_id(market), NAME, market, Kind.LIQUIDATE, at, 0, Costs(), Needs(), plan=None, refusal=why)


def _id(key: Key, *state: int) -> bytes:
    """24 bytes, the same while the record stays as it is, however its market moves."""
    return blake2b(f"{NAME} {key.kind} {key.id} {state}".encode(), digest_size=24).digest()

"""Morpho Blue behind the adapter seam: isolated lending markets whose positions are liquidated at once.

A market's stored totals lack the interest since its last accrual; every number here is taken at the moment at which
a transaction will execute. Money of account of a ``HealthReport`` is the market's loan token in its smallest units:
equity is what the collateral lets the borrower owe, requirement what is owed. The desk pays with loan tokens at hand
and keeps the seized collateral; what selling it costs is an estimate (``Settings.haircut``).

Oracles are read with every block; what the next answer of a listed feed makes of them is foreseen (``ahead.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keeper.model import (
    Address,
    BlockRef,
    Call,
    Capital,
    Decision,
    Delta,
    Fact,
    Floor,
    HealthReport,
    Holding,
    Interests,
    Key,
    Liquidate,
    Log,
    LogFilter,
    Moment,
    Opportunity,
    Pending,
    Read,
    Realised,
    Reason,
)
from keeper.ports import Columns, View
from keeper.protocols import words
from keeper.protocols.desk import Worth, reason
from keeper.protocols.morpho_blue import ahead, events, feeds, maths, offers
from keeper.protocols.morpho_blue.offers import Plan
from keeper.protocols.morpho_blue.records import (
    CASH,
    MARKET,
    Cash,
    OraclePrice,
    Position,
    cash_key,
    market_of,
    price_key,
    token_of,
)
from keeper.protocols.morpho_blue.screen import Screen
from keeper.protocols.morpho_blue.settings import Settings
from keeper.protocols.morpho_blue.terms import APPROVE, BALANCE_OF, LIQUIDATE, Incentive, balance
from keeper.protocols.morpho_blue.valuation import unserved, value

PRICE: Final = bytes.fromhex("a035b1fe")  # price()

REVERTS: Final[Mapping[bytes, Reason]] = {
    words.error("position is healthy"): Reason.NOT_UNDERWATER,
    words.error("inconsistent input"): Reason.DUST,
    words.error("market not created"): Reason.MARKET_RETIRED,
    words.error("no code"): Reason.TOKEN_DENIED,
    words.error("transfer reverted"): Reason.TOKEN_DENIED,
    words.error("transfer returned false"): Reason.TOKEN_DENIED,
    words.error("transferFrom reverted"): Reason.INVENTORY_SHORT,
    words.error("transferFrom returned false"): Reason.INVENTORY_SHORT,
    words.error("max uint128 exceeded"): Reason.ORACLE_DEVIATION,  # only an absurd price moves so much
    words.panic(0x11): Reason.REVERTED_STATE_CHANGED,  # the position holds less than the plan takes
    words.panic(0x12): Reason.PRICE_UNKNOWN,  # the price is zero
}


@dataclass(frozen=True)
class MorphoBlue:
    """Implements ``ports.Adapter``."""

    settings: Settings
    name = offers.NAME

    @property
    def desk(self) -> Address:
        return self.settings.desk

    # ── what happens on chain ──

    def interests(self, view: View) -> Interests:
        """The logs of the one contract, the prices of the markets served, and what we have of the tokens in them.

        Collateral is followed in markets no longer served as well: what was seized does not go away.
        """
        markets = [view.get(key) for key in view.keys(MARKET)]
        oracles = tuple(dict.fromkeys(m.params.oracle for m in markets if unserved(self.settings, m) is None))
        prices = [self._read("price", oracle, PRICE) for oracle in oracles]
        tokens = dict.fromkeys((*self.settings.tokens, *(m.params.collateral for m in markets)))
        cash = [self._read("cash", token, self._balance_of) for token in tokens]
        behind = [self._read(what, of, data) for what, of, data in feeds.reads(self.settings, view, oracles)]
        coming = tuple(dict.fromkeys(feeds.pending(self.settings, view)))
        reads = (*prices, *cash, *behind)
        return Interests((LogFilter(self.settings.morpho),), reads, self.settings.since, coming)

    @property
    def _balance_of(self) -> bytes:
        return BALANCE_OF + words.pack(self.settings.desk)

    def _read(self, what: str, of: Address, data: bytes) -> Read:
        more = f".{data.hex()}" if what in ("part", "transmitters", "vault") else ""
        return Read(f"{self.name}.{what}.0x{of.hex()}{more}", of, data)

    def absorb(self, view: View, source: Log | tuple[Read, bytes], ref: BlockRef) -> Iterable[Delta | Fact]:
        """An empty answer means that the call reverted: what was known is forgotten, lest it pass for new."""
        if isinstance(source, Log):
            return events.absorb(self.settings, view, source, ref)
        read, answer = source
        if behind := feeds.absorb(view, read, answer, ref):
            return events.change(view, *behind)
        number = words.uint(answer, 0) if answer else None
        if read.data == PRICE:
            return events.change(view, price_key(read.target), self._priced(view, read.target, number))
        return events.change(view, cash_key(read.target), None if number is None else Cash(number))

    def _priced(self, view: View, oracle: Address, number: int | None) -> OraclePrice | None:
        before: OraclePrice | None = view.get(price_key(oracle))
        if number is None:
            return None
        return OraclePrice(number) if before is None else before.then(number)

    # ── accounts ──

    def columns(self) -> Columns:
        return Screen(self.settings)

    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        """Both sides of ``Morpho._isHealthy`` at ``at``. AdapterFault when the market cannot be valued."""
        market = offers.must_value(self.settings, view, market_of(key), at)
        position: Position = view.get(key) or Position()
        return HealthReport(
            key,
            at,
            equity=maths.max_borrow(position.collateral, market.price, market.params.lltv),
            requirement=maths.borrowed(position.shares, market.totals),
        )

    # ── what could be done ──

    def opportunities(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        """A liquidation for each unhealthy position, and a refusal for each market with debt but without a value."""
        yield from self.against(view, suspects, at)
        for market in view.keys(MARKET):
            valued = value(self.settings, view, market, at)
            if isinstance(valued, Reason) and view.get(market).totals.borrow_shares:
                yield offers.refused(market, at, valued)

    def foresee(self, view: View, pending: Pending, at: Moment) -> View | None:
        """An answer on its way to a feed that oracles read."""
        return ahead.after(self.settings, view, pending, at)

    def expected(self, view: View, at: Moment) -> Iterable[Pending]:
        """Answers that the rules of listed feeds make due, as their pools have them now."""
        return ahead.due_by(self.settings, view, at)

    def against(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        return [offers.liquidation(self.settings, view, r.key, at) for r in suspects if not r.healthy]

    def afford(self, view: View, chosen: Sequence[Opportunity], at: Moment) -> int:
        """US dollars (wad) of loan tokens left; when any token is short, minus the worth of what is missing.

        At the prices known: where collateral is named, one that rises before inclusion takes more (``offers.limit``).
        """
        left = {token: offers.cash_at_hand(view, token) for token in self.settings.tokens}
        for plan in (opportunity.plan for opportunity in chosen if opportunity.refusal is None):
            left[plan.params.loan] -= plan.allowance
        values = [self.settings.tokens[token].value(assets) for token, assets in left.items()]
        return sum(v for v in values if v < 0) or sum(values)

    def capital(self, view: View, at: Moment) -> Capital:
        """Loan tokens only, in the order of the settings: nothing is held on margin."""
        tokens = tuple(self.settings.tokens)
        return Capital(tuple(offers.cash_at_hand(view, token) for token in tokens), places=tokens)

    # ── doing it ──

    def calls(self, decision: Decision) -> tuple[Call, ...]:
        """From the desk: allow what it may cost, liquidate, take the rest of the allowance back.

        The allowance is what enforces ``floor``, at the oracle price it was decided at. Where the plan names the
        collateral, that is exact: so much is seized, and no more is paid than leaves the floor. Where it names
        shares, what is seized follows from the oracle's price at execution, by which it is always worth the incentive
        more than was paid, but may be fewer units: ``floors`` bounds those. Nothing enforces what the collateral is
        worth by any other price, then or later.
        """
        plan = decision.opportunity.plan
        if not isinstance(decision, Liquidate) or not isinstance(plan, Plan):
            return ()
        limit = offers.limit(self.settings, plan, decision.floor)
        return (self._approve(plan, limit), self._liquidate(plan), self._approve(plan, 0))

    @property
    def worths(self) -> tuple[Worth, ...]:
        return (Incentive(self.settings),)

    def floors(self, decision: Decision) -> tuple[Floor, ...]:
        """So much collateral arrives that the decision's floor is left at the price it was decided at; and so much is
        repaid that it is left at whatever price it is carried out at, by Morpho's own incentive.

        What a token keeps for itself on the way, or a price that moved, makes it less, and nothing is done.
        """
        plan = decision.opportunity.plan
        if not isinstance(decision, Liquidate) or not isinstance(plan, Plan):
            return ()
        asked = (self.settings, decision.opportunity, decision.floor)
        arrived = Floor(Call(plan.params.collateral, self._balance_of), offers.least(*asked))
        return arrived, Floor(balance(plan.params.loan, self.settings.morpho), offers.least_repaid(*asked))

    def _approve(self, plan: Plan, assets: int) -> Call:
        return Call(plan.params.loan, APPROVE + words.pack(self.settings.morpho, assets))

    def _liquidate(self, plan: Plan) -> Call:
        empty = (9 * words.WORD, 0)  # no callback: the offset of the empty bytes, and their length
        arguments = (*plan.params.words(), plan.borrower, plan.seized, plan.repaid_shares, *empty)
        return Call(self.settings.morpho, LIQUIDATE + words.pack(*arguments))

    def explain(self, revert: bytes) -> Reason:
        """As Morpho said it, or as the desk passed it on."""
        return REVERTS.get(reason(revert), Reason.REVERTED_OTHER)

    # ── our own side ──

    def holdings(self, view: View) -> Mapping[str, Holding]:
        """Loan tokens and collateral of the desk, in smallest units, by symbol or address; the unknown are left out."""
        tokens = {key: token_of(key) for key in view.keys(CASH)}
        return {
            self.settings.name(token): Holding(view.get(key).assets, Call(token, self._balance_of))
            for key, token in tokens.items()
        }

    def describe(self, view: View, key: Key, at: Moment) -> Sequence[tuple[str, str]]:
        position, report = view.get(key), self.health(view, key, at)
        health = f"{report.equity / report.requirement:.4f}" if report.requirement else "no debt"
        return [
            ("market", f"0x{market_of(key).id:064x}"),
            ("collateral", f"{position.collateral} smallest units"),
            ("debt", f"{report.requirement} smallest units of the loan token, accrued"),
            ("may owe", f"{report.equity} smallest units"),
            ("health", health),
        ]

    def realised(self, opportunity: Opportunity, facts: Sequence[Fact]) -> Realised:
        return offers.realised(self.settings, opportunity, facts)

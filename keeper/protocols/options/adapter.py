"""The options clearing house behind ``ports.Adapter``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Final

from keeper.model import (
    Address,
    Bid,
    BlockRef,
    Call,
    Capital,
    Decision,
    Delta,
    Fact,
    Floor,
    Hash,
    HealthReport,
    Hedge,
    Holding,
    Interests,
    Key,
    Kind,
    Liquidate,
    Log,
    LogFilter,
    Moment,
    Opportunity,
    Pending,
    Read,
    Reading,
    Realised,
    Reason,
    Skip,
    Told,
    Wait,
)
from keeper.ports import View
from keeper.protocols.desk import Counted, Worth, reason
from keeper.protocols.options import book, coming, duties, offers, packed, quotes, sealed, stages
from keeper.protocols.options.authentic import signer
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.changes import Handler
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.describe import describe
from keeper.protocols.options.desk import Desk
from keeper.protocols.options.offers import Plan
from keeper.protocols.options.records import State
from keeper.protocols.options.risk import Health, Market, Portfolio, Price, cash_of, market, portfolio
from keeper.protocols.options.settings import NONE, Settings
from keeper.protocols.options.slices import cut, merge
from keeper.protocols.options.whatif import published
from keeper.units import WAD, div_up, mul_up

# What each revert means to us; custom errors by name.
REVERTS: Final = {
    "Already": Reason.INFLIGHT_DUPLICATE,
    "AlreadyFlagged": Reason.LOST_RACE,
    "BadReveal": Reason.REVERTED_OTHER,
    "BelowFloor": Reason.SIM_PROFIT_CHANGED,
    "ChangedMeanwhile": Reason.OUTBID,
    "Healthy": Reason.NOT_UNDERWATER,
    "Late": Reason.EXPIRED,
    "Level": Reason.MARKET_PAUSED,
    "NotFlagged": Reason.OUTBID,
    "NotClosed": Reason.REVERTED_STATE_CHANGED,
    "NotOpposite": Reason.REVERTED_STATE_CHANGED,
    "NotSorted": Reason.REVERTED_STATE_CHANGED,
    "NotWorse": Reason.LOST_RACE,
    "NotYet": Reason.AUCTION_NOT_STARTED,
    "NothingToDo": Reason.DUST,
    "OverCap": Reason.BID_ABOVE_CAP,
    "PriceAboveLimit": Reason.AUCTION_PRICE_HIGH,
    "NotRestored": Reason.SIM_PROFIT_CHANGED,
    "SealedStage": Reason.AUCTION_NOT_STARTED,
    "Solvent": Reason.NOT_UNDERWATER,
    "Stale": Reason.ORACLE_STALE,
    "TooDear": Reason.SIM_PROFIT_CHANGED,
    "TooLittle": Reason.SLIPPAGE_ABOVE_CAP,
    "TooManyLegs": Reason.CAPITAL_RESERVED,
    "UnderMargin": Reason.CAPITAL_RESERVED,
    "WrongPhase": Reason.EXPIRED,
}


BID: Final = 2  # ``Price.Bid`` of Types.sol
GRAIN: Final = 10**9  # wad of a dollar: every leg that moves is rounded on its own
BUYS: Final = (Kind.BID, Kind.TAKEOVER, Kind.AWARD)


@dataclass(frozen=True)
class Options:
    settings: Settings
    secret: bytes = field(default=b"", repr=False)  # from the signing key: what sealed bids are salted with
    chain_id: int = 0
    name = "options"

    def armed(self, secret: bytes, chain_id: int) -> Options:
        """The same, able to make sealed bids and to open them after any restart."""
        return replace(self, secret=secret, chain_id=chain_id)

    @property
    def desk(self) -> Address:
        return self.settings.desk

    # ── state ──

    def interests(self, view: View) -> Interests:
        return self._interests

    @cached_property
    def _interests(self) -> Interests:
        c, desk = self.settings.contracts, self.settings.desk.rjust(32, b"\0")
        tokens = [LogFilter(t, (book.TRANSFER, *who)) for t in c.tokens for who in ((desk,), (None, desk))]
        logs = (*(LogFilter(a) for a in (*c.names, *c.pools)), *tokens)
        return Interests(logs, since=c.since, pending=(c.oracle,))

    def absorb(self, view: View, source: Log | tuple[Read, bytes], ref: BlockRef) -> Iterable[Delta | Told | Fact]:
        if not isinstance(source, Log) or not source.topics:
            return ()
        handler = self._handlers.get((source.address, source.topics[0]))
        return handler(State(view), source, ref) if handler else ()

    @cached_property
    def _handlers(self) -> Mapping[tuple[Address, Hash], Handler]:
        return book.handlers(self.settings)

    def columns(self) -> Columns:
        return Columns()

    # ── health ──

    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        """At the trigger price; where that is clamped and spot is kinder, at spot: both must condemn an account."""
        state = State(view)
        record = state.account(key.id)
        # One that a reorg took away may still have a row on the screen: it holds nothing.
        pf = portfolio(record, state.clearing()) if record else Portfolio(0, ())
        trigger, spot = (market(view, state.version(), at.timestamp, mode) for mode in (Price.TRIGGER, Price.SPOT))
        h = trigger.assess(pf)
        if h.clamped and not h.healthy:
            h = _at_both(h, pf, trigger, spot)
        kinder = h if h.healthy else _phased(view, h, pf, at)
        return HealthReport(key, at, kinder.equity, kinder.mm, h.worst)

    # ── is the book right? ──

    def reading(self, keys: Sequence[Key]) -> Reading:
        data = packed.question([key.id for key in keys])
        return Reading(self.name, tuple(keys), Call(self.settings.contracts.clearing, data), packed.READER.runtime)

    def reread(self, view: View, reading: Reading, answer: bytes) -> Iterable[Delta]:
        clearing = State(view).clearing()
        for key, theirs in zip(reading.keys, packed.accounts(answer, len(reading.keys)), strict=True):
            ours = view.get(key)
            if packed.differ(ours, theirs, clearing):
                yield Delta(key, ours, theirs)

    # ── accounts read, not followed ──

    def outline(self, view: View) -> Interests:
        """Of the clearing house, all but ``Changed``."""
        whole, clearing = self.interests(view), self.settings.contracts.clearing
        others = (topic for topic in book.HANDLERS["Clearing"] if topic != book.CHANGED)
        logs = (*(f for f in whole.logs if f.address != clearing), *(LogFilter(clearing, (t,)) for t in others))
        return replace(whole, logs=logs)

    def roster(self) -> LogFilter:
        return LogFilter(self.settings.contracts.clearing, (CONTRACTS["Clearing"].events["Opened"].topic,))

    def named(self, log: Log) -> Key:
        return Key("account", int.from_bytes(log.topics[1]))

    def fill(self, view: View, columns: object, reading: Reading, answer: bytes) -> None:
        assert isinstance(columns, Columns)
        columns.load(view, [key.id for key in reading.keys], answer)

    # ── what can be done ──

    def opportunities(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        desk = self._desk(view, suspects, at)
        if not desk.state.version():
            return []
        return list(self._opportunities(desk, suspects))

    def against(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        return list(offers.flags(self._desk(view, suspects, at), suspects))

    def _desk(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Desk:
        return Desk(self.settings, State(view), at, frozenset(r.key.id for r in suspects if not r.healthy))

    def _opportunities(self, desk: Desk, suspects: Sequence[HealthReport]) -> Iterator[Opportunity]:
        for sale in offers.running(desk):
            yield from offers.sales(desk, sale)
            yield from stages.stage(desk, sale, self.secret)
            if any(self.settings.contracts.quotes):
                yield from quotes.offers_for(desk, sale)
            yield from duties.in_auction(desk, sale)
        yield from offers.flags(desk, suspects)
        yield from duties.elsewhere(desk, suspects)
        yield from offers.upkeep(desk)

    def foresee(self, view: View, pending: Pending, at: Moment) -> View | None:
        """A price or a smile on its way to the oracle."""
        if pending.target != self.settings.contracts.oracle or not self._authentic(view, pending):
            return None
        return published(view, pending.data, at.timestamp)

    def _authentic(self, view: View, pending: Pending) -> bool:
        """Whether the publisher signed it, or nobody sent it: then it is ``expected``. True where he is not known."""
        publisher, sent = State(view).publisher() or self.settings.publisher, any(pending.sender)
        if not sent or publisher == NONE or not self.chain_id:
            return True
        return signer(self.chain_id, pending.target, pending.data) == publisher

    def expected(self, view: View, at: Moment) -> Iterable[Pending]:
        """Prices and smiles that the publishers' rules make due, as the pools have them now."""
        state = State(view)
        return (*coming.prices(self.settings, state, at), *coming.smiles(self.settings, state, at))

    def afford(self, view: View, chosen: Sequence[Opportunity], at: Moment) -> int:
        """E - Q_im of the own account, less the reserve, after buying all of these; -1 if hedges lack inventory."""
        desk = Desk(self.settings, State(view), at)
        if desk.overdrawn([swap for o in chosen for swap in o.plan.swaps]):
            return -1
        own = desk.own
        for o in chosen:
            if o.kind is Kind.COMMIT:
                own = merge(own, Portfolio(-o.needs.cash, ()))
            if o.kind is Kind.QUOTE:
                own = merge(own, o.plan.bought)
            if o.kind in BUYS:
                slice_ = cut(desk.portfolio(o.plan.account), o.plan.fraction)
                price = mul_up(o.evidence["price"] + o.evidence["fee"], o.plan.fraction) + o.costs.slippage
                own = merge(merge(own, slice_), Portfolio(-price, ()))
        h = desk.market(Price.INITIAL).assess(own)
        return h.equity - h.im - self.settings.reserve

    def capital(self, view: View, at: Moment) -> Capital:
        return Desk(self.settings, State(view), at).capital

    # ── doing it ──

    def calls(self, decision: Decision) -> tuple[Call, ...]:
        if isinstance(decision, Wait | Skip):
            return ()
        plan: Plan = decision.opportunity.plan
        c, kind = self.settings.contracts, decision.opportunity.kind
        swaps = tuple(self._swap(plan, i) for i in range(len(plan.swaps)))
        if kind is Kind.FLAG:
            return (Call(c.liquidator, _encode("Liquidator", "flag", plan.account, plan.scenario)),)
        if kind is Kind.TOP_UP:
            return (Call(c.clearing, _encode("Clearing", "deposit", plan.account, 0, plan.deposit)),)
        if plan.steps:
            steps = (Call(getattr(c, name.lower()), _encode(name, *call)) for name, *call in _flat(plan.steps))
            return (*steps, *swaps)
        if kind is Kind.COMMIT:
            return (self._commitment(decision, plan),)
        if kind is Kind.HEDGE:
            return swaps
        assert not isinstance(decision, Hedge)
        # What the contract charges for the delta is part of the costs in the floor, and of what the limit is held to.
        limit = plan.worth - div_up(decision.floor - decision.opportunity.costs.slippage, plan.fraction)
        own = self.settings.account
        if kind is Kind.TAKEOVER:
            data = _encode("Liquidator", "takeover", plan.account, own, limit, plan.change_id)
        else:
            data = _encode("Liquidator", "bid", plan.account, own, plan.fraction, limit, plan.change_id)
        return (Call(c.liquidator, data), *swaps)

    @cached_property
    def _equity(self) -> Call:
        """Of our own account at the bid price; one scenario will do, for none of them has a say in it."""
        return Call(self.settings.contracts.clearing, _encode("Clearing", "healthAt", self.settings.account, BID, 0))

    @cached_property
    def worths(self) -> tuple[Worth, ...]:
        """A commitment and its opening are not among them: they buy nothing, and anybody may have them filled."""
        buys = ("Liquidator", "bid"), ("Liquidator", "takeover"), ("Quotes", "cover"), ("Sealed", "award")
        selectors = frozenset(CONTRACTS[contract].functions[name].selector for contract, name in buys)
        return (Counted(selectors, self._equity),)

    def floors(self, decision: Decision) -> tuple[Floor, ...]:
        """A purchase must add to our equity what the decision asks for, at the prices of the block it is mined in.

        Less what the contract charges for the delta: that is one of the costs which the decision asks for. And the bond
        that comes back with an award, which is no gain.
        """
        o = decision.opportunity
        if not isinstance(decision, Bid | Liquidate) or o.kind not in (*BUYS, Kind.QUOTE):
            return ()
        return (Floor(self._equity, decision.floor - o.costs.slippage + o.plan.bond - GRAIN),)

    def _commitment(self, decision: Decision, plan: Plan) -> Call:
        """The lowest discount that brings what the strategy wants, hidden."""
        assert plan.terms is not None and isinstance(decision, Bid | Liquidate)
        found = plan.terms.lowest(decision.floor)
        rho = plan.terms.params.rho_sealed if found is None else found
        who, most, own = (plan.account, plan.flagged_at), plan.terms.most(rho), self.settings.account
        salt = sealed.salt(self.secret, *who)
        hash_ = sealed.hash_of(self.chain_id, self.settings.contracts.sealed, *who, (own, rho, most), salt)
        data = _encode("Sealed", "commit", plan.account, own, hash_, sealed.note(self.secret, *who, rho, most))
        return Call(self.settings.contracts.sealed, data)

    def _swap(self, plan: Plan, i: int) -> Call:
        s = plan.swaps[i]
        data = _encode("SpotPool", "swap", s.sell, s.amount_in, s.least, self.settings.desk)
        return Call(self.settings.contracts.pools[s.underlying], data)

    def explain(self, revert: bytes) -> Reason:
        return REVERTS.get(_error(reason(revert)), Reason.REVERTED_OTHER)

    def holdings(self, view: View) -> Mapping[str, Holding]:
        state, tokens, cash, collateral = State(view), *self._proofs
        account = state.account(self.settings.account)
        held = {f"desk {asset}": Holding(state.balance(asset), proof) for asset, proof in enumerate(tokens)}
        held["account cash"] = Holding(cash_of(account, state.clearing()) if account else 0, cash)
        for asset, amount in enumerate(account.collateral if account else ()):
            if asset:
                held[f"account {asset}"] = Holding(amount, collateral(asset))
        return held

    @cached_property
    def _proofs(self) -> tuple[Sequence[Call], Call, Callable[[int], Call]]:
        """What must return the same as our holdings: of the desk's tokens, of the account's cash and collateral. They
        are asked for twice a block, and are always the same."""
        s, c = self.settings, self.settings.contracts
        tokens = [Call(token, _encode("Token", "balanceOf", s.desk)) for token in c.tokens]

        @cache
        def collateral(asset: int) -> Call:
            return Call(c.clearing, _encode("Clearing", "collateralOf", s.account, asset))

        return tokens, Call(c.clearing, _encode("Clearing", "accountOf", s.account)), collateral

    def describe(self, view: View, key: Key, at: Moment) -> Sequence[tuple[str, str]]:
        return describe(view, key.id, at)

    def realised(self, opportunity: Opportunity, facts: Sequence[Fact]) -> Realised:
        gain = hedge = 0
        for fact in facts:
            a = fact.amounts
            if fact.name == "sold" and a["bidder"] == self.settings.account:
                gain += a["equity"] * a["fraction"] // WAD - a["price"] - a["fee"]
            if fact.name == "covered" and a["provider"] == self.settings.account:
                gain += a["premium"] - a["value"]
            if fact.name == "swapped" and fact.who == self.settings.desk:
                hedge += a["cost"]
        return Realised(gain, hedge)


def _flat(steps: Iterable[tuple[str, str, tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    return ((contract, function, *args) for contract, function, args in steps)


def _at_both(h: Health, pf: Portfolio, trigger: Market, spot: Market) -> Health:
    """One scenario must condemn an account at both prices: the kinder of the two, where that is lowest."""
    named = (h.worst, spot.assess(pf).worst)
    kinder = (max((trigger.assess(pf, n), spot.assess(pf, n)), key=_margin) for n in named)
    return min(kinder, key=_margin)


def _phased(view: View, h: Health, pf: Portfolio, at: Moment) -> Health:
    """While a new set is phased in, the old one must condemn an account too, at both prices."""
    ramp = State(view).ramp()
    growth = ramp.growth(at.timestamp)
    if growth is None:
        return h
    olds = (market(view, ramp.previous, at.timestamp, mode).assess(pf) for mode in (Price.TRIGGER, Price.SPOT))
    return max(h, *(replace(old, mm=mul_up(old.mm, growth)) for old in olds), key=_margin)


def _margin(h: Health) -> int:
    return h.equity - h.mm


def _encode(contract: str, function: str, *args: object) -> bytes:
    return CONTRACTS[contract].call(function, *args)


def _error(revert: bytes) -> str:
    """The name of a custom error, of whichever contract."""
    found = (contract.error(revert) for contract in CONTRACTS.values())
    return next((error[0] for error in found if error), "")

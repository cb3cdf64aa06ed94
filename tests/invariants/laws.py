"""The invariants of the reference protocol, each with its sentence, checked after every step of a walk.

``LAWS`` hold the world to its sentences; ``TELLINGS`` hold the Python telling to the contract. A law raises
AssertionError; what it says last is in the message.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from keeper.model import Key, Moment
from keeper.protocols.options import auction, packed
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.records import Auction, Leg, series_of
from keeper.protocols.options.risk import Portfolio, Price, portfolio, standing
from keeper.units import WAD, mul_down, mul_up
from tests.invariants.walk import Deed, Walk

Law = Callable[[Walk, Deed], None]
BUYING: Final = ("bid", "takeover")
TIMED: Final = ("flag", "restart", "closeOut", "deleverage", "award", "cover", *BUYING)  # what no standing clock allows
HEALTH_FIELDS: Final = ("equity", "mm", "im", "convex", "loss", "worst", "underlyings", "clamped", "stale")
OFFER_FIELDS: Final = ("equity", "mm", "rho", "rho_paid", "price", "fmax", "fee", "refused")


# ─── the laws of section 3.6 ──────────────────────────────────────────────────────────────────────


def money_is_conserved(w: Walk, deed: Deed) -> None:
    """1. Per asset, what accounts and the fund own is what the contract holds, but for a wei per leg paid out; expired
    legs that are not paid out yet count as what they will be paid."""
    clearing = w.state.clearing()
    cash = sum(w.cash()) + clearing.fund + clearing.reserve
    due = [_due(w, leg) for _, one in w.accounts() for leg in one.legs if expiry_of(leg) <= w.now]
    held = w.ask("Token", w.dep.tokens[0], "balanceOf", w.dep.clearing) * (WAD // 10**6)
    assert 0 <= held - cash - sum(due) <= w.settled + len(due) + _index_dust(w), (held, cash, due)
    for asset, token in enumerate(w.dep.tokens[1:], 1):
        owned = sum(one.collateral[asset] for _, one in w.accounts())
        assert w.ask("Token", token, "balanceOf", w.dep.clearing) == owned, asset


def _index_dust(w: Walk) -> int:
    """What rounding of the loss index may leave over, usd: its last decimal of all cash, per loss, and a wei each."""
    return w.shared * (sum(max(0, cash) for cash in w.cash()) // WAD * 2 + len(w.cash()) + 2)


def expiry_of(leg: Leg) -> int:
    return series_of(leg.series).expiry


def _due(w: Walk, leg: Leg) -> int:
    """What an expired leg will be paid; nothing can have been paid while there is no settlement price."""
    s = series_of(leg.series)
    if w.refusal("Oracle", "settlement", s.underlying, s.expiry):
        return 0
    price = int(w.ask("Oracle", w.dep.oracle, "settlement", s.underlying, s.expiry))
    return mul_down(leg.size, max(0, price - s.strike if s.is_call else s.strike - price))


def sizes_sum_to_zero(w: Walk, deed: Deed) -> None:
    """2. The sizes of a series sum to zero until it is paid out; open interest is the sum of the longs."""
    net: dict[int, int] = defaultdict(int)
    long: dict[int, int] = defaultdict(int)
    for _, one in w.accounts():
        for leg in one.legs:
            net[leg.series] += leg.size
            long[leg.series] += max(0, leg.size)
    alive = {series for series in net if series_of(series).expiry > w.now}
    assert {series: net[series] for series in alive} == dict.fromkeys(alive, 0)
    touched = {leg.series for account in deed.accounts for leg in w.holds(account).legs} & alive
    for series in touched:
        assert w.ask("Clearing", w.dep.clearing, "openInterest", series) == long[series]


def requirements_are_ordered(w: Walk, deed: Deed) -> None:
    """3. Q_im >= Q >= 0; and a stricter parameter set never gives more margin."""
    for account in deed.accounts:
        pf = w.holds(account)
        for mode in Price:
            h = w.prices(mode).assess(pf)
            assert h.im >= h.mm >= 0, (w.name(account), mode)
        version = w.rng.choice(w.stricter)
        hard, easy = w.prices(Price.BID, version).assess(pf), w.prices(Price.BID, 1).assess(pf)
        assert hard.equity == easy.equity and hard.mm >= easy.mm, (w.name(account), version)


def one_scenario_is_a_proof(w: Walk, deed: Deed) -> None:
    """4. The margin in a named scenario is never below the margin, and equals it in the worst."""
    for account in deed.accounts:
        pf, prices = w.holds(account), w.prices(Price.TRIGGER)
        full = prices.assess(pf)
        named = sum(w.rng.randrange(len(prices.params.scenarios)) << 8 * u for u in range(len(w.spots)))
        assert prices.assess(pf, named).mm <= full.mm, (w.name(account), named)
        assert prices.assess(pf, full.worst).mm == full.mm, w.name(account)


def nobody_gets_into_trouble(w: Walk, deed: Deed) -> None:
    """5. After a trade, a withdrawal or a purchase the actor has its initial margin, or its shortfall did not grow."""
    actors = {
        "trade": deed.accounts,
        "withdraw": deed.accounts,
        "bid": deed.accounts[1:],
        "takeover": deed.accounts[1:],
        "cover": deed.accounts[1:],
    }
    if not deed.done:
        return
    winners = tuple(fact.amounts["bidder"] for fact in deed.facts if fact.name == "sold")
    for account in {*actors.get(deed.what, ()), *winners}:
        prices = w.prices(Price.INITIAL)
        is_, was = prices.assess(w.holds(account)), prices.assess(_then(w, deed, account))
        after, before = is_.equity - is_.im, was.equity - was.im
        assert after >= 0 or (after >= before and deed.what == "trade"), (w.name(account), before, after)


def a_sale_helps(w: Walk, deed: Deed) -> None:
    """6. A bid raises the margin of the account; f <= fmax; after the largest partial bid E / Q is 1 + b to 1e-9,
    but for one native unit of its collateral, and what that hedges: a satoshi is the least that can stay behind."""
    for sale in (fact.amounts for fact in deed.facts if fact.name == "sold"):
        account = deed.accounts[0]
        then, running = _then(w, deed, account), deed.before.auctions[account]
        prices = w.prices(Price.BID, running.version)
        was, is_ = (prices.assess(pf, running.scenario) for pf in (then, w.holds(account)))
        raised = is_.equity - is_.mm - was.equity + was.mm
        assert raised > 0 or (raised == was.mm == 0 and sale["takeover"]), (was, is_)  # cash alone is worth itself
        p = w.state.params(running.version).auction
        most = auction.fmax(was.equity, was.mm, was.convex, sale["rho"], p)
        assert sale["fraction"] <= (WAD if sale["takeover"] else most)
        if not sale["takeover"] and sale["fraction"] == most and p.min_slice < most < WAD:
            goal = mul_up(is_.mm, WAD + p.buffer)
            assert abs(is_.equity - goal) <= 1e-9 * goal + _unit(w, then), (is_.equity, goal)


def _unit(w: Walk, pf: Portfolio) -> int:
    """US dollars of one native unit of every collateral asset that is held, as equity and again as a hedge."""
    prices, assets = w.prices(Price.BID), w.state.clearing().assets
    held = [a for a in range(1, len(assets)) if pf.collateral and pf.collateral[a]]
    return 10**4 + 2 * sum(prices.price(w.sets.risk.assets[a].underlying) // assets[a].unit for a in held)


def the_discount_never_falls(w: Walk, deed: Deed) -> None:
    """7. rho never falls within one auction, whatever parameters do."""
    seen: dict[int, tuple[Auction, int]] = {}
    for account in w.running():
        running = w.state.auction(account)
        assert running is not None
        rho = offered(w, account)[2]
        last = w.rhos.get(account)
        if last and (last[0].flagged_at, last[0].version) == (running.flagged_at, running.version):
            assert rho >= last[1] or deed.what in ("deposit", "trade"), (w.name(account), last[1], rho)
        seen[account] = running, rho
    w.rhos = seen


def a_standing_clock_sells_nothing(w: Walk, deed: Deed) -> None:
    """8. No flag, bid or takeover succeeds while a price it needs is stale or frozen, nor at level 3 (flag: 2)."""
    if not deed.done or deed.what not in TIMED:
        return
    assert w.level() < (2 if deed.what in ("flag", "restart") else 3)
    pf = _then(w, deed, deed.accounts[0])
    assert not w.prices(Price.BID).assess(pf).stale


def the_fund_pays_last(w: Walk, deed: Deed) -> None:
    """9. The fund pays only where the price is negative, what the price says, and never more than it has; the loss
    index falls only when the fund and its reserve are empty."""
    is_, was = w.state.clearing(), deed.before.clearing
    change = is_.fund + is_.reserve - was.fund - was.reserve
    assert is_.fund >= 0 and is_.reserve >= 0
    if deed.what in ("deleverage", "socialise"):
        assert change <= _forfeited(deed)
    elif deed.what != "fundFrom":
        sales = [fact.amounts for fact in deed.facts if fact.name == "sold"]
        assert change == sum(sale["fee"] - max(0, -sale["price"]) for sale in sales) + _forfeited(deed)
    if is_.index != was.index:
        assert is_.index < was.index and deed.what == "socialise" and is_.fund == is_.reserve == 0


def _forfeited(deed: Deed) -> int:
    """Bonds that went to the fund: of bids that were not opened, and of a winner who could not hold what he wanted."""
    lost = sum(fact.amounts["forfeited"] for fact in deed.facts if fact.name == "bonds")
    for fact in deed.facts:
        if fact.name == "awarded" and not fact.amounts["filled"]:
            bids = deed.before.stages[fact.key.id].bids
            lost += sum(bid.bond for bid in bids if bid.bidder.to_bytes(32)[12:] == fact.who)
    return lost


def two_halves_are_no_more(w: Walk, deed: Deed) -> None:
    """10. Two bids for the same together leave the bidder no better off than one bid, up to rounding, and where the
    fund pays at its cap up to what the fees of the first, now in the fund, add to the cap of the second."""
    if deed.done and deed.halves is not None:
        one = w.health(deed.accounts[1], Price.BID).equity
        fees = sum(fact.amounts["fee"] for fact in deed.facts if fact.name == "sold" and fact.amounts["price"] < 0)
        grown = mul_up(fees, w.params.auction.fund_per_auction)
        assert deed.halves <= one + 10**6 + abs(one) // 10**15 + grown, (one, deed.halves, grown)


def nothing_comes_of_nothing(w: Walk, deed: Deed) -> None:
    """11. An improvement to the same scenario, and a cure of what is not for sale, are refused."""
    for account in w.running()[:1]:
        running = w.state.auction(account)
        assert running and w.refusal("Liquidator", "improve", account, running.scenario)
    quiet = [account for account, _ in w.accounts() if account not in w.running()]
    assert all(w.refusal("Liquidator", "cure", account) for account in quiet[:1])


def promises_are_kept(w: Walk, deed: Deed) -> None:
    """12. Deposits succeed at every level and every price. 13. An account never buys itself, and one that is for sale
    gives nothing out."""
    assert deed.done or not deed.promised, "promised"
    assert not (deed.done and deed.forbidden), "forbidden"


def what_is_for_sale_only_shrinks(w: Walk, deed: Deed) -> None:
    """13. A trade of an account with a running auction, or at a raised level, reduces every leg it touches."""
    if deed.what != "trade" or not deed.done:
        return
    for account in deed.accounts:
        if account in w.running() or w.level() != 0:
            was = dict(_then(w, deed, account).legs)
            for leg in w.holds(account).legs:
                assert leg.series in was and abs(leg.size) <= abs(was[leg.series]), w.name(account)


def looking_moves_nothing(w: Walk, deed: Deed) -> None:
    """14. However often the same price is published, the marks at a later time are the same."""
    if deed.what != "publish" or not deed.done or w.rng.random() < 0.8 or w.frozen():
        return
    later = w.now + w.rng.randint(12, 25)  # more than the pokes take
    direct = w.marks(later, pokes=0)
    poked = w.marks(later, pokes=w.rng.randint(1, 3))
    assert all(abs(a - b) <= 10**8 for a, b in zip(direct, poked, strict=True)), (direct, poked)


def positive_cash_is_counted(w: Walk, deed: Deed) -> None:
    """15. The sum of positive cash is what the contract says it is."""
    total = sum(max(0, cash) for cash in w.cash())
    assert 0 <= w.ask("Clearing", w.dep.clearing, "positiveCash") - total <= _index_dust(w)


def nobody_pays_into_ruin(w: Walk, deed: Deed) -> None:
    """16. A close-out or a step of the queue leaves every counterparty its requirement, and gives the account no more
    than it lacks; a loss is shared only for negative equity."""
    if not deed.done or deed.what not in ("deleverage", "closeOut", "socialise"):
        return
    prices = w.prices(Price.BID)
    for account in deed.accounts[1:]:
        if w.holds(account).legs != _then(w, deed, account).legs:
            h = prices.assess(w.holds(account))
            assert h.equity >= h.mm, w.name(account)
    was, is_ = prices.assess(_then(w, deed, deed.accounts[0])), prices.assess(w.holds(deed.accounts[0]))
    assert is_.equity >= was.equity - 10**6 or deed.what == "closeOut"
    assert deed.what != "socialise" or was.equity < 0


def bonds_are_kept(w: Walk, deed: Deed) -> None:
    """19. What the sealed stage holds is the bonds of all bids that still have one, less what shared losses took of
    it; nobody is awarded a discount above rhoSealed."""
    house = int.from_bytes(w.dep.sealed)
    held = w.holds(house).cash
    if deed.what == "socialise":
        w.bonds_lost += _then(w, deed, house).cash - held
    bids = [bid for stage in w.stages for bid in w.ask("Sealed", w.dep.sealed, "bidsOf", *stage)]
    assert 0 <= sum(bid[2] for bid in bids) - held - w.bonds_lost <= 2 * w.shared, (held, w.bonds_lost, bids)
    for fact in deed.facts:
        if deed.what == "award" and fact.name == "sold":
            p = w.state.params(deed.before.auctions[deed.accounts[0]].version).auction
            assert fact.amounts["rho"] <= p.rho_sealed


def only_the_unhealthy_are_flagged(w: Walk, deed: Deed) -> None:
    """18. A flag needs an account below its requirement at the trigger price and at spot, phase-in included."""
    if deed.what == "flag" and deed.done:
        pf = _then(w, deed, deed.accounts[0])
        for mode in (Price.TRIGGER, Price.SPOT):
            h = standing(w.book, pf, w.now, mode)
            assert h.equity < h.mm, mode


def insurance_restores(w: Walk, deed: Deed) -> None:
    """20. An insured account has all its legs and longs besides, the health that a cure asks for, no auction any more,
    and paid beyond their value no more than the largest bid would have cost it."""
    if deed.what != "cover" or not deed.done:
        return
    account, then = deed.accounts[0], _then(w, deed, deed.accounts[0])
    was, h, buffer = dict(then.legs), w.health(account, Price.BID), w.params.auction.buffer
    assert all(leg.size >= was.pop(leg.series, 0) for leg in w.holds(account).legs)
    assert all(size < 0 for size in was.values())  # what is gone was short, and bought back whole
    assert h.equity >= mul_up(h.mm, WAD + buffer // 5) and account not in w.running()
    running = deed.before.auctions[account]
    o = w.offered(then, running, deed.before.clearing.fund)
    most = mul_down(mul_down(o.mm, o.rho_paid), o.fmax)
    assert w.prices(Price.BID).assess(then).equity - h.equity <= most + 10**6, (h.equity, most)


def the_insolvent_are_counted(w: Walk, deed: Deed) -> None:
    """17. What insolvent accounts in auction require is the sum over them; nobody counts who is not for sale."""
    noted = {key.id: w.book.get(key) for key in w.book.keys("insolvent")}
    counted = {account: mm for account, mm in noted.items() if mm}
    assert sum(counted.values()) == w.state.clearing().insolvent
    assert w.ask("Clearing", w.dep.clearing, "insolvent") == w.state.clearing().insolvent
    assert set(counted) <= set(w.running())


# ─── both tellings ────────────────────────────────────────────────────────────────────────────────


def balances_agree(w: Walk, deed: Deed) -> None:
    """Cash, legs and collateral of every account that a step touched are the contract's, to the wei."""
    for account in deed.accounts:
        cash, legs, collateral = w.ask("Clearing", w.dep.clearing, "portfolio", account)
        ours = w.holds(account)
        assert (ours.cash, [leg.series << 128 | leg.size & 2**128 - 1 for leg in ours.legs]) == (cash, sorted(legs))
        assert ours.collateral in (tuple(collateral), ())
    ours_ = w.state.clearing()
    assert w.ask("Clearing", w.dep.clearing, "fund") == ours_.fund
    assert w.ask("Clearing", w.dep.clearing, "reserve") == ours_.reserve
    assert w.ask("Clearing", w.dep.clearing, "lossIndex") == ours_.index


def storage_agrees(w: Walk, deed: Deed) -> None:
    """What lies in storage of an account is what its last event said: loss index and number of changes, to the wei."""
    if not deed.accounts:
        return
    reading = w.adapter.reading([Key("account", account) for account in deed.accounts])
    call = {"to": reading.call.target, "data": reading.call.data}
    code = {"0x" + reading.call.target.hex(): {"code": reading.code}}
    answer = bytes.fromhex(w.node.rpc("eth_call", call, "latest", code)[2:])
    for key, theirs in zip(reading.keys, packed.accounts(answer, len(reading.keys)), strict=True):
        assert w.book.get(key) == (theirs if theirs.change_id else None)


def requirements_agree(w: Walk, deed: Deed) -> None:
    """Equity and requirements are the contract's to the wei, at every price it knows."""
    for account in deed.accounts:
        pf = w.holds(account)
        for mode in Price:
            ours, theirs = w.prices(mode).assess(pf), w.assess(pf, mode, version=w.state.version())
            assert tuple(getattr(ours, name) for name in HEALTH_FIELDS) == theirs[:9], (w.name(account), mode)
            assert (*ours.exposures, 0, 0) == theirs[10], (w.name(account), mode)


def standing_agrees(w: Walk, deed: Deed) -> None:
    """What decides about an account now, also while a new parameter set is phased in, is the contract's."""
    for account in deed.accounts:
        for mode in (Price.TRIGGER, Price.BID):
            ours = standing(w.book, w.holds(account), w.now, mode)
            theirs = tuple(w.ask("Clearing", w.dep.clearing, "health", account, mode))
            assert tuple(getattr(ours, name) for name in HEALTH_FIELDS) == theirs[:9], (w.name(account), mode)
            assert (*ours.exposures, 0, 0) == theirs[10], (w.name(account), mode)


def the_screen_agrees(w: Walk, deed: Deed) -> None:
    """The float columns are within 1e-9 of gross notional of the contract."""
    for account in deed.accounts:
        record = w.state.account(account)
        if record is None or not record.legs:
            continue
        columns = Columns()
        columns.put(Key("account", account), record)
        ours = columns.assess(w.state, Moment(0, w.now, 0), Price.TRIGGER)
        theirs = w.prices(Price.TRIGGER).assess(w.holds(account))
        close = 1e-9 * float(ours.gross[0]) + 1e-6
        for mine, exact in zip((ours.equity, ours.mm, ours.im), (theirs.equity, theirs.mm, theirs.im), strict=True):
            assert abs(float(mine[0]) - exact / WAD) <= close, w.name(account)


def offers_agree(w: Walk, deed: Deed) -> None:
    """What each auction offers is the contract's offer to the wei."""
    for account in w.running():
        ours = dict(zip(OFFER_FIELDS, offered(w, account), strict=True))
        if w.refusal("Liquidator", "offer", account):  # all its legs were settled: only a cure is left
            assert (ours["mm"], ours["fmax"]) == (0, 0), w.name(account)
        else:
            theirs = w.ask("Liquidator", w.dep.liquidator, "offer", account)
            assert tuple(ours.values()) == tuple(theirs), w.name(account)


def auctions_agree(w: Walk, deed: Deed) -> None:
    """Every auction record is the contract's storage."""
    for account in deed.accounts:
        if (a := w.state.auction(account)) is not None:
            ours = (a.version, a.scenario, a.flagged_at, a.cured_at, a.since, a.clocks)
            assert ours == tuple(w.ask("Liquidator", w.dep.liquidator, "auctionOf", account)), w.name(account)
            assert a.spent == w.ask("Liquidator", w.dep.liquidator, "spent", account)


def feeds_agree(w: Walk, deed: Deed) -> None:
    """Prices, marks and clocks are the contract's."""
    for u in range(len(w.spots)):
        feed = w.state.feed(u)
        assert feed is not None
        theirs = w.ask("Oracle", w.dep.oracle, "prices", u)
        quote = w.prices(Price.SPOT)._price(u)[1]
        assert (quote.spot, quote.slow, quote.fast) == tuple(theirs)[:3]


def the_keeper_copes(w: Walk, deed: Deed) -> None:
    """Whatever has happened, the keeper's adapter can say how every account stands and what may be done about it. Asked
    after every fourth price, because it takes as long as all the others together."""
    if deed.what == "publish" and len(w.deeds) % 4:
        return
    at = Moment(w.book.ref.number + 1, w.now + 2, 0)
    try:
        reports = [w.adapter.health(w.book, Key("account", account), at) for account, _ in w.accounts()]
        found = list(w.adapter.opportunities(w.book, reports, at))
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    assert all(one.gain is not None for one in found)


def offered(w: Walk, account: int) -> tuple[Any, ...]:
    """The offer of a running auction, as Python tells it."""
    offer = w.offer(account)
    return tuple(getattr(offer, name) for name in OFFER_FIELDS)


def _then(w: Walk, deed: Deed, account: int) -> Portfolio:
    """What the account held before the deed."""
    record = deed.before.accounts.get(account)
    return portfolio(record, deed.before.clearing) if record else Portfolio(0, ())


LAWS: Final[tuple[Law, ...]] = (
    money_is_conserved,
    sizes_sum_to_zero,
    requirements_are_ordered,
    one_scenario_is_a_proof,
    nobody_gets_into_trouble,
    a_sale_helps,
    the_discount_never_falls,
    a_standing_clock_sells_nothing,
    the_fund_pays_last,
    two_halves_are_no_more,
    nothing_comes_of_nothing,
    promises_are_kept,
    what_is_for_sale_only_shrinks,
    looking_moves_nothing,
    positive_cash_is_counted,
    nobody_pays_into_ruin,
    the_insolvent_are_counted,
    only_the_unhealthy_are_flagged,
    bonds_are_kept,
    insurance_restores,
)
TELLINGS: Final[tuple[Law, ...]] = (
    balances_agree,
    storage_agrees,
    requirements_agree,
    standing_agrees,
    the_screen_agrees,
    offers_agree,
    auctions_agree,
    feeds_agree,
    the_keeper_copes,
)

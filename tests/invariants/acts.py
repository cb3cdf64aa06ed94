"""What people may do, and how likely it is. Each act takes one step in a walk, or none when there is no occasion.

A new mechanism joins the walk with one function and one row of ``ACTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp
from typing import Final

from keeper.protocols.options import slices
from keeper.protocols.options.records import Leg, pack_leg, series_of, unpack_leg
from keeper.protocols.options.risk import Portfolio, Price
from keeper.units import WAD, mul_down, mul_up
from tests.invariants.walk import BACKSTOP, BIDDERS, BROKER, EXPIRIES, INSURER, MAKER, PEOPLE, TRADERS, USD, Walk, word

FOREVER: Final = 2**40
LIMIT: Final = 10**40  # usd: no price limit
LOT: Final = 10**15

Act = Callable[[Walk], object]

# ─── the market ───────────────────────────────────────────────────────────────────────────────────


def tick(w: Walk) -> None:
    """Prices move by a per cent or two; now and then they jump."""
    u = w.rng.randrange(len(w.spots))
    move = w.rng.gauss(0, 0.015) + (w.rng.choice([-1, 1]) * w.rng.uniform(0.04, 0.13) if w.rng.random() < 0.12 else 0)
    w.spots[u] *= exp(max(-0.3, min(0.3, move)))
    w.publish_all(w.rng.randint(1, 12))


def squeeze(w: Walk) -> None:
    """Prices go where the weakest account fears them, for long enough that the marks follow."""
    ranked = sorted((_slack(w, account), account) for account, one in w.accounts() if one.legs)
    if not ranked:
        return
    h = w.health(ranked[0][1], Price.TRIGGER)
    for u in range(len(w.spots)):
        if h.underlyings >> u & 1:
            feared = w.sets.risk.scenarios[h.worst >> 8 * u & 0xFF].spot or w.rng.choice([-1, 1])
            w.spots[u] *= 1 + (0.035 if feared > 0 else -0.035)
    for _ in range(w.rng.randint(2, 4)):
        w.publish_all(w.rng.randint(8, 15))


def still(w: Walk) -> None:
    """The same prices, several times: marks catch up, clocks run."""
    for _ in range(w.rng.randint(2, 6)):
        w.publish_all(w.rng.randint(2, 15))


def silence(w: Walk) -> None:
    """Nobody publishes for a while, then everybody does."""
    w.at(w.now + w.rng.randint(20, 120))
    if w.rng.random() < 0.7:
        w.publish_all()


def smiles(w: Walk) -> None:
    u = w.rng.randrange(len(w.spots))
    expiry = w.rng.choice(EXPIRIES)
    if expiry > w.now:
        w.publish_smile(u, expiry, w.rng.randint(400_000, 1_100_000), w.rng.randint(-150_000, 50_000))


def night(w: Walk) -> None:
    """On to the first expiry: through its settlement window, and past it."""
    ahead = [expiry for expiry in EXPIRIES if expiry > w.now]
    if not ahead or w.rng.random() < 0.6:
        return
    passed(w, ahead)


def passed(w: Walk, ahead: Sequence[int]) -> None:
    """Through the settlement window of the first of these expiries, and past it."""
    w.at(max(w.now + 1, ahead[0] - w.rng.randint(40, 100)))
    while w.now < ahead[0] + 10:
        w.publish_all(w.rng.randint(5, 20))
    for expiry in ahead[1:]:
        for u in range(len(w.spots)):
            w.publish_smile(u, expiry, 650_000)


# ─── traders ──────────────────────────────────────────────────────────────────────────────────────


def deposit(w: Walk) -> None:
    """Never refused, whatever the level is."""
    name, asset = w.rng.choice(TRADERS), w.rng.choice([0, 0, 0, 1, 2])
    amount = (w.rng.randint(1, 40_000) * USD, w.rng.randint(1, 10**19), w.rng.randint(1, 10**7))[asset]
    account = w.account(name)
    w.do(name, "Clearing", "deposit", account, asset, amount, accounts=(account,), promised=True)


def withdraw(w: Walk) -> None:
    """A part, all, or as much as the initial margin leaves."""
    name = w.rng.choice((*TRADERS, *BIDDERS))
    account, asset = w.account(name), w.rng.choice([0, 0, 1, 2])
    held = w.state.account(account)
    if held is None:
        return
    most = max(0, held.cash) * USD // WAD if asset == 0 else held.collateral[asset]
    if asset == 0 and held.legs and w.rng.random() < 0.6:
        h = w.health(account, Price.INITIAL)
        most = max(0, min(most, (h.equity - h.im) * USD // WAD - 1))
    amount = most if w.rng.random() < 0.5 else w.rng.randint(0, most + 1)
    flagged = account in w.running() and amount > 0
    w.do(name, "Clearing", "withdraw", account, asset, amount, w.who(name), accounts=(account,), forbidden=flagged)


def trade(w: Walk) -> None:
    """A trader sells or buys up to three series, as much as its margin bears, near the model's value."""
    a, b = w.account(w.rng.choice(TRADERS)), w.account(w.rng.choice((MAKER, MAKER, *TRADERS)))
    if w.rng.random() < 0.9:
        w.publish_all()
    package = _package(w)
    if a == b or not package:
        return
    careful = w.rng.random() < 0.95
    while careful and package and not bears(w, a, package):
        package = [leg for word_ in package if (leg := smaller(word_))]
    if package:
        traded(w, a, b, package)


def reduce(w: Walk) -> None:
    """Two accounts close against each other what they both hold: allowed at every level when it helps both."""
    a = w.account(w.rng.choice((*TRADERS, *BIDDERS)))
    mine, theirs = dict(w.holds(a).legs), dict(w.holds(w.account(MAKER)).legs)
    both = [s for s in sorted(mine) if mine[s] * theirs.get(s, 0) < 0]
    if not both:
        return
    series = w.rng.choice(both)
    size = min(abs(mine[series]), abs(theirs[series])) // LOT * LOT
    size = size if w.rng.random() < 0.5 else size // 2 // LOT * LOT
    if size:
        signed = -size if mine[series] > 0 else size
        traded(w, a, w.account(MAKER), [series << 128 | signed & 2**128 - 1])


def meddle(w: Walk) -> None:
    """An account that is for sale buys a hedge: good for it, and not allowed, because it is new."""
    for account in w.running()[:1]:
        short = [leg for leg in w.holds(account).legs if leg.size <= -LOT]
        if short and w.name(account) in TRADERS:
            u, expiry, call, strike = series_of(w.rng.choice(short).series)
            if expiry > w.now + 120:
                near = word(u, expiry, call, round(strike / WAD * (1.05 if call else 0.95)), w.rng.uniform(0.1, 2))
                traded(w, account, w.account(MAKER), [near])


def _package(w: Walk) -> list[int]:
    expiries = [expiry for expiry in EXPIRIES if expiry > w.now + 120]
    legs: dict[int, int] = {}
    for _ in range(w.rng.choice([1, 1, 2, 3]) if expiries else 0):
        u = w.rng.randrange(len(w.spots))
        step = (100.0, 2_000.0)[u]
        strike = step * max(1, round(w.spots[u] / step * w.rng.uniform(0.75, 1.3)))
        size = w.rng.choice([-1, -1, 1]) * w.rng.uniform(0.1, 30) * (1.0, 0.05)[u]
        leg = word(u, w.rng.choice(expiries), w.rng.random() < 0.5, strike, size)
        if unpack_leg(leg).size:
            legs[leg >> 128] = leg
    return list(legs.values())


def smaller(leg: int) -> int:
    size = unpack_leg(leg).size
    half = abs(size) // 2 // LOT * LOT
    return leg >> 128 << 128 | (half if size > 0 else -half) & 2**128 - 1 if half else 0


def bears(w: Walk, account: int, package: list[int]) -> bool:
    prices = w.prices(Price.INITIAL)
    after = slices.merge(w.holds(account), w.portfolio(package))
    h = prices.assess(after)
    return h.equity - w.worth(package, Price.INITIAL) >= h.im


def traded(w: Walk, a: int, b: int, package: list[int]) -> None:
    premium = w.worth(package, Price.INITIAL) * w.rng.randint(980, 1020) // 1000
    salt = w.rng.randrange(2**64)
    w.do(BROKER, "Clearing", "trade", a, b, package, premium, FOREVER, salt, b"", accounts=(a, b))


def settle(w: Walk) -> None:
    due = [
        account for account, one in w.accounts() if any(leg.series >> 72 & 0xFFFFFFFFFF <= w.now for leg in one.legs)
    ]
    if not due:
        return
    account = w.rng.choice(due)
    deed = w.do(w.rng.choice(PEOPLE), "Clearing", "settle", account, accounts=(account,))
    if deed.done:
        w.settled += len(deed.before.accounts[account].legs)


def insure(w: Walk) -> None:
    amount = w.rng.randint(1, 10_000) * WAD
    w.do(
        INSURER,
        "Clearing",
        "fundFrom",
        w.account(INSURER),
        amount,
        w.rng.random() < 0.2,
        accounts=(w.account(INSURER),),
    )


# ─── liquidators ──────────────────────────────────────────────────────────────────────────────────


def flag(w: Walk) -> Iterator[None]:
    """The worst account; sometimes with a scenario that proves nothing. Often its sealed stage follows."""
    ranked = sorted((_slack(w, account), account) for account, one in w.accounts() if one.legs)
    running = set(w.running())
    free = [(slack, account) for slack, account in ranked if account not in running]
    if not free:
        return
    slack, account = free[0] if w.rng.random() < 0.9 else w.rng.choice(free)
    if slack >= 0 and w.rng.random() < 0.9:  # nothing to prove, most of the time not even tried
        return
    scenario = w.health(account, Price.TRIGGER).worst if w.rng.random() < 0.85 else w.rng.randrange(2**16) & 0x0F0F
    deed = w.do(w.rng.choice(BIDDERS), "Liquidator", "flag", account, scenario, accounts=(account,))
    yield
    if deed.done and w.rng.random() < 0.6:
        yield from stage(w, account)


def _slack(w: Walk, account: int) -> int:
    h = w.health(account, Price.TRIGGER)
    return h.equity - h.mm


def improve(w: Walk) -> None:
    for account in w.running()[:1]:
        scenario = w.health(account, Price.BID).worst if w.rng.random() < 0.7 else w.rng.randrange(16)
        w.do(w.rng.choice(BIDDERS), "Liquidator", "improve", account, scenario, accounts=(account,))


def cure(w: Walk) -> None:
    for account in w.running()[-1:]:
        cured(w, account)


def cured(w: Walk, account: int) -> None:
    w.do(w.rng.choice(PEOPLE), "Liquidator", "cure", account, accounts=(account,))


def bid(w: Walk) -> None:
    """For all, a part or a sliver; sometimes by the account itself, or for what it was before."""
    if running := w.running():
        bought(w, w.rng.choice(sorted(running)))


def bought(w: Walk, account: int) -> None:
    name = w.rng.choice((*BIDDERS, MAKER)) if w.rng.random() < 0.93 else w.name(account)
    if name not in PEOPLE:
        return
    most = w.rng.choice([WAD, WAD, WAD // 2, w.rng.randint(1, WAD), 10**14])
    expected = _change(w, account) - (w.rng.random() < 0.05)
    bidder = w.account(name)
    at = w.now + w.rng.randint(1, 3)
    halves = w.halved(name, account, most, at) if w.rng.random() < 0.3 else None
    args, own = (account, bidder, most, LIMIT, expected), bidder == account
    w.do(name, "Liquidator", "bid", *args, at=at, accounts=(account, bidder), forbidden=own, halves=halves)


def takeover(w: Walk) -> None:
    for account in w.running()[:1]:
        taken(w, account)


def taken(w: Walk, account: int) -> None:
    receiver = w.account(BACKSTOP)
    args = (account, receiver, LIMIT, _change(w, account))
    w.do(BACKSTOP, "Liquidator", "takeover", *args, accounts=(account, receiver))


def cover(w: Walk) -> None:
    if running := w.running():
        insured(w, w.rng.choice(sorted(running)))


def insured(w: Walk, account: int) -> None:
    """Long options against its shorts, for about as much above their value as a sale would cost its owner now."""
    shorts = [(series_of(leg.series), -leg.size // LOT * LOT) for leg in w.holds(account).legs if leg.size <= -LOT]
    out = w.rng.choice([0, 0, 5, 10]) / 100
    package = [
        pack_leg(s.underlying, s.expiry, s.is_call, round(s.strike / 10**10 * (1 + out if s.is_call else 1 - out)), n)
        for s, n in shorts
    ]
    if not package or w.rng.random() < 0.03:  # a leg that is not long
        package = [*package, *(leg.series << 128 | leg.size & 2**128 - 1 for leg in w.holds(account).legs[:1])]
    provider = w.rng.choice((*BIDDERS, MAKER, MAKER))
    premium = max(0, w.worth(package) + w.dearest(account) * w.rng.choice([0, 50, 95, 95, 103]) // 100)
    args = (account, w.account(provider), sorted(package), premium, _change(w, account) - (w.rng.random() < 0.05))
    w.do(provider, "Quotes", "cover", *args, accounts=(account, w.account(provider)))


# ─── sealed bids ──────────────────────────────────────────────────────────────────────────────────


def stage(w: Walk, account: int) -> Iterator[None]:
    """A whole sealed stage: some commit, most of them reveal, some are awarded. Yields after every part."""
    for name in (*BIDDERS, MAKER):
        if w.rng.random() < 0.8:
            _committed(w, name, account)
            yield
    w.publish_all(w.rng.randint(10, 16))
    yield
    for _ in range(3):
        reveal(w)
        yield
    w.publish_all(w.rng.randint(12, 20))
    yield
    for _ in range(2):
        _awarded(w, account)
        yield


def commit(w: Walk) -> None:
    for account in w.running()[-1:]:
        _committed(w, w.rng.choice((*BIDDERS, MAKER)), account)


def _committed(w: Walk, name: str, account: int) -> None:
    """A bid that only its bidder knows; sometimes at a discount that nobody may ask for."""
    secrets, running = w.rng.randbytes(32), w.state.auction(account)
    if running is not None:
        most = w.state.params(running.version).auction.rho_sealed
        rho, share = w.rng.randint(0, most * 11 // 10), w.rng.choice([WAD, WAD // 3])
        key = account, running.flagged_at, w.account(name)
        hash_ = w.ask("Sealed", w.dep.sealed, "hashOf", *key, rho, share, secrets)
        done = w.do(
            name, "Sealed", "commit", account, w.account(name), hash_, bytes(32), accounts=(account, w.account(name))
        ).done
        if done:
            w.stages.add(key[:2])
            w.sealed[key] = rho, share, secrets


def reveal(w: Walk) -> None:
    """Most bids are opened as they were made."""
    running = {account: w.state.auction(account) for account in w.running()}
    mine = [key for key in w.sealed if (a := running.get(key[0])) and a.flagged_at == key[1]]
    if mine:
        account, _, bidder = key = w.rng.choice(mine)
        rho, share, secrets = w.sealed[key]
        rho += w.rng.random() < 0.1
        name = w.name(bidder)
        w.do(name, "Sealed", "reveal", account, bidder, rho, share, secrets, accounts=(account, bidder))


def award(w: Walk) -> None:
    for account in w.running()[-1:]:
        _awarded(w, account)


def _awarded(w: Walk, account: int) -> None:
    w.do(w.rng.choice(PEOPLE), "Sealed", "award", account, accounts=(account,))


def release(w: Walk) -> None:
    for account in w.running()[-1:]:
        w.do(w.rng.choice(PEOPLE), "Sealed", "release", account, accounts=(account,))


def invite(w: Walk) -> None:
    """A guest leaves, or comes back."""
    who = w.who(w.rng.choice(BIDDERS))
    w.govern("Sealed", "invite", who, not w.state.is_guest(who))


def restart(w: Walk) -> None:
    for account in w.running()[:1]:
        restarted(w, account)


def restarted(w: Walk, account: int) -> None:
    scenario = w.health(account, Price.TRIGGER).worst
    w.do(w.rng.choice(BIDDERS), "Liquidator", "restart", account, scenario, accounts=(account,))


# ─── what nobody buys ─────────────────────────────────────────────────────────────────────────────


def deleverage(w: Walk) -> None:
    """One leg of an insolvent account against those who depend most on it; sometimes in the wrong order."""
    sunk = [account for account in w.running() if w.health(account, Price.BID).equity < 0 and w.holds(account).legs]
    if sunk:
        deleveraged(w, w.rng.choice(sunk))


def deleveraged(w: Walk, account: int) -> None:
    leg = w.rng.choice(w.holds(account).legs)
    ranked = sorted(_opposite(w, account, leg), key=lambda who: -_score(w, who, leg.series))
    if w.rng.random() < 0.1:
        ranked.reverse()
    by = w.rng.choice(BIDDERS)
    w.do(by, "Waterfall", "deleverage", account, leg.series, ranked, accounts=(account, *ranked))


def close_out(w: Walk) -> None:
    """The slice that nobody bought, of every leg, against whoever holds the other side."""
    for account in w.running()[:1]:
        closed_out(w, account)


def closed_out(w: Walk, account: int) -> None:
    """Against those first whose equity depends most on it; sometimes in the wrong order."""
    pairs = [(leg.series, who) for leg in w.holds(account).legs for who in _ranked(w, account, leg)]
    others = sorted({who for _, who in pairs})
    if w.rng.random() < 0.05:
        pairs.reverse()
    steps = [(series, others.index(who)) for series, who in pairs]
    if others:
        by = w.rng.choice(BIDDERS)
        w.do(by, "Waterfall", "closeOut", account, others, steps, accounts=(account, *others))


def socialise(w: Walk) -> None:
    """Whoever has negative equity, or holds nothing but a debt."""
    sunk = [account for account, _ in w.accounts() if w.health(account, Price.BID).equity < 0]
    shared(w, w.rng.choice(sunk) if sunk else w.account(w.rng.choice(TRADERS)))


def shared(w: Walk, account: int) -> None:
    deed = w.do(w.rng.choice(BIDDERS), "Waterfall", "socialise", account, accounts=(account,))
    w.shared += deed.done and w.state.clearing().index != deed.before.clearing.index


def _ranked(w: Walk, account: int, leg: Leg) -> list[int]:
    """Holders of the other side that have any equity, the highest score first."""
    scores = {who: _score(w, who, leg.series) for who in _opposite(w, account, leg)}
    return sorted((who for who in scores if w.health(who, Price.BID).equity > 0), key=lambda who: -scores[who])


def _opposite(w: Walk, account: int, leg: Leg) -> list[int]:
    held = ((who, dict(one.legs).get(leg.series, 0)) for who, one in w.accounts() if who != account)
    return [who for who, size in held if size * leg.size < 0]


def _score(w: Walk, who: int, series: int) -> int:
    """``Waterfall.score``: value of the position over the equity of its holder, wad."""
    equity, size = w.health(who, Price.BID).equity, dict(w.holds(who).legs)[series]
    value = w.prices(Price.BID).assess(Portfolio(0, (Leg(series, size),))).equity
    return abs(value) * WAD // equity if equity > 0 else 0


def _change(w: Walk, account: int) -> int:
    held = w.state.account(account)
    return held.change_id if held else 0


# ─── guardians and governors ──────────────────────────────────────────────────────────────────────


def alarm(w: Walk) -> None:
    """Up to any level; later, by the timelock, down again."""
    raised = w.state.breaker().raised
    if raised < 3:
        w.govern("Oracle", "raise", w.rng.randint(raised + 1, 3))


def calm(w: Walk) -> None:
    if raised := w.state.breaker().raised:
        to = w.rng.randrange(raised)
        w.govern("Oracle", "schedule", 0, to)
        w.govern("Oracle", "execute", 0, to)
        w.publish_all()


def freeze(w: Walk) -> None:
    """A feed takes no prices, until it is thawed."""
    w.govern("Oracle", "freeze", w.rng.randrange(len(w.spots)))


def thaw(w: Walk) -> None:
    for u in w.frozen()[:1]:
        w.govern("Oracle", "schedule", 1, u)
        w.govern("Oracle", "execute", 1, u)
        if feed := w.state.feed(u):
            w.spots[u] = feed.spot / 10**8
        w.publish_all()


def govern(w: Walk) -> None:
    """Another parameter set, a little stricter or milder than the shipped one."""
    r, a = w.sets.risk, w.sets.auction
    set_ = replace(
        w.sets,
        risk=replace(
            r,
            mm_factor=mul_up(r.mm_factor, w.rng.randint(90, 110) * WAD // 100),
            im_factor=mul_up(r.im_factor, w.rng.randint(100, 120) * WAD // 100),
            lambda_=mul_down(r.lambda_, w.rng.randint(50, 200) * WAD // 100),
        ),
        auction=replace(a, buffer=a.buffer * w.rng.randint(60, 140) // 100, fee=a.fee * w.rng.randint(50, 150) // 100),
    )
    w.govern("Params", "propose", set_.as_abi())
    version = max(key.id for key in w.book.keys("params"))
    w.govern("Params", "accept", version, accounts=())


def opening(w: Walk) -> None:
    """Everybody has a position before the walk begins."""
    for _ in range(3 * len(TRADERS)):
        trade(w)


ACTS: Final[Mapping[Act, float]] = {
    tick: 10,
    squeeze: 5,
    still: 3,
    silence: 0.7,
    smiles: 1,
    night: 0.6,
    deposit: 1.5,
    withdraw: 4,
    trade: 9,
    reduce: 2,
    meddle: 1.5,
    settle: 2,
    insure: 0.5,
    flag: 8,
    improve: 1,
    cure: 2,
    commit: 1,
    reveal: 1,
    award: 1,
    release: 0.7,
    invite: 0.3,
    bid: 10,
    takeover: 1,
    cover: 1.5,
    restart: 0.5,
    deleverage: 3,
    close_out: 1.5,
    socialise: 1.5,
    alarm: 0.4,
    calm: 5,
    freeze: 0.2,
    thaw: 3,
    govern: 0.4,
}

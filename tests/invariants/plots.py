"""Ways in which rare things come about: each brings one account to where an act has its occasion, and then does it.

Left to chance, a short walk flags one account or two. A walk therefore plays every plot of ``PLOTS`` once, in an order
of its own, with random acts in between; what becomes of each is decided by the market and by what others do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from keeper.protocols.options.risk import Price
from keeper.units import WAD
from tests.invariants import acts
from tests.invariants.walk import EXPIRIES, MAKER, SPOTS, TRADERS, USD, Walk, word

Plot = Callable[[Walk], Iterator[None]]
NEVER: Final = -WAD  # equity over requirement that nobody wants to see


def quiet(w: Walk) -> None:
    """Feeds live, level 0, smiles fresh, and every grace over."""
    while w.frozen():
        acts.thaw(w)
    while w.state.breaker().raised:
        acts.calm(w)
    for expiry in [one for one in EXPIRIES if one > w.now]:
        for u in range(len(w.spots)):
            w.publish_smile(u, expiry, w.rng.randint(550_000, 750_000))
    ripen(w, 14)
    while w.level():
        ripen(w, 10)


def ripen(w: Walk, seconds: int) -> None:
    """So much live time at the same prices."""
    end = w.now + seconds
    while w.now < end:
        w.publish_all(min(25, end - w.now))


def seller(w: Walk) -> int | None:
    """A trader that is not for sale, and has sold about as much as its margin bears, and nothing else."""
    names = [name for name in TRADERS if w.account(name) not in w.running()]
    ahead = [expiry for expiry in EXPIRIES if expiry > w.now + 3_600]
    for name in w.rng.sample(names, len(names)):
        account = w.account(name)
        if ahead and w.health(account, Price.BID).equity > -10_000 * WAD:
            cash = w.rng.randint(15_000, 40_000) * USD
            w.do(name, "Clearing", "deposit", account, 0, cash, accounts=(account,), promised=True)
            if _sold_out(w, account, w.rng.choice(ahead)):
                return account
    return None


def _sold_out(w: Walk, account: int, expiry: int) -> bool:
    u = w.rng.randrange(len(w.spots))
    call = w.spots[u] < SPOTS[u]  # what it fears brings the price back
    step = (100.0, 2_000.0)[u]
    strike = step * max(1, round(w.spots[u] / step * w.rng.uniform(0.9, 1.1)))
    package = [word(u, expiry, call, strike, -200.0 * (1.0, 0.05)[u])]
    while package and not acts.bears(w, account, package):
        package = [leg for one in package if (leg := acts.smaller(one))]
    if not package:
        return False
    acts.traded(w, account, w.account(MAKER), package)
    return w.deeds[-1].done


def condemned(w: Walk, health: int = WAD) -> int | None:
    """An account with a fresh auction, whose equity over its requirement has just fallen below ``health``, wad."""
    quiet(w)
    account = seller(w)
    for _ in range(40):
        if account is None or _fallen(w, account, health):
            break
        _fall(w, account)
    while w.level() >= 2 or w.now < w.state.breaker().calm_since + w.sets.auction.grace:
        ripen(w, 10)
    if account is None or account in w.running():
        return account
    scenario = w.health(account, Price.TRIGGER).worst
    w.do(MAKER, "Liquidator", "flag", account, scenario, accounts=(account,))
    return account if w.deeds[-1].done else None


def _fallen(w: Walk, account: int, health: int) -> bool:
    standing = [w.health(account, mode) for mode in (Price.TRIGGER, Price.SPOT, Price.BID)]
    return all(h.equity < h.mm and h.equity * WAD < health * h.mm for h in standing)


def _fall(w: Walk, account: int) -> None:
    """Three per cent where its worst scenario is, at a pace that trips nothing."""
    h = w.health(account, Price.BID)
    for u in range(len(w.spots)):
        if h.underlyings >> u & 1:
            feared = w.sets.risk.scenarios[h.worst >> 8 * u & 0xFF].spot
            w.spots[u] *= 1.03 if feared > 0 else 0.97
    w.publish_all(10)


# ─── plots ────────────────────────────────────────────────────────────────────────────────────────


def sale(w: Walk) -> Iterator[None]:
    """Nobody commits; when the stage is over, it is bought in parts."""
    if (account := condemned(w)) is not None:
        yield
        ripen(w, 20)
        for _ in range(4):
            if account in w.running():
                acts.bought(w, account)
                yield


def secret(w: Walk) -> Iterator[None]:
    if (account := condemned(w)) is not None:
        yield
        yield from acts.stage(w, account)


def late_takeover(w: Walk) -> Iterator[None]:
    if (account := condemned(w)) is not None:
        yield
        ripen(w, 65)
        acts.taken(w, account)
        yield


def insurance(w: Walk) -> Iterator[None]:
    if (account := condemned(w)) is not None:
        yield
        ripen(w, w.rng.randint(15, 50))
        for _ in range(4):
            if account in w.running():
                acts.insured(w, account)
                yield


def rescue(w: Walk) -> Iterator[None]:
    """Its owner pays in what it lacks, and more."""
    if (account := condemned(w)) is not None:
        yield
        name, amount = w.name(account), w.health(account, Price.BID).mm * USD // WAD
        w.do(name, "Clearing", "deposit", account, 0, amount, accounts=(account,), promised=True)
        yield
        acts.cured(w, account)
        yield


def unsold(w: Walk) -> Iterator[None]:
    """Nobody buys until rho1."""
    if (account := condemned(w)) is not None:
        yield
        ripen(w, 62)
        acts.closed_out(w, account)
        yield


def forgotten(w: Walk) -> Iterator[None]:
    """Nobody buys at all: the auction begins again."""
    if (account := condemned(w)) is not None:
        p = w.sets.auction
        yield
        ripen(w, p.t1 + p.t2 + 1)
        acts.restarted(w, account)
        yield


def queue(w: Walk) -> Iterator[None]:
    """So far under water that the fund's caps refuse the rest."""
    if (account := condemned(w, -WAD // 2)) is not None:
        yield
        ripen(w, 14)
        while account in w.running() and w.holds(account).legs:
            held = w.holds(account)
            acts.deleveraged(w, account)
            yield
            if w.holds(account) == held:
                break


def loss(w: Walk) -> Iterator[None]:
    """The same, and nobody serves the queue."""
    if (account := condemned(w, -WAD // 2)) is not None:
        p = w.sets.auction
        yield
        ripen(w, p.t1 + p.adl_delay + 1)
        acts.shared(w, account)
        yield


def morning(w: Walk) -> Iterator[None]:
    """Through the next expiry, and everybody who held it is paid."""
    quiet(w)
    ahead = [expiry for expiry in EXPIRIES if expiry > w.now]
    if ahead and seller(w) is not None:
        yield
        acts.passed(w, ahead)
        for _ in range(3):
            acts.settle(w)
            yield


PLOTS: Final[Mapping[Plot, tuple[str, ...]]] = {  # and what each brings about, at least
    sale: ("flag", "bid"),
    secret: ("commit", "reveal", "award"),
    late_takeover: ("takeover",),
    insurance: ("cover",),
    rescue: ("cure",),
    unsold: ("closeOut",),
    forgotten: ("restart",),
    queue: ("deleverage",),
    loss: ("socialise",),
    morning: ("settle",),
}

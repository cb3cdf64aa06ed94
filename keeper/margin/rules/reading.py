"""A file's tree into rules and book: names resolved, positions netted, volatilities found.

What cannot be is refused, all of it at once; what is unusual but has a meaning is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from keeper.margin.rules.bind import Findings, Keys, Unreadable, bind, missing, nearest, wrong
from keeper.margin.rules.book import Asset, Book, Market, PerpHeld, Scanned, Term
from keeper.margin.rules.parameters import Levy, Range, Rules, of
from keeper.margin.rules.presets import PRESETS
from keeper.margin.rules.schema import Array, Collateral, Feed, File, Perp
from keeper.margin.rules.terms import Maker, Placed

UNMEASURED: Final = ("futures", "spot", "arrays")  # what the standard rules have no rule for
OF_EXPIRY: Final = ("options", "futures", "arrays")
KINDS: Final = ("options", "perps", "futures", "spot", "arrays", "collateral")


def read(tree: Any, rules: str | None = None) -> tuple[Rules, Book]:
    """Rules and book of a file; ``rules`` is stronger than what the file says. Raises Unreadable."""
    found = Findings()
    if not isinstance(tree, dict):
        raise Unreadable([wrong((), "needs an object in braces").fault])
    chosen = found.keep(lambda: _rules(tree, rules))
    rest = {key: one for key, one in tree.items() if key not in ("rules", "parameters")}
    file = found.keep(lambda: bind(File, rest))
    if chosen is None or file is None:
        raise Unreadable(found.faults)
    book = _Reading(file, chosen, found).book()
    if found.faults:
        raise Unreadable(found.faults)
    return chosen, book


def _rules(tree: Mapping[str, Any], stronger: str | None) -> Rules:
    name = stronger or tree.get("rules")
    if name is None:
        raise missing((), 'needs "rules"', f"one of {', '.join(PRESETS)}")
    if not isinstance(name, str) or name not in PRESETS:
        raise wrong(("rules",), "is no rule set", nearest(str(name), PRESETS))
    return bind(Rules, tree.get("parameters", {}), ("parameters",), PRESETS[name])


@dataclass
class _Reading:
    file: File
    rules: Rules
    found: Findings

    def book(self) -> Book:
        for kind in KINDS:
            for at, one in self._all(kind):
                self.found.keep(partial(self._check_name, kind, at, one))
        self._note_directions()
        markets = [self._market(name, feed) for name, feed in self.file.feeds.underlyings.items()]
        markets.append(Market("", 0.0, 1.0, assets=self._assets(None)))
        held = tuple(one for one in markets if not one.empty)
        for market in held:
            self.found.keep(partial(self._check_tables, market.name))
        return Book(self.file.portfolio.cash, self.file.feeds.stable, held, tuple(dict.fromkeys(self.found.notes)))

    # ── names ──

    def _all(self, kind: str) -> Iterator[Placed[Any]]:
        return ((("portfolio", kind, index), one) for index, one in enumerate(getattr(self.file.portfolio, kind)))

    def _of(self, kind: str, name: str, expiry: str | None = None) -> list[Placed[Any]]:
        """What is held of one kind in one underlying (and expiry), with its places."""
        mine = ((at, one) for at, one in self._all(kind) if self._underlying(one) == name)
        return [(at, one) for at, one in mine if expiry is None or one.expiry == expiry]

    def _underlying(self, one: Any) -> str:
        """As it says, or the only one there is; empty when it names none of several."""
        names = list(self.file.feeds.underlyings)
        return str(one.underlying) if one.underlying is not None else names[0] if len(names) == 1 else ""

    def _check_name(self, kind: str, at: Keys, one: Any) -> None:
        names, name = list(self.file.feeds.underlyings), self._underlying(one)
        if self.rules.standard and kind in UNMEASURED:
            raise wrong(at, f"has no margin under {self.rules.name}: it knows no {kind}", "take other rules")
        if name and name not in names:
            raise wrong((*at, "underlying"), f'"{name}" has no feed', nearest(name, names))
        if not name and kind != "collateral":
            raise missing(at, 'needs "underlying"', nearest("", names))

    def _check_expiry(self, feed: Feed, name: str, at: Keys, one: Any) -> None:
        if one.expiry not in feed.expiries and (one.expiry or not isinstance(one, Array)):
            raise wrong((*at, "expiry"), f'"{one.expiry}" is no expiry of {name}', nearest(one.expiry, feed.expiries))

    # ── parameters ──

    def _check_tables(self, name: str) -> None:
        """Depths and ranges have no default that could be right for every underlying."""
        size, scans = self.rules.size, any(one.ranges is not None for one in self.rules.scenarios)
        if size and size.factor and name and of(size.depth, name) is None:
            help = f'"size": {{"depth": {{"{name}": 20000000}}}}, US dollars'
            raise missing(("parameters", "size", "depth"), f'needs a depth for "{name}"', help)
        if scans and name and of(self.rules.ranges, name) is None:
            help = f'"ranges": {{"{name}": {{"up": 0.15, "down": 0.15}}}}'
            raise missing(("parameters", "ranges"), f'needs ranges for "{name}"', help)
        range_ = of(self.rules.ranges, name) or Range()
        if self.rules.inverse and name and any(one.factor(range_) == 0 for one in self.rules.scenarios):
            raise wrong(("parameters", "inverse"), "goes with no scenario that takes spot to 0")
        if sum(group.members.count(name) for group in self.rules.groups) > 1:
            raise wrong(("parameters", "groups"), f'names "{name}" more than once')

    def _note_directions(self) -> None:
        """What published cases contain, and a margin should not."""
        d, f = self.rules.discount, self.rules.factor
        if d and d.long.base > 1:
            self.found.notes.append("discount.long.base is above 1: a shock makes long positions worth more")
        if d and d.short.base < 1:
            self.found.notes.append("discount.short.base is below 1: a shock makes short positions cost less")
        if f.im < f.mm:
            self.found.notes.append("factor.im is below factor.mm: the initial margin may be the easier one")

    # ── one underlying ──

    def _market(self, name: str, feed: Feed) -> Market:
        bare = Market(name, self._spot(feed), feed.confidence, stress=self._stress(feed))
        for kind in OF_EXPIRY:
            for at, one in self._of(kind, name):
                self.found.keep(partial(self._check_expiry, feed, name, at, one))
        makers = [self._maker(bare, one, feed) for one in feed.expiries if self._held(name, one)]
        terms = [self.found.keep(partial(self._term, one, name)) for one in makers]
        return replace(
            bare,
            terms=tuple(sorted((one for one in terms if one), key=lambda one: (one.left, one.name))),
            perp=self.found.keep(lambda: self._perp(feed, self._of("perps", name))),
            units=sum(one.size for _, one in self._of("spot", name)),
            assets=self._assets(bare),
            arrays=tuple(self._array(at, one) for at, one in self._of("arrays", name)),
        )

    def _spot(self, feed: Feed) -> float:
        """Spot, held within the band around the mark where the rules have one and the feed too."""
        if feed.mark is None or self.rules.band is None:
            return feed.spot
        return max(feed.mark * (1 - self.rules.band), min(feed.spot, feed.mark * (1 + self.rules.band)))

    def _stress(self, feed: Feed) -> tuple[float, float]:
        now = feed.stress if feed.stress_now is None else feed.stress_now
        cap = self.rules.stress_cap
        return (min(feed.stress, cap), min(now, cap)) if cap is not None else (1.0, 1.0)

    def _held(self, name: str, expiry: str) -> bool:
        return any(self._of(kind, name, expiry) for kind in OF_EXPIRY)

    def _maker(self, market: Market, expiry: str, feed: Feed) -> Maker:
        keys: Keys = ("feeds", "underlyings", market.name, "expiries", expiry)
        return Maker(self.found, self.rules, self.file.feeds.now, market.spot, keys, feed.expiries[expiry])

    def _term(self, maker: Maker, name: str) -> Term:
        futures = [one for _, one in self._of("futures", name, maker.name)]
        return maker.term(self._of("options", name, maker.name), futures)

    def _perp(self, feed: Feed, held: list[Placed[Perp]]) -> PerpHeld | None:
        size = sum(one.size for _, one in held)
        if size == 0:
            return None
        if feed.perp is None:
            raise missing(held[0][0], "needs a price", 'give its underlying a "perp" in the feeds')
        value = sum(_profit(at, one, feed.perp.price) for at, one in held)
        return PerpHeld(size, feed.perp.price, value, feed.perp.confidence)

    def _assets(self, market: Market | None) -> tuple[Asset, ...]:
        held = self._of("collateral", market.name if market else "")
        made = [self.found.keep(partial(self._asset, at, one, market)) for at, one in held]
        return tuple(one for one in made if one)

    def _asset(self, keys: Keys, one: Collateral, market: Market | None) -> Asset:
        if one.price is None and market is None:
            raise missing(keys, 'needs "price"', "or an underlying whose spot is its price")
        if one.risk_cancelling and market is None:
            raise missing(keys, 'needs "underlying"', "because it is risk cancelling")
        notional = one.amount * (one.price if one.price is not None else market.spot if market else 0.0)
        value = notional / self.file.feeds.stable
        moves = one.price is None if one.risk_cancelling is None else one.risk_cancelling
        units = value / market.spot if market and moves else 0.0
        title = one.asset or f"collateral {market.name if market else keys[-1]}"
        haircut = one.haircut or Levy(self.rules.haircut.mm, self.rules.haircut.extra)
        return Asset(title, value, notional, units, one.confidence, haircut)

    def _array(self, keys: Keys, one: Array) -> Scanned:
        if len(one.losses) != len(self.rules.scenarios):
            what = f"has {len(one.losses)} values for {len(self.rules.scenarios)} scenarios"
            help = "one for each scenario of the rules, in their order"
            self.found.faults.append(wrong((*keys, "losses"), what, help).fault)
        title = one.name or f"array {keys[-1]}"
        return Scanned(title, one.expiry, one.size, one.losses, one.delta, one.value, one.option)


def _profit(keys: Keys, one: Perp, price: float) -> float:
    """US dollars that are not in cash yet."""
    if one.pnl is not None and one.entry is not None:
        raise wrong((*keys, "entry"), 'stands beside "pnl": give one of them')
    profit = one.size * (price - one.entry) if one.entry is not None else one.pnl or 0.0
    return profit + one.funding

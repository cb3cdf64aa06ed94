"""One expiry as a file says it, made ready: time, forward, discount, and its options with their volatilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from keeper.margin import vol
from keeper.margin.rules.bind import Findings, Keys, missing, wrong
from keeper.margin.rules.book import YEAR, Series, Term
from keeper.margin.rules.parameters import Rules, Source
from keeper.margin.rules.schema import Expiry, Forward, Future, Option, Side
from keeper.margin.vol import grow

T = TypeVar("T")
Placed = tuple[Keys, T]  # with where it stands in the file
SURFACES: Final = ("vol", "svi", "smile")


@dataclass(frozen=True)
class Maker:
    """Makes the term of one expiry."""

    found: Findings
    rules: Rules
    now: float | None
    spot: float
    keys: Keys  # of the expiry
    said: Expiry

    @property
    def name(self) -> str:
        return str(self.keys[-1])

    def term(self, options: Sequence[Placed[Option]], futures: Sequence[Future]) -> Term:
        """Raises Refused when the expiry is wrong; series that are wrong are left out, and found."""
        left = self._left()
        parts = self._parts(left) if left else self._settled()
        discount = grow(-self._rate, left / YEAR) if self.rules.discounted else 1.0
        bare = Term(self.name, left, parts.fixed, parts.variable, self._rate, discount)
        series = self._netted(bare, options)
        sure = {
            Source.FORWARD: self.said.forward_confidence,
            Source.RATE: self.said.rate_confidence,
            Source.VOL: min((one.confidence for one in series), default=1.0),
        }
        units, pnl = sum(one.size * one.multiplier for one in futures), sum(one.pnl for one in futures)
        return replace(bare, confidence=sure, series=series, futures=units, futures_pnl=pnl)

    # ── when, and at what forward ──

    def _left(self) -> float:
        """Seconds left; 0 once it has expired."""
        seconds, at = self.said.seconds, self.said.at
        if seconds is not None and at is None:
            return max(seconds, 0.0)
        if at is None or seconds is not None:
            help = '"seconds" that are left, or "at" with the time in "feeds.now"'
            raise missing(self.keys, 'needs "seconds" or "at", and not both', help)
        if self.now is None:
            raise missing(("feeds",), 'needs "now"', f'because "{self.name}" says "at"')
        return max(at - self.now, 0.0)

    @property
    def _rate(self) -> float:
        return max(self.said.rate, 0.0) if self.rules.floor_rates else self.said.rate

    def _parts(self, left: float) -> Forward:
        """What of the forward is fixed, and what can still move."""
        given = self.said.forward
        if isinstance(given, Forward):
            return given
        if given is None:
            growth = grow(self._rate, left / YEAR)
            return Forward(self.said.known * growth, self.spot * self.said.open * growth)
        open_ = left / self.rules.window if left < self.rules.window else 1.0
        return Forward(given * (1 - open_), given * open_)

    def _settled(self) -> Forward:
        if self.said.settlement is not None:
            return Forward(self.said.settlement, 0.0)
        if isinstance(self.said.forward, Forward) and self.said.forward.variable == 0:
            return self.said.forward
        help = "the price at which its options settle; or take them out of the portfolio"
        raise missing(self.keys, 'has expired and needs "settlement"', help)

    # ── options ──

    def _series(self, keys: Keys, one: Option, t: Term) -> Series:
        sigma = self._sigma(keys, one, t) if t.left else 0.0
        sure = min(one.vol_confidence, self.said.vol_confidence)
        return Series(one.type == Side.CALL, one.strike, one.size, one.multiplier, sigma, sure)

    def _sigma(self, keys: Keys, one: Option, t: Term) -> float:
        """The option's own volatility, or that of its price, or that of its expiry."""
        if one.vol is not None and one.price is not None:
            raise wrong((*keys, "price"), 'stands beside "vol": give one of them')
        if one.vol is not None:
            return one.vol
        at, made = ((*keys, "price"), self._implied) if one.price is not None else self._surface(keys)
        try:
            return made(one, t)
        except ValueError as error:
            raise wrong(at, str(error)) from None

    def _surface(self, keys: Keys) -> tuple[Keys, Callable[[Option, Term], float]]:
        """Where the expiry says its volatilities, and how to read them."""
        given = [name for name in SURFACES if getattr(self.said, name) is not None]
        if not given:
            help = f'"vol" or "price" here, or one of {", ".join(SURFACES)} in its expiry "{self.name}"'
            raise missing(keys, "needs a volatility", help)
        if len(given) > 1:
            raise wrong((*self.keys, given[1]), f'stands beside "{given[0]}": give one of them')
        return (*self.keys, given[0]), self._of_surface

    def _of_surface(self, one: Option, t: Term) -> float:
        if s := self.said.svi:
            forward, tau = t.forward if s.forward is None else s.forward, t.tau if s.tau is None else s.tau
            return vol.svi(one.strike, s.a, s.b, s.rho, s.m, s.sigma, forward, tau)
        if m := self.said.smile:
            return vol.smile(one.strike, m.atm, m.skew, m.curv, t.forward, t.root)
        return self.said.vol or 0.0

    def _implied(self, one: Option, t: Term) -> float:
        price, intrinsic = one.price or 0.0, one.strike - self.spot
        if self.rules.put_floor and one.type == Side.PUT and price < intrinsic:
            raise ValueError(f"is below the intrinsic value {intrinsic:.10g}")
        return vol.implied(one.type == Side.CALL, price / t.discount, t.forward, one.strike, t.root)

    def _netted(self, t: Term, options: Sequence[Placed[Option]]) -> tuple[Series, ...]:
        """By strike, puts first; one entry per series, none for those that are flat."""
        kept: dict[tuple[float, bool, float], Series] = {}
        for keys, one in options:
            series = self.found.keep(lambda keys=keys, one=one: self._series(keys, one, t))  # type: ignore[misc]
            if series:
                key = series.strike, series.is_call, series.multiplier
                kept[key] = self._merged(keys, kept[key], series) if key in kept else series
        return tuple(kept[key] for key in sorted(kept) if kept[key].size)

    def _merged(self, keys: Keys, before: Series, one: Series) -> Series:
        if one.sigma != before.sigma:
            what = f"is a second position in {self.name} {one.title}, at another volatility"
            self.found.faults.append(wrong(keys, what).fault)
        self.found.notes.append(f"{self.name} {one.title} is held more than once: netted")
        return replace(one, size=before.size + one.size, confidence=min(before.confidence, one.confidence))

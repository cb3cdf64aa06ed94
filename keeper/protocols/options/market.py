"""From the book to the inputs of the value table: prices, terms and smiles, exact until they become floats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite, nan
from operator import attrgetter
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from keeper.margin import portfolio
from keeper.margin.scan.table import Inputs
from keeper.model import Key, Moment
from keeper.protocols.options import oracle
from keeper.protocols.options.listing import Listing
from keeper.protocols.options.params import RiskParams
from keeper.protocols.options.plain import LOT
from keeper.protocols.options.records import Series, State, smile_key
from keeper.protocols.options.shocks import Price, clamp_price, discount_of, root_of, vol_slope
from keeper.units import BPS, WAD

FEED, SMILE = (attrgetter(*(f.name for f in fields(kind))) for kind in (oracle.Feed, oracle.Smile))  # all there is


class Collateral(NamedTuple):
    """How an asset counts."""

    asset: int
    underlying: int
    unit: int  # native units of one


Collaterals = tuple[Collateral, ...]


def collaterals(state: State, version: int | None = None) -> Collaterals:
    """Every asset that a version of the parameters counts, the current one unless given."""
    version = state.version() if version is None else version
    counted = state.params(version).risk.assets if version else ()
    listed = zip(state.clearing().assets, counted, strict=False)
    found = tuple(Collateral(i, c.underlying, asset.unit) for i, (asset, c) in enumerate(listed) if i)
    for one in found:
        if not one.unit > 0:
            raise ValueError(f"asset {one.asset} has unit {one.unit}: nothing can be counted in it")
    return found


def units(amounts: Sequence[int], counted: Collaterals) -> Mapping[int, float]:
    """Collateral by underlying, in lots."""
    found: dict[int, float] = {}
    for asset, underlying, unit in counted:
        if asset < len(amounts) and amounts[asset]:
            found[underlying] = found.get(underlying, 0.0) + amounts[asset] * (WAD // LOT) / unit
    return found


class Term(NamedTuple):
    """One expiry of one underlying: seconds left, the known part of the settlement average, and the smile."""

    left: float
    fixed: float
    open: float
    atm: float
    skew: float
    curv: float
    rate: float
    confidence: float


NOTHING = Term(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
MOMENTS = 2  # this one, and the next


@dataclass(frozen=True)
class Listed:
    """What does not change about the series held, by row of the table, (R,) each."""

    series: Mapping[int, Series]
    terms: tuple[tuple[int, int], ...]  # every (underlying, expiry)
    smiles: tuple[Key, ...]  # of these
    under: NDArray[np.int64]
    is_call: NDArray[np.bool_]
    strike: NDArray[np.float64]
    term: NDArray[np.int64]  # index into ``terms``; one past its end for rows that are no series
    rows: NDArray[np.int64]
    count: int  # underlyings named


class Parts(NamedTuple):
    """All that the terms of a listing are made of at a moment."""

    config: oracle.Config
    sure: tuple[int | None, ...]  # confidence of each price, bps
    each: tuple[oracle.Smile | Term | str, ...]  # by expiry, see ``_parts``


class Dated(NamedTuple):
    """The terms of a listing at one moment."""

    held: Listed
    parts: Parts
    each: NDArray[np.float64]  # (8, R)
    bad: Mapping[int, str]  # by number of the term, why it has no value


Dates = dict[int, Dated]  # by timestamp: the last that were asked for, to be used as long as they are made of the same


def quote(state: State, underlying: int, at: Moment) -> oracle.Prices | None:
    feed = state.feed(underlying)
    return oracle.prices(feed, at.timestamp, state.config()) if feed else None


def listed(listing: Listing) -> Listed:
    """Made once for each state of the listing."""
    if listing.arranged is None:
        live, size = listing.live(), len(listing)
        terms = tuple(sorted({(s.underlying, s.expiry) for s in live.values()}))
        under, strike, is_call = np.zeros(size, np.int64), np.ones(size), np.zeros(size, bool)
        which, number = np.full(size, len(terms)), {term: i for i, term in enumerate(terms)}
        for row, s in live.items():
            under[row], strike[row], is_call[row] = s.underlying, s.strike / WAD, s.is_call
            which[row] = number[s.underlying, s.expiry]
        rows = np.array(sorted(live), np.int64)
        smiles, count = tuple(smile_key(*term) for term in terms), int(under.max(initial=0)) + 1
        listing.arranged = Listed(live, terms, smiles, under, is_call, strike, which, rows, count)
    return cast(Listed, listing.arranged)


def inputs(
    state: State, listing: Listing, at: Moment, mode: Price, params: RiskParams, dates: Dates | None = None
) -> Inputs:
    """The market as the contract would see it at ``at``; series that it could not value are refused.

    ``dates``: what is kept from one look to the next. ValueError, naming the underlying and the expiry, where a feed or
    a smile is none.
    """
    held, config, count = listed(listing), state.config(), len(params.depths)
    quotes, prices, stretches, clamped = list[oracle.Prices | None](), list[float](), list[float](), False
    for u in range(max(count, held.count)):
        feed, quote, price, wider = state.feed(u), None, nan, 1.0
        try:
            if feed is not None:
                quote = _sound(feed, at.timestamp, config)
                wider = _stretch(feed, at.timestamp, config, mode, params.stress_cap)
                if u < count:
                    exact = clamp_price(quote, mode, params)
                    price, clamped = exact / WAD, clamped or exact != quote.spot
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValueError(f"underlying {u}: {error}") from error
        quotes.append(quote)
        prices.append(price)
        stretches.append(wider)
    del quotes[count:]
    made = dated(state, held, quotes, at, {} if dates is None else dates)
    rows, refused = held.rows, dict[int, str]()
    if made.bad:
        lost = np.isin(held.term, list(made.bad))
        rows = rows[~lost[rows]]
        why = ((row, made.bad[int(held.term[row])]) for row in np.flatnonzero(lost).tolist())
        refused = {row: f"{held.series[row].name}: {reason}" for row, reason in why}
    market = np.array((prices, stretches), np.float64)
    return Inputs(market[0], market[1], held.under, held.is_call, held.strike, made.each, rows, refused, clamped)


def _sound(feed: oracle.Feed, now: int, config: oracle.Config) -> oracle.Prices:
    """What a feed says, in which everything is a number."""
    _numbers("its feed", FEED(feed))
    return oracle.prices(feed, now, config)


def _numbers(what: str, values: Iterable[float]) -> None:
    """One that is none makes their sum none; between integers it would pass for a limit, and not be seen."""
    if not isfinite(sum(values)):
        raise ValueError(f"{what} holds something that is no number")


def dated(state: State, held: Listed, quotes: Sequence[oracle.Prices | None], at: Moment, kept: Dates) -> Dated:
    """The terms at a moment: those that were ``kept``, where they are made of the same, else new ones in their place.

    A new price changes none that is away from its expiry and has a smile that is not old: such a term is made of its
    smile, of time and of how sure the price is.
    """
    parts, made = _parts(state, held, quotes, at), kept.get(at.timestamp)
    if made is not None and made.held is held and made.parts == parts:
        return made
    terms, now = list[Term | str](), at.timestamp
    for (u, expiry), part in zip(held.terms, parts.each, strict=True):
        if isinstance(part, oracle.Smile):
            part = _worked(part, state, u, quotes[u], expiry, now, parts.config)
        terms.append(part)
    bad = {i: t for i, t in enumerate(terms) if isinstance(t, str)}
    each = np.array([NOTHING if isinstance(t, str) else t for t in (*terms, NOTHING)]).T
    kept.pop(now, None)
    made = kept[now] = Dated(held, parts, np.ascontiguousarray(each[:, held.term]), bad)
    if len(kept) > MOMENTS:
        del kept[next(iter(kept))]
    return made


def ahead(state: State, listing: Listing, at: Moment, params: RiskParams, kept: Dates) -> None:
    """Have ready what a look at ``at`` takes of time alone, for the screen and for the exact telling."""
    held, quotes = listed(listing), [quote(state, u, at) for u in range(len(params.depths))]
    dated(state, held, quotes, at, kept)
    for u, expiry in held.terms:
        left, smile = max(0, expiry - at.timestamp), state.smile(u, expiry)
        root_of(left), vol_slope(params, left)
        if smile is not None:
            discount_of(smile.rate * 10**12, left)


def _parts(state: State, held: Listed, quotes: Sequence[oracle.Prices | None], at: Moment) -> Parts:
    """Of an expiry the smile, where that, time and the price's confidence say the rest: before its settlement window,
    and while the smile is not old. Else what comes of it, be it why it has no value."""
    config, now, view = state.config(), at.timestamp, state.view
    young, near = now - config.smile_age, now + config.window
    each = list[oracle.Smile | Term | str]()
    for (u, expiry), key in zip(held.terms, held.smiles, strict=True):
        smile, quote = view.get(key), quotes[u] if u < len(quotes) else None
        if quote is not None and smile is not None and near <= expiry and _since(smile, young):
            each.append(smile)
        elif u >= len(quotes):
            each.append("its underlying is not in the parameters")
        else:
            each.append(_worked(smile, state, u, quote, expiry, now, config))
    return Parts(config, tuple(q and q.confidence for q in quotes), tuple(each))


def _since(smile: oracle.Smile, time: int) -> bool:
    return type(smile.time) is int and smile.time >= time


def _worked(
    smile: oracle.Smile | None,
    state: State,
    u: int,
    quote: oracle.Prices | None,
    expiry: int,
    now: int,
    config: oracle.Config,
) -> Term | str:
    """One expiry, or why it has no value."""
    feed = state.feed(u)
    if feed is None or quote is None:
        return "its underlying has no price"
    if smile is None:
        return "its expiry has no smile"
    try:
        return _term(smile, feed, quote, state.steps(u), expiry, now, config)
    except LookupError as error:
        return f"its settlement average is not known: {error}"
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"expiry {expiry} of underlying {u}: {error}") from error


def _term(
    smile: oracle.Smile,
    feed: oracle.Feed,
    quote: oracle.Prices,
    steps: Sequence[oracle.Step],
    expiry: int,
    now: int,
    config: oracle.Config,
) -> Term:
    """LookupError where the settlement average is not known."""
    fixed, open_ = oracle.observed(feed, steps, expiry, now, config)
    _numbers("its smile", SMILE(smile))
    s = oracle.smile(smile, feed, now, config)
    confidence = min(s.confidence, quote.confidence) / BPS
    known = (float(expiry - now), fixed / WAD, open_ / WAD)
    return Term(*known, s.atm / WAD, s.skew / WAD, s.curv / WAD, s.rate / WAD, confidence)


def stretch(state: State, underlying: int, at: Moment, mode: Price, cap: int) -> float:
    """What the price moves of all scenarios are multiplied by, as volatility asks for: ``Risk._stretch``."""
    feed = state.feed(underlying)
    return 1.0 if feed is None else _stretch(feed, at.timestamp, state.config(), mode, cap)


def _stretch(feed: oracle.Feed, now: int, config: oracle.Config, mode: Price, cap: int) -> float:
    if cap <= WAD:
        return 1.0
    stress = oracle.stress(feed, now, config)
    return min(stress.at_once if mode == Price.INITIAL else stress.eased, cap) / WAD


def make_rules(p: RiskParams) -> portfolio.Rules:
    """The parameter set in floats. ValueError, naming the parameter, where nothing can be reckoned with it."""
    s = p.scenarios
    scenarios = portfolio.Scenarios(
        np.array([x.spot for x in s]) / BPS,
        np.array([int(x.kind) for x in s]),
        np.array([x.vol for x in s]) / BPS,
        np.array([x.weight for x in s]) / BPS,
    )
    made = portfolio.Rules(
        factor=(p.mm_factor / WAD, p.im_factor / WAD),
        floor_gross=(p.floor_gross_mm / WAD, p.floor_gross_im / WAD),
        floor_naked=p.floor_naked / WAD,
        size=p.lambda_ / WAD,
        doubt=p.confidence / WAD,
        power=(p.vol_power_short / WAD, p.vol_power_long / WAD),
        nearest=float(p.vol_days_floor),
        depths=np.array([d / WAD for d in p.depths]),
        asset_of=[-1, *(a.underlying for a in p.assets[1:])],
        haircuts=np.array([(a.haircut_mm / WAD, a.haircut_im / WAD) for a in p.assets]),
        scenarios=scenarios,
    )
    _check(made, p.stress_cap)
    return made


def _check(r: portfolio.Rules, cap: float) -> None:
    """Chains bound these; whoever builds a set by hand may not have."""
    s, never_below_0 = r.scenarios, ("factor", "floor_gross", "floor_naked", "size", "doubt", "haircuts")
    told = {name: np.asarray(getattr(r, name), np.float64) for name in (*never_below_0, "power", "nearest", "depths")}
    told |= {"price move": s.spot, "vol move": s.vol, "weight": s.weight, "stress_cap": np.array(cap, np.float64)}
    wrong = [name for name, values in told.items() if not np.isfinite(values).all()]
    wrong += [name for name in (*never_below_0, "weight") if (told[name] < 0).any()]
    if wrong:
        raise ValueError(f"parameter {wrong[0]} of the set is {told[wrong[0]].tolist()}")
    if not len(s.spot) or (s.spot <= -1).any():
        raise ValueError(f"the scenarios of the set move prices by {s.spot.tolist()}: none, or all is lost")
    if (r.depths <= 0).any():
        raise ValueError(f"depth of underlying {int((r.depths <= 0).argmax())} is not above 0")

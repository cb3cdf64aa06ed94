"""When others buy: the hazard of the first rival in an auction, learnt from public events.

An auction is watched block by block. *At risk* is each block in which a rival could have bought and we looked on;
an *event* is one in which a rival did. Our own wins are censored: what happens in the same block is not seen. The
price is placed by ``z`` = what a bid would bring us net, as a share of the auction's scale, because rivals who
price the same account move together (strategies.md 1). Hazard by bin:

    h = (w h0 + events) / (w + at risk)          h0 = pA hA + (1 - pA) hC

``hA``: we are alone. ``hC``: a crowd, whose thresholds in z are normal. ``pA`` by their likelihoods. The first block
in which an auction can be bought from has a hazard of its own: all who are below its opening price land there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import erfc, exp, log
from typing import Final

from keeper.model import Fact, Key, Kind, Opportunity, Reason
from keeper.units import WAD

BIN: Final = WAD // 200  # of z
LOW: Final = -20  # first bin
BINS: Final = 121
OPENING: Final = BINS  # the place after the bins
ALONE: Final = 0.002  # per block
CROWD: Final = (0.02, 0.03)  # mean and deviation of the thresholds, in z
WEIGHT: Final = 5  # blocks that the prior counts for
SPREAD: Final = 2  # bins on each side over which counts are pooled
MEMORY: Final = 4_096  # observations
INCLUDED: Final = WAD * 97 // 100  # to be mined in the block that was meant
SOLD: Final = frozenset({"sold", "liquidated"})  # facts by which an offer is gone


@dataclass(frozen=True, slots=True)
class Odds:
    """Implements ``model.Odds`` for one auction. ``scale`` usd; ``opens`` its first timestamp."""

    hazards: Sequence[int]  # wad, by bin, then the opening block
    scale: int
    opens: int
    block_time: int
    first: int  # wad, probability to be the first of two in one block

    def hazard(self, net: int, at: int) -> int:
        opening = self.opens <= at < self.opens + self.block_time
        return self.hazards[OPENING] if opening else self.hazards[place(net, self.scale)]

    def chance(self, net: int, at: int) -> int:
        h = self.hazard(net, at)
        return INCLUDED * (WAD - h + h * self.first // WAD) // WAD


def place(net: int, scale: int) -> int:
    """The bin of a margin."""
    return min(BINS - 1, max(0, net * WAD // max(scale, 1) // BIN - LOW))


def _crowd() -> tuple[float, ...]:
    """Hazard of the first threshold of a normal, bin by bin; what lies below the first bin counts as there."""
    mean, deviation = CROWD
    edges = [(LOW + i) * (BIN / WAD) for i in range(BINS + 1)]
    above = [0.5 * erfc((x - mean) / deviation / 2**0.5) for x in edges]
    return tuple(min(0.9, max(0.0, 1 - b / a)) if a > 1e-9 else 0.9 for a, b in pairwise(above))


CROWDED: Final = (*_crowd(), 0.5)  # and of the opening block


@dataclass(frozen=True, slots=True)
class Seen:
    """One auction at one block that was to come."""

    protocol: str
    key: Key
    place: int


@dataclass
class Rivals:
    """What a kernel has learnt. Rolling blocks back takes back what they taught."""

    block_time: int
    _watched: tuple[int, tuple[Seen, ...]] = (0, ())
    _learnt: deque[tuple[int, int, bool]] = field(default_factory=lambda: deque(maxlen=MEMORY))  # block, place, event
    _sales: deque[tuple[int, bool]] = field(default_factory=lambda: deque(maxlen=MEMORY // 16))  # block, ours
    _risk: list[int] = field(default_factory=lambda: [0] * (BINS + 1))
    _events: list[int] = field(default_factory=lambda: [0] * (BINS + 1))
    _table: tuple[int, ...] = ()
    _races: dict[Kind, tuple[int, int]] = field(default_factory=dict)  # of our own: won, tried
    _met: int = 0  # wad; rivals expected in the blocks of our bids
    _beaten: int = 0  # wad; bids of ours that came second

    # ── learning ──

    def watch(self, block: int, found: Iterable[Opportunity]) -> None:
        """What is on offer in ``block``, the next one."""
        seen = tuple(Seen(o.protocol, o.key, self._place(o)) for o in found if o.kind is Kind.BID and o.curve)
        number, before = self._watched
        self._watched = block, (*before, *seen) if number == block else seen

    def _place(self, o: Opportunity) -> int:
        opening = o.opens <= o.at.timestamp < o.opens + self.block_time
        return OPENING if opening else place(o.net, o.scale)

    def block(self, number: int, facts: Collection[tuple[str, Fact]], ours: Collection[bytes]) -> None:
        """Learn from a block: (protocol, fact) each; ``ours`` are the addresses that buy for us."""
        sold = {(protocol, f.key): f.who in ours for protocol, f in facts if f.name in SOLD}
        self._sales.extend((number, own) for own in sold.values())
        watched, seen = self._watched
        for one in seen if watched == number else ():
            own = sold.get((one.protocol, one.key))
            if own is not True:
                self._count(number, one.place, own is False)
        self._watched = (0, ())
        self._table = ()

    def _count(self, number: int, at: int, event: bool) -> None:
        if len(self._learnt) == MEMORY:
            self._forget(*self._learnt.popleft()[1:])
        self._learnt.append((number, at, event))
        self._risk[at] += 1
        self._events[at] += event

    def _forget(self, at: int, event: bool) -> None:
        self._risk[at] -= 1
        self._events[at] -= event

    def rollback(self, to: int) -> None:
        while self._learnt and self._learnt[-1][0] > to:
            self._forget(*self._learnt.pop()[1:])
        while self._sales and self._sales[-1][0] > to:
            self._sales.pop()
        self._watched, self._table = (0, ()), ()

    def ended(self, o: Opportunity, won: bool, why: Reason | None) -> None:
        """One of our own attempts."""
        if o.odds is not None:
            self._met += o.odds.hazard(o.net, o.at.timestamp)
            self._beaten += WAD * (why is Reason.OUTBID)
        before = self._races.get(o.kind, (0, 0))
        self._races[o.kind] = before[0] + won, before[1] + 1

    # ── judging ──

    def expect(self, o: Opportunity) -> Opportunity:
        """The same with its chance: of a bid now, of the auction that a flag would start, of a race."""
        if o.kind is Kind.BID:
            odds = Odds(self.hazards, o.scale, o.opens, self.block_time, self.first)
            return replace(o, odds=odds, chance=odds.chance(o.net, o.at.timestamp))
        if o.kind is Kind.FLAG:
            return replace(o, chance=self.share())
        if o.kind in (Kind.TAKEOVER, Kind.LIQUIDATE):
            won, tried = self._races.get(o.kind, (0, 0))
            return replace(o, chance=WAD * (3 + won) // (4 + tried))
        return o

    def share(self) -> int:
        """Wad of the sales that were ours; begins at a half."""
        return WAD * (1 + sum(own for _, own in self._sales)) // (2 + len(self._sales))

    @property
    def first(self) -> int:
        """Wad; of the rivals that were to be expected in the blocks of our bids, those who did not come before us."""
        return WAD - (WAD + self._beaten) * WAD // max(2 * WAD + self._met, WAD + self._beaten)

    @property
    def hazards(self) -> tuple[int, ...]:
        """Wad per block, by place."""
        if not self._table:
            alone = self._alone()
            self._table = tuple(self._hazard(i, alone) for i in range(BINS + 1))
        return self._table

    def _hazard(self, i: int, alone: float) -> int:
        near = (i,) if i == OPENING else range(max(0, i - SPREAD), min(BINS, i + SPREAD + 1))
        prior = alone * ALONE + (1 - alone) * CROWDED[i]
        events, risk = sum(self._events[j] for j in near), sum(self._risk[j] for j in near)
        return round((WEIGHT * prior + events) / (WEIGHT + risk) * 10**6) * 10**12

    def _alone(self) -> float:
        """Probability that nobody else is there; even before anything was seen."""
        odds = 0.0
        for events, risk, crowd in zip(self._events, self._risk, CROWDED, strict=True):
            c = min(0.99, max(1e-4, crowd))
            odds += events * log(ALONE / c) + (risk - events) * log((1 - ALONE) / (1 - c))
        return 1 / (1 + exp(-max(-30.0, min(30.0, odds))))

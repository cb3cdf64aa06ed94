"""What is learnt about rivals from public events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist

import pytest

from keeper.core.rivals import BIN, BINS, LOW, Rivals
from keeper.model import Costs, Decision, Fact, Key, Kind, Moment, Needs, Opportunity, Reason, Wait
from keeper.units import WAD, wad
from strategies.dutch import Dutch

US, THEM, STEP = b"\1" * 20, b"\2" * 20, 12
Q = wad(100_000)  # requirement of an account


@dataclass(frozen=True)
class Rising:
    """``rate`` of the requirement more in each block, until ``end``."""

    start: int
    rate: int = wad("0.005")
    end: int = 2**40

    def gain(self, at: int) -> int:
        return Q * max(0, min(at, self.end) - self.start) * self.rate // STEP // WAD

    def reaches(self, gain: int) -> int | None:
        later = (at for at in range(self.start, min(self.end, self.start + 2_000 * STEP) + 1, STEP))
        return next((at for at in later if self.gain(at) >= gain), None)


def offered(block: int, curve: Rising, n: int = 1) -> Opportunity:
    at, costs = Moment(block, block * STEP, 0), Costs(carry=Q // 50)
    head = (n.to_bytes(24), "house", Key("account", n), Kind.BID, at, curve.gain(at.timestamp), costs, Needs(gas=1))
    return Opportunity(*head, None, curve, opens=curve.start, scale=Q)


def sold(n: int, who: bytes) -> tuple[str, Fact]:
    return "house", Fact("sold", Key("account", n), who, b"", {})


def auction(
    rivals: Rivals, start: int, threshold: float, dutch: Dutch | None = None, kink: int = 400
) -> tuple[int, int]:
    """(our net gain, blocks it took) when one rival buys as soon as our net would be that share of Q."""
    curve = Rising(start * STEP, end=(start + kink) * STEP)
    for block in range(start, start + 400):
        o = rivals.expect(offered(block, curve))
        rivals.watch(block, [o])
        decision: Decision | None = dutch.decide(o) if dutch else None
        if decision is not None and not isinstance(decision, Wait):
            rivals.block(block, [sold(1, US)], {US})
            return o.net, block - start
        if o.net >= threshold * Q:
            rivals.block(block, [sold(1, THEM)], {US})
            return 0, block - start
        rivals.block(block, [], {US})
    raise AssertionError("nobody bought")


def test_hazard_is_learnt_where_rivals_buy() -> None:
    rivals, crowd, dice = Rivals(STEP), NormalDist(0.05, 0.01), Random(1)
    for n in range(150):
        auction(rivals, 1_000 * n, max(0.0, crowd.inv_cdf(dice.random())))
    h = {z: rivals.hazards[round(z * WAD) // BIN - LOW] / WAD for z in (0.0, 0.02, 0.05, 0.07)}
    assert h[0.0] < 0.03 and h[0.02] < 0.05
    assert h[0.05] == pytest.approx(0.3, abs=0.15) and h[0.07] > 0.4


def test_alone_the_keeper_learns_that_it_is_alone() -> None:
    rivals = Rivals(STEP)
    before = max(rivals.hazards[:-1])
    gains = [auction(rivals, 1_000 * n, 9.0, Dutch(), kink=60)[0] for n in range(60)]
    assert max(rivals.hazards[-LOW : -LOW + 20]) < wad("0.02") < before
    assert gains[-1] == Q * 28 // 100


def test_waiting_for_what_is_likely_beats_bidding_at_break_even() -> None:
    dice, rivals = Random(2), Rivals(STEP)
    got = sum(auction(rivals, 1_000 * n, dice.uniform(0.02, 0.08), Dutch())[0] for n in range(300))
    dice, even = Random(2), 0
    for _ in range(300):
        even += wad(25) if dice.uniform(0.02, 0.08) > 0 else 0
    assert got > 10 * even
    dice, best = Random(2), 0
    thresholds = [dice.uniform(0.02, 0.08) for _ in range(300)]
    best = max(sum(int(z * Q) for t in thresholds if t > z) for z in (0.005 * k for k in range(20)))
    assert got > 0.7 * best


def test_own_wins_are_no_evidence_about_others() -> None:
    rivals = Rivals(STEP)
    rivals.watch(5, [offered(5, Rising(0))])
    before = rivals.hazards
    rivals.block(5, [sold(1, US)], {US})
    assert rivals.hazards == before
    assert rivals.share() == WAD * 2 // 3


def test_rolled_back_blocks_teach_nothing() -> None:
    def learn(rivals: Rivals, blocks: range) -> None:
        for block in blocks:
            rivals.watch(block, [offered(block, Rising(0))])
            rivals.block(block, [sold(1, THEM)] if block % 3 == 0 else [], {US})

    a, b = Rivals(STEP), Rivals(STEP)
    learn(a, range(5, 20))
    learn(b, range(5, 30))
    b.rollback(19)
    assert (a.hazards, a.share()) == (b.hazards, b.share())


def test_only_the_block_that_was_meant_is_judged() -> None:
    rivals = Rivals(STEP)
    before = rivals.hazards
    rivals.watch(5, [offered(5, Rising(0))])
    rivals.block(6, [sold(1, THEM)], {US})
    assert rivals.hazards == before


def test_coming_second_lowers_the_chance_in_one_block() -> None:
    rivals = Rivals(STEP)
    o = rivals.expect(offered(10, Rising(0)))
    before = rivals.first
    rivals.ended(o, False, Reason.OUTBID)
    lost = rivals.first
    rivals.ended(o, True, None)
    assert lost < before and lost < rivals.first < WAD


def test_a_kink_is_not_waited_for_for_ever() -> None:
    """Nobody else there: bid at the last block before the curve stops rising, not never."""
    rivals = Rivals(STEP)
    for n in range(80):
        auction(rivals, 1_000 * n, 1.0)
    curve = Rising(0, end=60 * STEP)
    o = rivals.expect(offered(70, curve))
    assert not isinstance(Dutch().decide(o), Wait)
    waits = Dutch().decide(rivals.expect(offered(30, curve)))
    assert isinstance(waits, Wait) and waits.until <= 60 * STEP


def test_the_ceiling_rises_with_the_costs_and_falls_with_the_hazard() -> None:
    rivals = Rivals(STEP)
    o = rivals.expect(offered(1, Rising(0)))
    dear = replace(o, costs=Costs(carry=Q // 20))
    assert _due(o) <= _due(dear)
    for n in range(40):
        auction(rivals, 1_000 * n, 1.0)
    assert _due(o) <= _due(rivals.expect(o))


def _due(o: Opportunity) -> int:
    decision = Dutch().decide(o)
    return decision.until if isinstance(decision, Wait) else o.at.timestamp


def test_bins_hold_every_margin() -> None:
    rivals = Rivals(STEP)
    assert len(rivals.hazards) == BINS + 1
    for gain in (-(10**40), 0, 10**40):
        o = replace(offered(1, Rising(0)), gain=gain)
        assert 0 <= rivals.expect(o).chance <= WAD

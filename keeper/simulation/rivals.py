"""Rival keepers of stated skill: they flag, and bid once the discount is worth it to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from keeper.model import Call, Moment
from keeper.protocols.options import auction, sealed
from keeper.protocols.options.risk import Market, Price, portfolio
from keeper.protocols.options.sealed import Phase
from keeper.simulation.node import CHAIN_ID
from keeper.simulation.wallets import Wallet
from keeper.simulation.world import World
from keeper.units import WAD, wad

LIMIT: Final = 10**40  # usd wad: rivals trust the discount, and set no price limit


@dataclass(frozen=True, slots=True)
class Skill:
    """``cost``: rho at which a bid breaks even, give or take ``spread``; ``margin`` is wanted on top.

    ``sight``: share of accounts it watches; ``delay``: blocks between seeing and sending; ``whole``: never partial.
    """

    name: str
    cost: int
    spread: int
    margin: int
    sight: int
    delay: int


SKILLS: Final = (
    Skill("greedy", cost=wad("0.03"), spread=wad("0.02"), margin=wad("0.005"), sight=wad("0.8"), delay=1),
    Skill("slow", cost=wad("0.03"), spread=wad("0.02"), margin=wad("0.01"), sight=wad("0.9"), delay=4),
    Skill("patient", cost=wad("0.03"), spread=wad("0.02"), margin=wad("0.05"), sight=wad("0.7"), delay=1),
    Skill("casual", cost=wad("0.05"), spread=wad("0.04"), margin=wad("0.02"), sight=wad("0.4"), delay=2),
)
BYSTANDER: Final = Skill("bystander", cost=wad("0.6"), spread=0, margin=0, sight=wad(1), delay=1)  # wants too much


def skill_of(index: int, harsh: bool = False) -> Skill:
    """In a harsh market the first only looks on: it flags, and is invited, and never asks less than it may."""
    skills = (BYSTANDER, *SKILLS) if harsh else SKILLS
    return skills[index % len(skills)]


def act(world: World, at: Moment) -> Iterator[tuple[Wallet, Call]]:
    """What the rivals send for the block at ``at``, knowing the state of the block before it."""
    for index, wallet in enumerate(world.rivals):
        skill = skill_of(index, world.size.harsh)
        yield from _sealed(world, wallet, skill, at)
        yield from _bids(world, wallet, skill, at)
        yield from _flags(world, wallet, skill, at)


def _sealed(world: World, wallet: Wallet, skill: Skill, at: Moment) -> Iterator[tuple[Wallet, Call]]:
    """The invited bid what they would wait for in public, for everything, and always open their bids."""
    state, call = world.state, world.c["Sealed"].call
    if not state.is_guest(wallet.address):
        return
    for key in state.view.keys("auction"):
        running = state.auction(key.id)
        if running is None or not running.flagged_at or not _sees(skill, wallet, key.id):
            continue
        phase, bids = sealed.phase(state, key.id, running, at.timestamp), state.sealed(key.id, running.flagged_at)
        mine = next((b for b in bids if b.bidder == wallet.account), None)
        rho = min(
            _threshold(skill, wallet, key.id, running.flagged_at), state.params(running.version).auction.rho_sealed
        )
        salt = sealed.salt(wallet.key, key.id, running.flagged_at)
        if phase is Phase.COMMIT and mine is None:
            bid = (wallet.account, rho, WAD)
            hash_ = sealed.hash_of(CHAIN_ID, world.dep.sealed, key.id, running.flagged_at, bid, salt)
            yield wallet, Call(world.dep.sealed, call("commit", key.id, wallet.account, hash_, bytes(32)))
        if phase is Phase.REVEAL and mine is not None and mine.hash:
            yield wallet, Call(world.dep.sealed, call("reveal", key.id, wallet.account, rho, WAD, salt))
        if phase is Phase.AWARD and mine is not None and mine.most and sealed.queue(bids)[0] == mine:
            yield wallet, Call(world.dep.sealed, call("award", key.id))


def _bids(world: World, wallet: Wallet, skill: Skill, at: Moment) -> Iterator[tuple[Wallet, Call]]:
    state, bid = world.state, world.c["Liquidator"].call
    for key in state.view.keys("auction"):
        running, record = state.auction(key.id), state.account(key.id)
        if running is None or record is None or not running.flagged_at or not _sees(skill, wallet, key.id):
            continue
        params = state.params(running.version)
        pf = portfolio(record, state.clearing())
        h = Market(state, params.risk, at.timestamp, Price.BID).assess(pf, running.scenario)
        live, rounds = auction.elapsed(state, running, h.underlyings, at.timestamp)
        rho = auction.rho_paid(params.auction, h.equity, h.mm, auction.rho_at(params.auction, live))
        seen = running.flagged_at + skill.delay * world.block_time
        if rounds < params.auction.bid_rounds or live < params.auction.bid_delay or at.timestamp < seen:
            continue
        if sealed.phase(state, key.id, running, at.timestamp) not in (Phase.NONE, Phase.OVER):
            continue
        if rho >= _threshold(skill, wallet, key.id, running.flagged_at):
            data = bid("bid", key.id, wallet.account, WAD, LIMIT, record.change_id)
            yield wallet, Call(world.dep.liquidator, data)


def _flags(world: World, wallet: Wallet, skill: Skill, at: Moment) -> Iterator[tuple[Wallet, Call]]:
    """Those that were already unhealthy ``delay`` blocks ago and still have no auction."""
    for account, (since, scenario) in world.unhealthy.items():
        running = world.state.auction(account)
        if running and running.flagged_at:
            continue
        if at.number - since >= skill.delay and _sees(skill, wallet, account):
            yield wallet, Call(world.dep.liquidator, world.c["Liquidator"].call("flag", account, scenario))


def _sees(skill: Skill, wallet: Wallet, account: int) -> bool:
    return _draw(wallet, account) < skill.sight


def _threshold(skill: Skill, wallet: Wallet, account: int, auction_: int) -> int:
    """Own estimate of the break-even rho of this account, plus the margin."""
    error = (2 * _draw(wallet, account, auction_) - WAD) * skill.spread // WAD
    return max(0, skill.cost + error) + skill.margin


def _draw(wallet: Wallet, *what: int) -> int:
    """Uniform in [0, 1), wad; the same for the same participant and thing."""
    text = ":".join(map(str, (wallet.seed, wallet.name, *what)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) * WAD >> 64

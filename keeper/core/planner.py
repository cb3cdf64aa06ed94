"""Decisions into transaction intents, within what all of them share: own capital, slots in flight, block gas.

Upkeep comes first. Of the rest, the set with the highest expected profit is taken (``selection.py``), on a linear
picture of own capital: what a bid may lose counts, what it may gain does not, because any of them may be lost to a
rival. Bids that wait for a better price compete for capital too, at what they are expected to bring then: a poor
purchase does not take what a better one will need soon. The adapters then judge the set exactly, and what the picture
refused is offered to that exact judgement too.

All protocols sit at one table (``table.py``): one set is chosen for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from keeper.core.items import Item, Room
from keeper.core.scanner import DUTIES, UNPAID, UPKEEP
from keeper.core.selection import Selected, select
from keeper.core.table import Table, gas_limit
from keeper.model import Action, Call, Decision, Kind, Moment, Opportunity, Reason, Skip, TxIntent, Wait

TX_GAS: Final = 2**24  # most gas of one transaction (EIP-7825)
TRIES: Final = 8  # exact judgements of what the linear picture refused


@dataclass(frozen=True, slots=True)
class Limits:
    max_inflight: int = 16
    max_fee: int = 10**18  # wei; the most that the gas of one transaction may cost
    min_profit: int = 0  # usd, expected, of anything but upkeep
    block_gas: int = 25_000_000  # units that our transactions may take of one block
    tip: int = 10**9  # wei per gas, assumed when a budget is set
    fee_share: int = 2  # at most 1/fee_share of the expected profit is paid for gas beyond what is expected
    horizon: int = 60  # seconds after which an intent is stale


def choose(
    decisions: Sequence[Decision], table: Table, at: Moment, inflight: Sequence[Opportunity], limits: Limits
) -> list[Decision]:
    """The same decisions in the same order; actions that are not in the best set become skips.

    They may be of any protocol at the table. ``inflight`` is what is on its way already, of all protocols: it takes
    slots, gas and capital like the rest. Raises ``table.Failed`` when an adapter does.
    """
    plan = _Plan(table, at, list(inflight), limits)
    wanted = [d.opportunity for d in decisions if not isinstance(d, Wait | Skip)]
    plan.upkeep(sorted((o for o in wanted if o.kind in UPKEEP), key=lambda o: UPKEEP.index(o.kind)))
    plan.best([o for o in wanted if o.kind not in UNPAID], [d for d in decisions if isinstance(d, Wait)])
    plan.upkeep([o for o in wanted if o.kind in DUTIES])
    return [d if isinstance(d, Wait | Skip) else plan.verdict(d) for d in decisions]


@dataclass
class _Plan:
    table: Table
    at: Moment
    chosen: list[Opportunity]
    limits: Limits

    def __post_init__(self) -> None:
        self.refused: dict[bytes, Reason] = {}
        self.prices: dict[bytes, int] = {}
        self.taken = set[bytes]()

    def verdict(self, action: Action) -> Decision:
        o = action.opportunity
        if o.id in self.taken:
            return action
        told = {**o.evidence, "displaces": self.prices[o.id]} if o.id in self.prices else o.evidence
        return Skip(replace(o, evidence=told), self.refused.get(o.id, Reason.INFLIGHT_DUPLICATE))

    # ── upkeep: in order, whatever it costs ──

    def upkeep(self, wanted: Sequence[Opportunity]) -> None:
        for o in wanted:
            self._admit(o, self._alone(o) or self._too_much([o]))

    def _admit(self, o: Opportunity, why: Reason | None) -> None:
        if why is None and not self.table.affordable(self.chosen, [o]):
            why = Reason.CAPITAL_RESERVED
        if why is None:
            self._take([o])
        else:
            self.refused[o.id] = why

    def _take(self, more: Sequence[Opportunity]) -> None:
        self.chosen += more
        self.taken |= {o.id for o in more}

    # ── the best set of the rest ──

    def best(self, wanted: Sequence[Opportunity], waiting: Sequence[Wait]) -> None:
        able = list[Opportunity]()
        for o in wanted:
            why = self._alone(o)
            if why is None:
                able.append(o)
            else:
                self.refused[o.id] = why
        if not able or (len(able) == 1 and not waiting and self._single(able[0])):
            return
        gas = self.limits.block_gas - sum(map(gas_limit, self.chosen))
        room = self.table.room(self.chosen, gas, self.limits.max_inflight - len(self.chosen))
        items, soon = [self.table.item(o) for o in able], [self.table.reserved(d) for d in waiting]
        found = _all([*items, *soon], room) or select([*items, *soon], room)
        kept = [soon[i - len(able)] for i in found.chosen if i >= len(able)]
        self._take(self._exact([able[i] for i in found.chosen if i < len(able)]))
        left = [(o, item) for o, item in zip(able, items, strict=True) if o.id not in self.taken]
        for o, item in left:
            if why := self._waits(item, kept):
                self.refused[o.id] = why
        self._rest([o for o, _ in left if o.id not in self.refused])
        for o, item in zip(able, items, strict=True):
            if o.id not in self.taken:
                self.prices[o.id] = _displaced(item, room, found)

    def _single(self, o: Opportunity) -> bool:
        """Take what has nothing to be chosen against, where that is right whatever the linear picture says of it."""
        fits = o.expected > 0 and self._too_much([o]) is None and self.table.affordable(self.chosen, [o])
        if fits:
            self._take([o])
        return fits

    def _waits(self, item: Item, kept: Sequence[Item]) -> Reason | None:
        """Why one that would fit beside the others is left out: for what comes later on it, or for other bids."""
        if any(later.group == item.group for later in kept):
            return Reason.NO_EDGE
        if not kept or self._too_much_gas(item):
            return None
        return Reason.CAPITAL_RESERVED if self.table.capital_fits(self.chosen, item) else None

    def _too_much_gas(self, item: Item) -> bool:
        gas, slots = sum(map(gas_limit, self.chosen)) + item.uses[0], len(self.chosen) + 1
        return gas > self.limits.block_gas or slots > self.limits.max_inflight

    def _exact(self, wanted: Sequence[Opportunity]) -> list[Opportunity]:
        """As many as the adapters can really afford together; the least worth their gas go first."""
        kept = sorted(wanted, key=lambda o: (-o.per_gas, o.id))
        while kept and not self.table.affordable(self.chosen, kept):
            kept.pop()
        return kept

    def _rest(self, others: Sequence[Opportunity]) -> None:
        """What the linear picture refused: the most worth their gas are judged exactly, one by one."""
        tries = 0
        for o in sorted(others, key=lambda o: (-o.per_gas, o.id)):
            why = self._duplicate(o) or self._too_much([o])
            if why is None and o.expected <= 0:
                why = Reason.NO_EDGE
            if why is None:
                tries += 1
                why = None if tries <= TRIES else Reason.CAPITAL_RESERVED
            self._admit(o, why)

    # ── judging ──

    def _alone(self, o: Opportunity) -> Reason | None:
        """What stands against it whatever else is done."""
        if o.kind not in UNPAID and o.expected < self.limits.min_profit:
            return Reason.BELOW_MIN_PROFIT
        gas = gas_limit(o)
        if gas > TX_GAS or gas * (o.at.base_fee + self.limits.tip) > self.limits.max_fee:
            return Reason.GAS_ABOVE_CAP
        return self._duplicate(o)

    def _duplicate(self, o: Opportunity) -> Reason | None:
        """One action on an account at a time."""
        busy = any((c.protocol, c.key) == (o.protocol, o.key) for c in self.chosen)
        return Reason.INFLIGHT_DUPLICATE if busy else None

    def _too_much(self, more: Sequence[Opportunity]) -> Reason | None:
        together = [*self.chosen, *more]
        full = len(together) > self.limits.max_inflight or sum(map(gas_limit, together)) > self.limits.block_gas
        return Reason.SET_NOT_CHOSEN if full else None


def _all(items: Sequence[Item], room: Room) -> Selected | None:
    """Everything, where there is room for it and each is worth it: then there is nothing to choose."""
    apart = len({item.group for item in items}) == len(items)
    if not apart or any(item.value <= 0 for item in items) or not room.fits(items):
        return None
    value = sum(item.value for item in items)
    return Selected(tuple(range(len(items))), value, value, (0,) * (len(room.rows) + 1))


def _displaced(item: Item, room: Room, found: Selected) -> int:
    """What the things it would use are worth elsewhere, at the prices of the set, usd (wad). Linear, so about."""
    shares = [use / max(have, 1) for use, have in zip(item.uses, room.rows, strict=True)]
    worth = sum(price * share for price, share in zip(found.prices, shares, strict=False))
    if room.losses and item.losses:
        worth += found.prices[-1] * sum(max(row) for row in item.losses) / max(room.margin, 1)
    return int(worth)


def intent(action: Action, call: Call, at: Moment, limits: Limits, name: Callable[[Opportunity], str]) -> TxIntent:
    """An action as the transaction manager takes it."""
    o = action.opportunity
    limit = gas_limit(o)
    return TxIntent(
        id=o.id + at.number.to_bytes(8),
        call=call,
        gas_limit=limit,
        budget=min(limits.max_fee, limit * _highest_fee(o, at, limits)),
        valid_until=min(o.expires, at.timestamp + limits.horizon),
        purpose=name(o),
        at=at,
        subject=f"{o.protocol} {o.key.kind} 0x{o.key.id:x}",
        urgent=o.kind not in (Kind.TOP_UP, Kind.HEDGE, *DUTIES),
    )


def _highest_fee(o: Opportunity, at: Moment, limits: Limits) -> int:
    """Wei per gas: twice the base fee, and for a profitable action as much as a share of the profit allows."""
    usual = 2 * at.base_fee + limits.tip
    if o.kind in UNPAID or o.costs.gas <= 0:
        return 2 * usual
    spare = max(0, o.net) // limits.fee_share
    return max(usual, (at.base_fee + limits.tip) * (o.costs.gas + spare) // o.costs.gas)

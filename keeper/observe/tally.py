"""What a run came to, counted as it happens: the numbers behind the report and the demo's table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from keeper.model import Address, Effect, Outcome, Reason, Record, Send, Turn


@dataclass
class Tally:
    """``us`` is the address that buys for us."""

    us: Address
    outcomes: list[Outcome] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)  # reason -> decisions that did nothing
    flags: Counter[str] = field(default_factory=Counter)  # who -> auctions started
    sales: Counter[str] = field(default_factory=Counter)  # who -> slices bought
    takeovers: Counter[str] = field(default_factory=Counter)  # who -> whole accounts taken over
    beaten: Counter[str] = field(default_factory=Counter)  # who -> bids of ours that came too late for theirs
    sent: int = 0
    reverted: int = 0
    latencies: list[float] = field(default_factory=list)  # seconds from block to first answer
    decided: list[float] = field(default_factory=list)  # seconds from block to decision
    blocks: int = 0
    _buyers: dict[object, str] = field(default_factory=dict)  # account -> who bought from it last

    def effect(self, effect: Effect) -> None:
        match effect:
            case Outcome():
                self._outcome(effect)
            case Send():
                self.sent += 1
            case Record(event="chain.fact", fields=fields):
                self._fact(fields)
            case Record(event="decision.skip" | "decision.wait", fields=fields):
                self.refusals[str(fields["why"])] += 1
            case Record(event="tx.abandoned", fields=fields):
                self.refusals[str(fields.get("revert", fields.get("why")))] += 1

    def _outcome(self, o: Outcome) -> None:
        self.outcomes.append(o)
        self.reverted += not o.won and o.fee > 0
        if o.why is Reason.OUTBID:
            self.beaten[self._buyers.get(f"{o.key.kind} 0x{o.key.id:x}", "unknown")] += 1

    def _fact(self, fields: Mapping[str, object]) -> None:
        who = fields["who"]
        assert isinstance(who, bytes)
        name = "us" if who == self.us else f"0x{who[:4].hex()}"
        if fields["name"] == "flagged":
            self.flags[name] += 1
        if fields["name"] == "sold":
            (self.takeovers if fields["takeover"] else self.sales)[name] += 1
            if name != "us":
                self._buyers[fields["key"]] = name

    def turn(self, turn: Turn) -> None:
        self.blocks += 1
        self.decided.append(turn.decided)
        if turn.sent is not None:
            self.latencies.append(turn.sent)

    @property
    def won(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.won]

    @property
    def steps(self) -> Counter[str]:
        """What we did, by kind."""
        return Counter(str(o.kind) for o in self.won)

    @property
    def lost(self) -> Counter[str]:
        return Counter(str(o.why) for o in self.outcomes if not o.won)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """(median, 95th percentile); zeros when there is nothing."""
    if len(values) < 2:
        return (values[0], values[0]) if values else (0.0, 0.0)
    return median(values), quantiles(values, n=20)[-1]

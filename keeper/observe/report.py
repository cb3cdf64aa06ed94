"""What a run came to, as a table, as Markdown and as JSON, all from the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keeper.model import Outcome
from keeper.observe.tables import table
from keeper.observe.tally import Tally, spread

WAD = 10**18
TOP = 10  # rows in the lists of wins and losses


@dataclass(frozen=True)
class Market:
    """What only the market's side can tell. US dollars."""

    title: str
    command: str  # that gives the same run again
    accounts: int
    coin: float  # price of the chain's coin
    prevented: float  # bad debt that would have been, had nobody liquidated
    left: float  # bad debt that stands
    paid: float  # by the insurance fund
    rivals: Mapping[str, str]  # short address -> name
    measured: Mapping[str, Any]  # what became of the liquidated
    told: Sequence[tuple[str, str]]  # the same as rows
    wrong: Sequence[str]  # places where the ledger is not the chain
    profitable: Sequence[str]  # accounts that would still pay
    folder: str


@dataclass(frozen=True)
class Report:
    market: Market
    tally: Tally

    @property
    def fees(self) -> int:
        """Wei."""
        return sum(o.fee for o in self.tally.outcomes)

    @property
    def gross(self) -> float:
        return sum(o.gain for o in self.tally.won) / WAD

    @property
    def hedge(self) -> float:
        return sum(o.hedge for o in self.tally.won) / WAD

    @property
    def gas(self) -> float:
        return self.fees / WAD * self.market.coin

    @property
    def net(self) -> float:
        return self.gross - self.hedge - self.gas

    def rows(self) -> list[tuple[str, str]]:
        """The table: (what, how much)."""
        m, t = self.market, self.tally
        sent, decided = (tuple(1e3 * x for x in spread(values)) for values in (t.latencies, t.decided))
        return [
            ("accounts", f"{m.accounts}"),
            ("blocks", f"{t.blocks}"),
            ("auctions started", self._who(t.flags)),
            ("slices bought", self._who(t.sales)),
            ("accounts taken over", self._who(t.takeovers)),
            *m.told,
            ("steps that we took", _counts(t.steps)),
            ("our actions that lost", _counts(t.lost)),
            ("lost to", self._who(t.beaten)),
            ("refusals", _counts(t.refusals)),
            ("transactions", f"{t.sent} sent, {t.reverted} reverted"),
            ("gross gain", _usd(self.gross)),
            ("hedge cost", _usd(self.hedge)),
            ("gas", f"{_usd(self.gas)} ({self.fees / WAD:.6f} ETH)"),
            ("net profit", _usd(self.net)),
            ("bad debt prevented", _usd(m.prevented)),
            ("bad debt left", f"{_usd(m.left)}, paid by the insurance fund {_usd(m.paid)}"),
            ("block to transaction", "median {:.1f} ms, p95 {:.1f} ms".format(*sent)),
            ("block to decision", "median {:.1f} ms, p95 {:.1f} ms".format(*decided)),
            ("ledger", "equals the chain to the wei" if not m.wrong else "; ".join(m.wrong)),
            ("profitable accounts left", f"{len(m.profitable)}"),
            ("report", f"{m.folder}/report.md"),
        ]

    def data(self) -> dict[str, Any]:
        """The same for programs; everything but ``latency_ms`` is a function of the seed."""
        m, t = self.market, self.tally
        latency = {"to_transaction": spread(t.latencies), "to_decision": spread(t.decided)}
        return {
            **{k: v for k, v in asdict(m).items() if k not in ("rivals", "told")},
            "blocks": t.blocks,
            "flagged": self._named(t.flags),
            "bought": self._named(t.sales),
            "taken_over": self._named(t.takeovers),
            "steps": dict(t.steps),
            "lost": dict(t.lost),
            "lost_to": self._named(t.beaten),
            "refusals": dict(t.refusals),
            "sent": t.sent,
            "reverted": t.reverted,
            "gas_wei": self.fees,
            "usd": {"gross": self.gross, "hedge": self.hedge, "gas": self.gas, "net": self.net},
            "latency_ms": {name: [round(1e3 * x, 3) for x in values] for name, values in latency.items()},
        }

    def markdown(self) -> str:
        """A page that explains itself."""
        m = self.market
        best = sorted(self.tally.won, key=lambda o: (o.hedge - o.gain, o.opportunity))[:TOP]
        lost = [o for o in self.tally.outcomes if not o.won][:TOP]
        parts = [
            f"# {m.title}",
            f"Again: `{m.command}`",
            table(("", ""), self.rows()),
            "## Best",
            table(("account", "what", "gain", "hedge", "block"), map(_win, best)),
            "## Lost",
            table(("account", "what", "why", "block"), map(_loss, lost)) if lost else "Nothing.",
            "## What the numbers rest on",
            ASSUMPTIONS,
        ]
        return "\n\n".join(parts) + "\n"

    def _named(self, counts: Mapping[str, int]) -> dict[str, int]:
        return {self.market.rivals.get(name, name): n for name, n in counts.items()}

    def _who(self, counts: Mapping[str, int]) -> str:
        return _counts(Counter(self._named(counts)))


ASSUMPTIONS = """\
- *Gross gain* is what was bought at the protocol's own marks, less what was paid for it. It is not yet money: the
  portfolio is then hedged and held.
- *Hedge cost* is what swaps lost against the pool's price before them, fee included.
- *Bad debt prevented* is the worst negative equity that the same accounts would have reached along the same path,
  had nobody liquidated them.
- *Saved*, *gave away* and *insurance* are what the design's review of the auction calls saved, loss and fund. Basis
  points are of sizes times price, of all accounts that lost something, when they were first flagged; the true price is
  the path's, not the oracle's. Seconds of the market are those of the recorded day, which is played ten times as fast.
- Transactions enter the block in the order of arrival; the keeper sees a block before its rivals act on it.
- Rivals bid by a rule of stated skill and do not adapt."""


def _win(o: Outcome) -> tuple[str, ...]:
    return f"0x{o.key.id:040x}", o.kind, _usd(o.gain / WAD), _usd(o.hedge / WAD), str(o.ended)


def _loss(o: Outcome) -> tuple[str, ...]:
    return f"0x{o.key.id:040x}", o.kind, str(o.why), str(o.ended)


def _usd(amount: float) -> str:
    return f"{'-' if amount < -0.005 else ''}${abs(amount):,.2f}"


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    return ", ".join(f"{name} {n}" for name, n in ordered) or "none"

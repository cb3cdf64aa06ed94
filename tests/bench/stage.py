"""What the keeper of the bench decides about: adapters without a contract, and a strategy that takes everything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from keeper.model import (
    Address,
    BlockRef,
    Call,
    Capital,
    Costs,
    Decision,
    Delta,
    Fact,
    Floor,
    HealthReport,
    Holding,
    Interests,
    Key,
    Kind,
    Liquidate,
    Log,
    LogFilter,
    Moment,
    Needs,
    Opportunity,
    Pending,
    Read,
    Realised,
    Reason,
)
from keeper.ports import View
from keeper.protocols.options.records import Account, State
from keeper.protocols.options.risk import Market, Price, portfolio
from keeper.units import wad
from tests.bench.blocks import PUBLISHER
from tests.bench.floors import DATA, TARGET
from tests.worlds.crowd import Crowd

ROUND = Key("round", 0)  # how many publications there were
POOR = Key("account", 1)  # the one account that is always under water


class Taker:
    """Implements ``ports.Strategy``: takes whatever there is."""

    name = "taker"

    def decide(self, opportunity: Opportunity) -> Decision:
        return Liquidate(opportunity, 0)


class Empty:
    """Columns without accounts, but for the one that is always under water."""

    kinds: Collection[str] = ()
    refusals: Mapping[Key, str] = {}

    def get(self, key: Key) -> Any: ...

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(())

    def put(self, key: Key, record: Any) -> None: ...

    def rolling(self, turn: int, count: int) -> Sequence[Key]:
        return ()

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        return (POOR,)

    def nearest(self, view: View, at: Moment, count: int) -> Sequence[tuple[Key, float]]:
        return ()

    def warming(self) -> Callable[[], str] | None:
        return None


@dataclass
class Scanning(Empty):
    crowd: Crowd

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        return self.crowd.columns.suspects(self.crowd, self.crowd.at)

    def ahead(self, view: View, at: Moment) -> None:
        """The crowd's next block is a second later."""
        self.crowd.columns.ahead(self.crowd, replace(self.crowd.at, timestamp=self.crowd.now + 1))


@dataclass(frozen=True)
class Bench:
    """An adapter that follows no contract: of whoever is under water, it wants to call something."""

    crowd: Crowd | None
    name = "bench"
    desk: Address | None = None

    def interests(self, view: View) -> Interests:
        return Interests((LogFilter(PUBLISHER),))

    def absorb(self, view: View, source: Log | tuple[Read, bytes], ref: BlockRef) -> Iterable[Delta | Fact]:
        """A publication."""
        before = view.get(ROUND) or 0
        return (Delta(ROUND, before, before + 1),)

    def columns(self) -> Empty:
        return Empty() if self.crowd is None else Scanning(self.crowd)

    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        """Exactly, where there is a book."""
        if self.crowd is None:
            return HealthReport(key, at, 0, 1)
        state = State(self.crowd)
        record: Account = self.crowd.get(key)
        prices = Market(state, state.params(1).risk, self.crowd.now, Price.TRIGGER)
        h = prices.assess(portfolio(record, state.clearing()))
        return HealthReport(key, at, h.equity, h.mm, h.worst)

    def opportunities(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        """Another one at each block."""
        for n, report in enumerate(suspects):
            yield _offered(Key("account", at.number * 1_000 + n), report, at)

    def foresee(self, view: View, pending: Pending, at: Moment) -> View | None:
        return None

    def floors(self, decision: Decision) -> tuple[Floor, ...]:
        return ()

    def afford(self, view: View, chosen: Sequence[Opportunity], at: Moment) -> int:
        return 0

    def capital(self, view: View, at: Moment) -> Capital:
        return Capital()

    def calls(self, decision: Decision) -> tuple[Call, ...]:
        return (Call(TARGET, DATA),)

    def explain(self, revert: bytes) -> Reason:
        return Reason.REVERTED_OTHER

    def holdings(self, view: View) -> Mapping[str, Holding]:
        return {}

    def describe(self, view: View, key: Key, at: Moment) -> Sequence[tuple[str, str]]:
        return ()

    def realised(self, opportunity: Opportunity, facts: Sequence[Fact]) -> Realised:
        return Realised(0)


def _offered(key: Key, report: HealthReport, at: Moment) -> Opportunity:
    id, costs, needs = key.id.to_bytes(24), Costs(gas=wad(1)), Needs(gas=60_000)
    return Opportunity(id, Bench.name, key, Kind.LIQUIDATE, at, wad(100), costs, needs, report)


@dataclass(frozen=True)
class Published:
    """A view of the market after the publication that is due."""

    view: View

    def get(self, key: Key) -> Any:
        return (self.view.get(key) or 0) + 1


@dataclass
class Due(Empty):
    """Each publication condemns another account; whatever book there is, is scanned."""

    crowd: Crowd | None

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        if self.crowd is not None:
            self.crowd.columns.suspects(self.crowd, self.crowd.at)
        return (Key("account", view.get(ROUND) or 0),)


class Foreseeing(Bench):
    """Implements ``ports.Ahead`` too: the next publication is expected, and whom it will condemn."""

    def columns(self) -> Empty:
        return Due(self.crowd)

    def expected(self, view: View, at: Moment) -> Iterable[Pending]:
        yield Pending(PUBLISHER, b"publish")

    def foresee(self, view: View, pending: Pending, at: Moment) -> View | None:
        return cast(View, Published(view))

    def against(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        return (_offered(report.key, report, at) for report in suspects)

    opportunities = against

    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        """Of whom a publication has condemned, as of the one who is always under water: exactly."""
        condemned = key.id <= (view.get(ROUND) or 0)
        return replace(super().health(view, POOR, at), key=key) if condemned else HealthReport(key, at, 0, 0)

"""What would have been: the accounts as they were before anybody bought from them, valued along the same path.

The lowest equity of an untouched account is the bad debt that liquidation prevented, or at least its measure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keeper.model import Key, Moment
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.risk import Price
from keeper.simulation.world import World
from keeper.units import WAD


@dataclass
class Shadow:
    world: World
    lowest: dict[int, float] = field(default_factory=dict)  # account -> lowest equity, US dollars
    _columns: Columns = field(default_factory=Columns)

    def __post_init__(self) -> None:
        for trader in self.world.traders:
            self._columns.put(Key("account", trader.account), self.world.state.account(trader.account))

    def look(self) -> None:
        """Value everything now; to be called every block."""
        w = self.world
        h = self._columns.assess(w.state, Moment(w.book.ref.number, w.now, 0), Price.SPOT)
        for account, equity in zip(self._columns.accounts, h.equity.tolist(), strict=True):
            self.lowest[account] = min(equity, self.lowest.get(account, equity))

    def untouched(self) -> float:
        """Bad debt at the worst moment of each account, had nobody liquidated. US dollars."""
        return sum(max(0.0, -equity) for equity in self.lowest.values())

    def left(self) -> float:
        """Negative equity that stands in the clearing house now. US dollars."""
        columns = Columns()
        for trader in self.world.traders:
            columns.put(Key("account", trader.account), self.world.state.account(trader.account))
        at = Moment(self.world.book.ref.number, self.world.now, 0)
        equity = columns.assess(self.world.state, at, Price.SPOT).equity
        return float(abs(equity[equity < 0].sum()))

    def paid(self, fund_before: int) -> float:
        """What the insurance fund has lost. US dollars."""
        return max(0.0, (fund_before - self.world.state.clearing().fund) / WAD)

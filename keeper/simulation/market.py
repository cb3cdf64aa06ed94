"""Moves a world along a price path, one block at a time, by signed transactions only.

    price of the path ─┐                            ┌─► smiles
    pool, pulled to it ┴─► what the oracle reports ─┴─► spot, by deviation or heartbeat

Hedges and sales move the pool; the pool is part of what the oracle reports; so liquidations feed back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from keeper.core import health  # arrow: rivals judge as we do
from keeper.model import BlockRef, Call, Moment
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.hedge import amount_in
from keeper.simulation import rivals
from keeper.simulation.measures import Measures
from keeper.simulation.paths import Path
from keeper.simulation.publisher import Rule, SmileFeed, SpotFeed
from keeper.simulation.wallets import Wallet
from keeper.simulation.world import DECIMALS, USD, World

SPOT: Final = Rule(deviation=5_000, heartbeat=5)  # 0.5 % or 5 s
SMILE: Final = Rule(deviation=20_000, heartbeat=30)  # 2 vol points or 30 s
PULL: Final = 0.5  # of the gap between pool and market that arbitrage closes in a block
WEIGHT: Final = 0.1  # of the pool in the reported price


@dataclass
class MarketDriver:
    """``step`` builds the next block: publications, arbitrage, rivals; the keeper's transactions are in the pool."""

    world: World
    path: Path
    step_: int = 0
    spots: list[SpotFeed] = field(default_factory=list)
    smiles: dict[tuple[int, int], SmileFeed] = field(default_factory=dict)
    measures: Measures = field(init=False)

    def __post_init__(self) -> None:
        self.measures = Measures(self.world)
        n = len(self.world.size.spots)
        rule = replace(SPOT, heartbeat=self.world.block_time) if self.world.size.harsh else SPOT  # alarmed: every block
        self.spots = [SpotFeed(u, rule) for u in range(n)]
        self.smiles = {(u, e): SmileFeed(u, e, SMILE) for u in range(n) for e in self.world.expiries}

    def __len__(self) -> int:
        return len(self.path)

    def step(self) -> BlockRef:
        """Mine one block. After the end of the path its last price stands."""
        w = self.world
        row = min(self.step_, len(self.path) - 1)
        at = Moment(w.book.ref.number + 1, w.now + w.block_time, w.book.ref.next_base_fee)
        for wallet, call in (*self._market(row, at), *rivals.act(w, at)):
            wallet.send(w.node, call)
        w.node.mine(at.timestamp)
        self.step_ += 1
        self.measures.look(w.follow(), self.path.prices[row].tolist())
        self._watch()
        return w.book.ref

    def _market(self, row: int, at: Moment) -> Iterator[tuple[Wallet, Call]]:
        w = self.world
        for u in range(len(w.size.spots)):
            price = float(self.path.prices[row, u])
            if arbitrage := self._arbitrage(u, price):
                yield w.arbitrageur, arbitrage
            if self.path.outage[row]:
                continue
            reported = (1 - WEIGHT) * price + WEIGHT * self._pool_price(u)
            w.surfaces[u].move(at.timestamp, reported)
            spot = round(reported * 10**8)
            if self.spots[u].due(at.timestamp, spot):
                m = self.spots[u].publish(at.timestamp, spot)
                yield w.publisher, w.spot_call(u, m.spot, m.time)
            for expiry in w.expiries:
                smile, feed = w.surfaces[u].smile(expiry), self.smiles[u, expiry]
                if feed.due(at.timestamp, smile):
                    feed.publish(at.timestamp, smile)
                    yield w.publisher, w.smile_call(u, expiry, smile, at.timestamp)

    def _pool_price(self, u: int) -> float:
        pool = self.world.state.pool(u)
        assert pool is not None
        return pool.quote / pool.base * 10 ** DECIMALS[u] / USD

    def _arbitrage(self, u: int, price: float) -> Call | None:
        """A swap that closes PULL of the gap between the pool and the market; None when the gap is within the fee."""
        w, pool = self.world, self.world.state.pool(u)
        assert pool is not None
        now = self._pool_price(u)
        target = now + PULL * (price - now)
        if abs(target / now - 1) < 0.003:
            return None
        # At constant product the reserves at the target price are base * sqrt(now / target).
        base = int(pool.base * (now / target) ** 0.5)
        if base > pool.base:
            amount, sell = base - pool.base, True
        else:
            amount, sell = amount_in(pool, False, pool.base - base) or 0, False
        return Call(w.dep.pools[u], w.c["SpotPool"].call("swap", sell, amount, 0, w.arbitrageur.address))

    def _watch(self) -> None:
        """Since which block each account without enough margin has been so: what rivals look at."""
        w = self.world
        at = Moment(w.book.ref.number + 1, w.now + w.block_time, 0)
        reports = health.condemned(Options(w.settings), w.book, at)
        w.unhealthy = {r.key.id: (w.unhealthy.get(r.key.id, (w.book.ref.number, 0))[0], r.scenario) for r in reports}

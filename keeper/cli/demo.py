"""``keeper demo``: build a market on a local node, crash it, and run the real daemon in it against rivals."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from keeper import bootstrap
from keeper.chain.recording import DECISIONS
from keeper.cli import setup
from keeper.cli.output import emit, table
from keeper.cli.prices import SPEED, price_path
from keeper.cli.running import Calm
from keeper.errors import CheckFailed, Misconfigured
from keeper.model import BlockRef, Effect, Record, Turn
from keeper.observe.decisions import DecisionLog
from keeper.observe.report import Market, Report
from keeper.observe.tally import Tally
from keeper.observe.watch import Logged
from keeper.ports import Watcher
from keeper.settings import load
from keeper.simulation.market import MarketDriver
from keeper.simulation.node import Anvil
from keeper.simulation.operator import configure
from keeper.simulation.rivals import skill_of
from keeper.simulation.shadow import Shadow
from keeper.simulation.world import GENESIS, Size, build

ACCOUNTS, BLOCKS, RIVALS = 200, 300, 3
HARSH = 40, 1  # accounts beside those that are there to suffer, rivals
SETTLE = 400  # blocks after the path in which running auctions may end


def run(args: argparse.Namespace) -> int:
    setup.logging(args, level="warning")
    return asyncio.run(Demo(args).run())


class Demo:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if args.harsh and args.path:
            raise Misconfigured("--harsh has a path of its own", help="leave --path or --harsh out")
        accounts, rivals = HARSH if args.harsh else (ACCOUNTS, RIVALS)
        self.path = price_path(args.seed, args.blocks or BLOCKS, args.path, args.harsh)
        spots = tuple(map(float, self.path.prices[0]))
        rivals = rivals if args.rivals is None else args.rivals
        self.size = Size(args.seed, args.accounts or accounts, rivals, spots, args.harsh)
        self.folder = Path("reports") / f"demo-{args.seed}"
        self.began = time.monotonic()

    async def run(self) -> int:
        async with Anvil(timestamp=GENESIS) as node:
            self._say(f"building a market: {self.size.accounts} accounts, {self.size.rivals} rivals")
            self.world = build(node, self.size)
            self.driver = MarketDriver(self.world, self.path)
            self.driver.measures.speed = SPEED
            self.shadow = Shadow(self.world)
            self.fund = self.world.state.clearing().fund
            self.tally = Tally(self.world.desk)
            settings = load([configure(self.world, self.folder)])
            header = {"seed": self.size.seed, "accounts": self.size.accounts, "rivals": self.size.rivals}
            with DecisionLog(self.folder / "recording" / DECISIONS, header) as log:
                watchers: list[Watcher] = [self.tally, Logged(log), Progress(self), Calm()]
                async with bootstrap.keeper(settings, bootstrap.Live(), watchers, self._step) as keeper:
                    self.keeper = keeper
                    await keeper.daemon.run()
                    return await self._end()

    def _say(self, text: str) -> None:
        if not self.args.json and not self.args.quiet:
            print(f"[{time.monotonic() - self.began:5.1f} s] {text}", file=sys.stderr, flush=True)

    # ── the world ──

    async def _step(self, ref: BlockRef) -> bool:
        if self.driver.step_ >= len(self.driver) and self._quiet():
            return False
        self.driver.step()
        return True

    def _quiet(self) -> bool:
        """The crash is over and nothing is left to do, or it takes too long."""
        running = (self.world.state.auction(key.id) for key in self.world.state.view.keys("auction"))
        idle = not self.keeper.kernel.inflight and not any(a and a.flagged_at for a in running)
        return idle or self.driver.step_ >= len(self.driver) + SETTLE

    # ── the end ──

    async def _end(self) -> int:
        wrong, left = await self._reconcile(), self._left()
        report = Report(self._market(wrong, left), self.tally)
        (self.folder / "report.md").write_text(report.markdown())
        (self.folder / "report.json").write_text(json.dumps(report.data(), indent=1) + "\n")
        emit(self.args, report.data(), table(("", report.market.title), report.rows()))
        if wrong or left:
            raise CheckFailed("; ".join([*wrong, *(f"profitable account left: {one}" for one in left)]))
        return 0

    async def _reconcile(self) -> list[str]:
        """Every place of the ledger against the chain, to the smallest unit."""
        kernel, node = self.keeper.kernel, self.keeper.node
        told, wrong = kernel.ledger.balances(), []
        for desk in kernel.desks:
            for place, holding in desk.adapter.holdings(desk.book).items():
                answer = await node.call(holding.proof, bytes(20), kernel.ref.hash)
                found, name = int.from_bytes(answer.data[:32], signed=True), f"{desk.adapter.name} {place}"
                if found != told.get(name, 0):
                    wrong.append(f"{name}: ledger {told.get(name, 0)}, chain {found}")
        coin = await node.balance(self.world.keeper.address)
        if coin != told["signer coin"]:
            wrong.append(f"signer coin: ledger {told['signer coin']}, chain {coin}")
        return wrong

    def _left(self) -> list[str]:
        """Accounts and auctions that would still pay: a fresh look at the last state."""
        acted = ("decision.bid", "decision.liquidate")
        records = (effect for effect in self.keeper.kernel.decide() if isinstance(effect, Record))
        return [str(record.fields["account"]) for record in records if record.event in acted]

    def _market(self, wrong: list[str], left: list[str]) -> Market:
        feed, shadow = self.world.state.feed(0), self.shadow
        rivals = enumerate(self.world.rivals)
        measured = self.driver.measures.result(shadow.left())
        return Market(
            title=f"demo, seed {self.size.seed}",
            command=self._command(),
            accounts=len(self.world.traders),
            coin=feed.spot / 10**8 if feed else 0.0,
            prevented=max(0.0, shadow.untouched() - shadow.left()),
            left=shadow.left(),
            paid=shadow.paid(self.fund),
            rivals={f"0x{r.address[:4].hex()}": skill_of(i, self.size.harsh).name for i, r in rivals},
            measured=asdict(measured),
            told=measured.rows(),
            wrong=wrong,
            profitable=left,
            folder=str(self.folder),
        )

    def _command(self) -> str:
        path = " --harsh" if self.size.harsh else f" --path {self.args.path}" if self.args.path else ""
        sizes = f"--seed {self.size.seed} --accounts {self.size.accounts} --blocks {len(self.path)}"
        return f"keeper demo {sizes} --rivals {self.size.rivals}{path}"


class Progress:
    """One line every fiftieth block."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo

    def effect(self, effect: Effect) -> None: ...

    def turn(self, turn: Turn) -> None:
        demo = self._demo
        demo.shadow.look()
        if turn.ref.number % 50 == 0:
            feed, t = demo.world.state.feed(0), demo.tally
            price = feed.spot / 10**8 if feed else 0
            bought = sum(t.sales.values()) + sum(t.takeovers.values())
            demo._say(
                f"block {turn.ref.number}  ETH ${price:,.0f}  under water {len(demo.world.unhealthy)}  "
                f"auctions {sum(t.flags.values())}  bought {bought} (us {t.sales['us'] + t.takeovers['us']})"
            )

"""``keeper demo``: build a market on a local node, crash it, and run the real daemon in it against rivals."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from keeper import bootstrap
from keeper.chain.recording import DECISIONS
from keeper.cli import setup
from keeper.cli.output import emit, eth, table, usd
from keeper.errors import CheckFailed
from keeper.model import BlockRef, Effect, Record, Turn
from keeper.observe.decisions import DecisionLog
from keeper.observe.tally import Tally, spread
from keeper.observe.watch import Logged
from keeper.ports import Watcher
from keeper.settings import load
from keeper.simulation.market import MarketDriver
from keeper.simulation.node import CHAIN_ID, Anvil
from keeper.simulation.paths import Path as PricePath
from keeper.simulation.paths import before_worst, candles, jump_diffusion, window
from keeper.simulation.shadow import Shadow
from keeper.simulation.world import BLOCK_TIME, GENESIS, SPOTS, Size, build
from keeper.units import WAD

ACCOUNTS, BLOCKS, RIVALS = 200, 300, 3
SETTLE = 400  # blocks after the path in which running auctions may end
DAY = 8_640  # seconds of chain time in which a day is played: ten times as fast


def run(args: argparse.Namespace) -> int:
    setup.logging(args, level="warning")
    return asyncio.run(Demo(args).run())


class Demo:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        rivals = RIVALS if args.rivals is None else args.rivals
        self.path = self._path(args.blocks or BLOCKS)
        self.size = Size(args.seed, args.accounts or ACCOUNTS, rivals, tuple(map(float, self.path.prices[0])))
        self.folder = Path("reports") / f"demo-{args.seed}"
        self.began = time.monotonic()

    async def run(self) -> int:
        async with Anvil(timestamp=GENESIS) as node:
            self._say(f"building a market: {self.size.accounts} accounts, {self.size.rivals} rivals")
            self.world = build(node, self.size)
            self.driver = MarketDriver(self.world, self.path)
            self.shadow = Shadow(self.world)
            self.fund = self.world.state.clearing().fund
            self.tally = Tally(self.world.desk)
            self.folder.mkdir(parents=True, exist_ok=True)
            settings = load([self._config(node)])
            header = {"seed": self.size.seed, "accounts": self.size.accounts, "rivals": self.size.rivals}
            with DecisionLog(self.folder / "recording" / DECISIONS, header) as log:
                watchers: list[Watcher] = [self.tally, Logged(log), Progress(self)]
                async with bootstrap.keeper(settings, bootstrap.Live(), watchers, self._step) as keeper:
                    self.keeper = keeper
                    await keeper.daemon.run()
                    return await self._end()

    def _say(self, text: str) -> None:
        if not self.args.json and not self.args.quiet:
            print(f"[{time.monotonic() - self.began:5.1f} s] {text}", file=sys.stderr, flush=True)

    # ── the world ──

    def _path(self, blocks: int) -> PricePath:
        """The worst hours of a recorded or made crash, played ten times as fast."""
        speed = 86_400 // DAY
        if self.args.path:
            start = before_worst(self.args.path, blocks * BLOCK_TIME * speed)
            return candles([self.args.path], start, blocks, BLOCK_TIME, speed=speed, followers=SPOTS[1:])
        day = jump_diffusion(self.args.seed, DAY // BLOCK_TIME, BLOCK_TIME, SPOTS)
        return window(day, blocks, DAY // BLOCK_TIME // 24)

    def _config(self, node: Anvil) -> Path:
        """The configuration that an operator of this market would write."""
        w, c = self.world, self.world.contracts
        addresses = {name: f'"0x{getattr(c, name).hex()}"' for name in ("clearing", "liquidator", "oracle", "params")}
        lists = {
            name: str([f"0x{a.hex()}" for a in getattr(c, name)]).replace("'", '"') for name in ("tokens", "pools")
        }
        contracts = ", ".join(f"{name} = {value}" for name, value in {**addresses, **lists, "since": c.since}.items())
        path, key = self.folder / "keeper.toml", self.folder / "key"
        key.touch(mode=0o600)
        key.write_text(w.keeper.key.hex())  # of this world only
        path.write_text(
            f"""schema = 1

[keeper]
name  = "demo"
mode  = "live"
state = "{self.folder / "state"}"

[chains.local]
id            = {CHAIN_ID}
rpc           = "{node.ipc}"
block_time    = "{BLOCK_TIME}s"
confirmations = 1

[signers.main]
key = {{ file = "{key}" }}

[protocols.options]
chain     = "local"
adapter   = "options"
desk      = "0x{w.desk.hex()}"
account   = "0x{w.desk.hex()}/0"
inventory = {list(w.stock)}
reserve   = "$100000"
floor     = "$200000"
contracts = {{ {contracts} }}

[strategies.upkeep]
use       = "strategies.upkeep:Upkeep"
protocols = ["options"]

[strategies.instant]
use       = "strategies.instant:Instant"
protocols = ["options"]

[strategies.dutch]
use       = "strategies.dutch:Dutch"
protocols = ["options"]

[risk]
max_inflight = 32

[record]
enabled = true
folder  = "{self.folder / "recording"}"
"""
        )
        for old in (self.folder / "state").glob("*.db*"):
            old.unlink()
        return path

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
        wrong = await self._reconcile()
        left = self._left()
        emit(self.args, self._data(wrong, left), self._table(wrong, left))
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
                found = int.from_bytes(answer.data[:32], signed=True)
                if found != told.get(f"{desk.adapter.name} {place}", 0):
                    wrong.append(f"{place}: ledger {told.get(place, 0)}, chain {found}")
        coin = await node.balance(self.world.keeper.address)
        if coin != told["signer coin"]:
            wrong.append(f"signer coin: ledger {told['signer coin']}, chain {coin}")
        return wrong

    def _left(self) -> list[str]:
        """Accounts and auctions that would still pay: a fresh look at the last state."""
        kernel = self.keeper.kernel
        actions = (
            e for e in kernel.decide() if isinstance(e, Record) and e.event in ("decision.bid", "decision.liquidate")
        )
        return [str(record.fields["account"]) for record in actions]

    def _data(self, wrong: list[str], left: list[str]) -> dict[str, Any]:
        t, won = self.tally, self.tally.won
        latency, decision = spread(t.latencies), spread(t.decided)
        fees = sum(o.fee for o in t.outcomes)
        price = self.world.state.feed(0)
        gas = fees * (price.spot if price else 0) * 10**10 // WAD
        gross, hedge = sum(o.gain for o in won), sum(o.hedge for o in won)
        prevented = max(0.0, self.shadow.untouched() - self.shadow.left())
        return {
            "seed": self.size.seed,
            "accounts": self.size.accounts,
            "blocks": t.blocks,
            "flagged": t.flags,
            "bought": t.sales,
            "takeovers": t.takeovers,
            "lost": t.lost,
            "refusals": t.refusals,
            "transactions": {"sent": t.sent, "reverted": t.reverted},
            "gas_wei": fees,
            "gas_usd": gas,
            "gross_usd": gross,
            "hedge_usd": hedge,
            "net_usd": gross - hedge - gas,
            "bad_debt": {"prevented": prevented, "left": self.shadow.left(), "fund_paid": self.shadow.paid(self.fund)},
            "latency_ms": {"to_transaction": [1e3 * x for x in latency], "to_decision": [1e3 * x for x in decision]},
            "ledger": wrong or "equals the chain",
            "profitable_left": left,
            "report": str(self.folder),
        }

    def _table(self, wrong: list[str], left: list[str]) -> str:
        d = self._data(wrong, left)
        rows = [
            ("accounts", d["accounts"]),
            ("blocks", d["blocks"]),
            ("auctions started", _who(d["flagged"])),
            ("slices bought", _who(d["bought"])),
            ("accounts taken over", _who(d["takeovers"])),
            ("our bids that lost", _who(d["lost"])),
            ("refusals", _who(d["refusals"])),
            ("transactions", f"{d['transactions']['sent']} sent, {d['transactions']['reverted']} reverted"),
            ("gross gain", usd(d["gross_usd"])),
            ("hedge cost", usd(d["hedge_usd"])),
            ("gas", f"{usd(d['gas_usd'])} ({eth(d['gas_wei'])})"),
            ("net profit", usd(d["net_usd"])),
            ("bad debt prevented", f"${d['bad_debt']['prevented']:,.0f}"),
            ("bad debt left", f"${d['bad_debt']['left']:,.0f}, paid by the fund ${d['bad_debt']['fund_paid']:,.0f}"),
            ("block to transaction", "median {:.1f} ms, p95 {:.1f} ms".format(*d["latency_ms"]["to_transaction"])),
            ("block to decision", "median {:.1f} ms, p95 {:.1f} ms".format(*d["latency_ms"]["to_decision"])),
            ("ledger", "equals the chain to the wei" if not wrong else "; ".join(wrong)),
            ("profitable accounts left", len(left)),
            ("report", d["report"]),
        ]
        return table(("", f"demo, seed {d['seed']}"), rows)


def _who(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))) or "none"


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

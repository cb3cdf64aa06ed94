"""A market in a crash on a node of its own, moved block by block by the test, and the keeper's view of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeper import bootstrap
from keeper.core.kernel import Kernel
from keeper.model import BlockRef
from keeper.ports import Watcher
from keeper.settings import Settings, load
from keeper.simulation.market import MarketDriver
from keeper.simulation.node import Anvil
from keeper.simulation.operator import configure
from keeper.simulation.paths import jump_diffusion, window
from keeper.simulation.world import BLOCK_TIME, GENESIS, SPOTS, Size, World, build

DAY = 8_640  # seconds of chain time in which a day is played
LONG = 100  # blocks of the path; after it the last price stands

STRATEGIES = ("dutch", "instant", "upkeep", "sealed", "quote", "steward")
CONTENT = tuple(f"strategies.{name}.protocols=[]" for name in STRATEGIES)  # settings of a keeper that wants nothing


@dataclass
class Scene:
    """One world, and the configuration of its keeper."""

    driver: MarketDriver
    config: Path

    @property
    def world(self) -> World:
        return self.driver.world

    @property
    def node(self) -> Anvil:
        return self.world.node

    def step(self, blocks: int = 1) -> BlockRef:
        for _ in range(blocks):
            self.driver.step()
        return self.world.book.ref

    def returned(self, depth: int) -> None:
        """The chain took back so many blocks: the world's book, and its participants' nonces, follow it."""
        w = self.world
        w.book.rollback(w.ref(w.book.ref.number - depth))
        w.follow()
        for wallet in (w.publisher, w.arbitrageur, *w.rivals):
            wallet.nonce = int(w.node.rpc("eth_getTransactionCount", wallet.address, "latest"), 16)

    def settings(self, *overrides: str) -> Settings:
        return load([self.config], overrides, {})

    def sent(self, since: int = 0) -> list[dict[str, Any]]:
        """The keeper's transactions on the canonical chain, in order, from a block on."""
        own, found = "0x" + self.world.keeper.address.hex(), list[dict[str, Any]]()
        for number in range(since, self.node.head().number + 1):
            block = self.node.rpc("eth_getBlockByNumber", hex(number), True)
            found += (tx for tx in block["transactions"] if tx["from"] == own)
        return found


@contextmanager
def crash(folder: Path, blocks: int, *, seed: int = 1, accounts: int = 40, rivals: int = 0) -> Iterator[Scene]:
    """A market after so many blocks of a crash; from about the fortieth on accounts are under water."""
    path = window(jump_diffusion(seed, DAY // BLOCK_TIME, BLOCK_TIME, SPOTS), LONG, DAY // BLOCK_TIME // 24)
    with Anvil(timestamp=GENESIS) as node:
        world = build(node, Size(seed, accounts, rivals, tuple(map(float, path.prices[0]))))
        scene = Scene(MarketDriver(world, path), configure(world, folder))
        scene.step(blocks)
        yield scene


# ─── what a keeper knows ──────────────────────────────────────────────────────────────────────────


def known(kernel: Kernel) -> dict[str, Any]:
    """Everything in its books: records, float columns by account, what it owns."""
    [desk] = kernel.desks
    return {
        "block": desk.book.ref,
        "records": dict(desk.book._records),
        "columns": rows(desk.book.columns),
        "holdings": desk.holdings(),
    }


def rows(columns: Any) -> Mapping[int, Any]:
    """Every account with its record and what is screened of it; accounts that have nothing left out."""
    store, found = columns.store, {}
    for row in range(len(store)):
        account = store.account(row)
        record, laid = store.get(account), [blocks.legs(at) for blocks, at in store._parts(row)]
        sizes = {store.listing.words[i]: lots for legs in laid for i, lots in zip(*legs, strict=True)}
        if record is not None and (record.cash or record.legs or any(record.collateral)):
            found[account] = (record, float(store.cash[row]), sizes)
    return found


async def clean(settings: Settings, *watchers: Watcher) -> dict[str, Any]:
    """What a keeper knows that has just caught up with the head, and never saw anything else."""
    async with bootstrap.keeper(settings, bootstrap.Dry(), watchers) as keeper:
        await keeper.daemon.run(1)
        return known(keeper.kernel)


async def unequal(keeper: bootstrap.Keeper, world: World) -> list[str]:
    """Every place of the ledger that is not what the chain says, to the smallest unit."""
    kernel, told, wrong = keeper.kernel, keeper.kernel.ledger.balances(), list[str]()
    for desk in kernel.desks:
        for place, holding in desk.adapter.holdings(desk.book).items():
            answer = await keeper.node.call(holding.proof, bytes(20), kernel.ref.hash)
            found, name = int.from_bytes(answer.data[:32], signed=True), f"{desk.adapter.name} {place}"
            if not found == holding.amount == told.get(name, 0):
                wrong.append(f"{name}: ledger {told.get(name, 0)}, book {holding.amount}, chain {found}")
    coin = await keeper.node.balance(world.keeper.address)
    if coin != told["signer coin"]:
        wrong.append(f"signer coin: ledger {told['signer coin']}, chain {coin}")
    return wrong

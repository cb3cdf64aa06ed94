"""Settings in, a running keeper out. The only file that knows modes.

    mode        source                    transactions                     blocks are made by
    live        follower on the node      manager, journal, that node      the chain
    dry         follower on the node      simulate and say                 the chain
    fork        follower on a fork        manager, own journal, the fork   the fork, one a turn
    backtest    follower on a replay      manager, own journal, held back  the recording, one a turn

Everything behind these parts is the same code.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from keeper import chains, loading, ports
from keeper.arming import Arming, planning
from keeper.chain import rpc as wire
from keeper.chain.codec import Header
from keeper.chain.filling import filled
from keeper.chain.follower import Follower
from keeper.chain.fork import Blocks, forked
from keeper.chain.mempool import Mempool, Replayed
from keeper.chain.node import Node
from keeper.chain.patience import answered
from keeper.chain.pool import Pool, pool
from keeper.chain.recording import Recorder, Recording
from keeper.chain.replay import Held, Paced, Replay, replaying
from keeper.chain.rpc import RpcError
from keeper.chain.standing import Standings
from keeper.clock import SystemClock
from keeper.core.kernel import Kernel
from keeper.daemon import TROUBLE, Again, Daemon, given_up, nothing
from keeper.errors import ChainLost, Misconfigured
from keeper.model import Address, BlockBatch, BlockRef, Hash
from keeper.ports import Adapter, ChainSource, Clock, Executor, Strategy, Transactions, Watcher
from keeper.process.care import Care
from keeper.process.lease import Lease
from keeper.process.upgrades import touched
from keeper.protocols.desk import appointments, directly, operators, owner, through
from keeper.settings import Settings
from keeper.settings.checks import LOCAL_CHAINS
from keeper.simulation.node import Anvil
from keeper.tx.dry import DryRun
from keeper.tx.lanes import Purse
from keeper.tx.switch import Level

log = structlog.get_logger("keeper")
Step = Callable[[BlockRef], Awaitable[bool]]
LOOK = 5.0  # seconds between looks at each of several endpoints, at most


@dataclass(frozen=True, slots=True)
class Live:
    """Send to the configured node."""


@dataclass(frozen=True, slots=True)
class Dry:
    """Look and decide; sign nothing."""

    recorded: bool = False  # whether [record] is heeded: a mere look is not worth a recording


@dataclass(frozen=True, slots=True)
class Fork:
    url: str = field(repr=False)
    block: int | None  # None: the upstream's head


@dataclass(frozen=True, slots=True)
class Backtest:
    recording: Recording


Mode = Live | Dry | Fork | Backtest


@dataclass(frozen=True)
class Keeper:
    """A keeper that is ready to run."""

    daemon: Daemon
    kernel: Kernel
    node: Node
    replay: Replay | None = None
    care: Care | None = None  # of a process that lasts

    def stop(self) -> None:
        """Gracefully; whoever looks after the process is told."""
        if self.care is not None:
            self.care.stopping()
        self.daemon.stop()


@asynccontextmanager
async def keeper(
    settings: Settings, mode: Mode, watchers: Sequence[Watcher] = (), step: Step = nothing
) -> AsyncIterator[Keeper]:
    """Everything from settings to a daemon. ``step`` makes the next block of a world that waits for us."""
    async with AsyncExitStack() as stack:
        yield await _Assembly(settings, mode, stack, watchers, step).keeper()


async def record(settings: Settings, folder: Path, blocks: int | None) -> AsyncIterator[tuple[BlockRef, int]]:
    """Write what the chain does from now on to a recording: its head and its length whenever they change."""
    name, chain = chains.only(settings)
    async with AsyncExitStack() as stack:
        standings = chains.standings(chain)
        rpc, ears = (pool(chain.rpc.reveal(), standings) for _ in range(2))
        stack.push_async_callback(rpc.close)
        stack.push_async_callback(ears.close)
        if isinstance(rpc, Pool):
            watching = asyncio.create_task(rpc.watch(SystemClock(), min(LOOK, chain.block_time / 2000)))
            stack.callback(watching.cancel)
        chains.check(settings, name, chain, await answered(Node(rpc).chain_id))
        recorder = stack.enter_context(Recorder(folder, chain.id, settings.texts))
        first = await recorder.begin(rpc)
        log.info("record.began", block=first, folder=str(folder))
        source = Follower(Node(ears), lambda: (), SystemClock(), chains.patience(chain))
        async for event in source.events(first + 1):
            if isinstance(event, BlockBatch) and event.head and await _added(recorder, rpc, event.ref):
                length = event.ref.number - first
                yield event.ref, length
                if blocks is not None and length >= blocks:
                    return


async def _added(recorder: Recorder, rpc: wire.Rpc | Pool, ref: BlockRef) -> bool:
    """Whether it is written; a block that the node could not give comes with the next one."""
    try:
        await recorder.add(rpc, ref)
    except TROUBLE as error:
        log.warning("record.late", block=ref.number, error=str(error))
        return False
    return True


class _Assembly:
    def __init__(
        self, settings: Settings, mode: Mode, stack: AsyncExitStack, watchers: Sequence[Watcher], step: Step
    ) -> None:
        self.settings, self.mode, self.stack, self.watchers, self.step = settings, mode, stack, watchers, step
        self.name, self.chain = chains.only(settings)
        self.desks = loading.desks(settings)  # before anything is started: most mistakes show here
        self.since = min(adapter.interests(loading.Nothing()).since for adapter, _ in self.desks)
        self.arming = Arming(settings, self.name, self.chain, isinstance(mode, Live))
        self.replay: Replay | None = None
        self.again: Again = given_up  # a recording says the same each time
        self.headers = dict[Hash, Header]()
        self.standings: Standings | None = None  # of several endpoints
        self.beside: list[Callable[[], Awaitable[None]]] = []  # what runs for as long as the daemon does
        self.clock: Clock = SystemClock()
        self.care: Care | None = None
        if self._lasts or isinstance(mode, Fork):
            self._cared_for()

    @property
    def _lasts(self) -> bool:
        """Whether this is a daemon on a chain of its own pace, and not a look at it."""
        return self.mode == Live() or self.mode == Dry(recorded=True)

    @property
    def _patience(self) -> float:
        """Seconds that a node has to come; whoever only wants a look is told at once."""
        return self.chain.retry_for / 1000 if self._lasts else 0.0

    def _cared_for(self) -> None:
        self.care = Care(self.clock, self.chain.max_head_age / 1000, earthly=self.chain.id not in LOCAL_CHAINS)
        self.clock, self.watchers = self.care.vitals.pulse, (*self.watchers, self.care.vitals)
        self.care.vitals.hindrances.append(self._switched)
        self.care.vitals.hindrances.append(lambda: self.standings.hindrance if self.standings else "")
        self.beside += self.care.tasks(
            self.settings.http.place, lambda: self.standings.gauges() if self.standings else ()
        )

    def _switched(self) -> str:
        """The kill switch, when it keeps us from acting."""
        level = self.arming.switch.level
        return "" if level is Level.RUN else level.name.lower()

    async def keeper(self) -> Keeper:
        urls, anvil = await self._endpoint()
        node = Node(self._connect(urls, watched=True), self.headers)
        chain_id = await self._chain_id(node)
        signer = await self._signer(node, chain_id)
        executor = self._stepped(node, anvil, signer)
        transactions = await self._transactions(node, executor, signer)
        if self.settings.record.enabled and self._lasts:
            await self._recorded(urls)  # forks and replays can be had again from what they are made of
        kernel = await self._kernel(node)
        await self._guarded(node, kernel)
        purse = Purse(node, self.arming.addresses or [signer])
        source = self._source(urls, kernel, transactions)
        if isinstance(self.mode, Live | Dry):  # others make their chain themselves, or read it over a slow one
            source = await filled(source, node, kernel.desks, kernel.fill, self.since)
        parts = (kernel, source, transactions, purse, signer, self.clock)
        reread = None if isinstance(self.mode, Backtest) else node.reread
        mempool, after = self._mempool(urls, kernel), self.step
        if (replay := self.replay) is not None:

            async def after(ref: BlockRef) -> bool:
                for calls in replay.between:
                    await daemon.glimpse(calls)
                return await self.step(ref)

        daemon = Daemon(*parts, self.watchers, after, self.beside, reread, mempool, self.again)
        return Keeper(daemon, kernel, node, self.replay, self.care)

    def _mempool(self, urls: Sequence[str], kernel: Kernel) -> ports.Mempool | None:
        """What was seen pending is recorded with the block at which it was seen, and a replay sees that."""
        if self.replay is not None:
            return Replayed(self.replay.looked)
        if not self.chain.mempool or not isinstance(self.mode, Live | Dry):
            return None
        mempool = Mempool(self._connect(urls), lambda: kernel.awaited, self.clock)
        self.beside.append(mempool.listen)
        return mempool

    # ── the chain ──

    async def _endpoint(self) -> tuple[Sequence[str], Anvil | None]:
        """Where the keeper connects to, and the node it started itself, if any."""
        match self.mode:
            case Fork(url, block):
                chains.check(self.settings, self.name, self.chain, await answered(Node(self._connect([url])).chain_id))
                anvil = await self.stack.enter_async_context(forked(url, block))
            case Backtest(recording):
                upstream = self.chain.rpc.reveal()[0] if recording.manifest.base == "fork" else None
                anvil = await self.stack.enter_async_context(replaying(recording, upstream))
            case _:
                return self.chain.rpc.reveal(), None
        return [str(anvil.ipc)], anvil

    def _connect(self, urls: Sequence[str], *, watched: bool = False) -> wire.Rpc | Pool:
        """To one endpoint, or to several as one; of these, one connection looks after the standing of all."""
        if self.standings is None and len(urls) > 1:
            self.standings = chains.standings(self.chain)
        connection = pool(urls, self.standings)
        self.stack.push_async_callback(connection.close)
        if watched and isinstance(connection, Pool):
            every = min(LOOK, self.chain.block_time / 2000)
            self.beside.append(lambda: connection.watch(SystemClock(), every))
        return connection

    async def _chain_id(self, node: Node) -> int:
        found = await answered(node.chain_id, self._patience)
        if not isinstance(self.mode, Fork):  # whose own id is meant to be another
            chains.check(self.settings, self.name, self.chain, found)
        return found

    def _stepped(self, node: Node, anvil: Anvil | None, signer: Address) -> Executor:
        """Where transactions go, and what makes the next block."""
        if anvil is None:
            return node
        if isinstance(self.mode, Backtest):
            held = Held()
            self.replay = Replay(anvil, self.mode.recording, signer, held.raws)
            self.step = self.replay.step
            return held
        self.step = Blocks(anvil, self.chain.block_time // 1000).step
        return node

    def _source(self, urls: Sequence[str], kernel: Kernel, transactions: Transactions) -> ChainSource:
        node = Node(self._connect(urls), self.headers)
        patience, notice = chains.patience(self.chain), transactions.notice
        early = None if self.replay else lambda: transactions.ready
        follower = Follower(node, kernel.interests, self.clock, patience, notice, early)
        if self.replay is not None:
            return Paced(follower, self.replay)
        self.again = follower.again
        return follower

    async def _recorded(self, urls: Sequence[str]) -> None:
        """From now on every head is recorded before the next one is made."""
        connection, step = self._connect(urls), self.step
        folder, texts = self.settings.record.folder, self.settings.texts
        recorder = self.stack.enter_context(Recorder(folder, self.chain.id, texts, marks=True))
        await recorder.begin(connection)

        async def recording(ref: BlockRef) -> bool:
            try:
                await _added(recorder, connection, ref)
            except ChainLost as error:  # that is the end of the recording, not of the keeper
                log.error("record.ended", block=ref.number, error=str(error))
            return await step(ref)

        self.step, self.watchers = recording, (*self.watchers, recorder)

    # ── transactions ──

    async def _signer(self, node: Node, chain_id: int) -> Address:
        """Who acts: the first of our keys, or whom a dry run simulates as."""
        if isinstance(self.mode, Dry):
            return await answered(lambda: self._operator(node), self._patience)
        desk = _desk(self.desks)
        worths = [worth for adapter, _ in self.desks for worth in getattr(adapter, "worths", ())]
        self.arming.unlock(chain_id, desk, worths)
        if desk is not None:
            asked = owner(desk)
            said = await answered(lambda: node.call(asked, self.arming.addresses[0], None), self._patience)
            self.arming.refuse_owner(said.data[-20:])
        self.desks = [(_armed(adapter, self.arming.secret, chain_id), wise) for adapter, wise in self.desks]
        return self.arming.addresses[0]

    async def _transactions(self, node: Node, executor: Executor, signer: Address) -> Transactions:
        if isinstance(self.mode, Dry):
            return DryRun(node, signer)
        percentile = self.arming.tuned.fees.percentile

        async def rewards(head: BlockRef) -> Sequence[int]:
            try:
                history = await node.fee_history(5, [percentile], head.number)
            except RpcError:  # a node that does not keep it: the floor of the settings is what there is to bid
                return []
            return [row[0] for row in history.rewards if row]

        genesis = await answered(node.genesis_hash, self._patience)
        transactions = self.arming.transactions(_Both(node, executor), genesis, rewards, self.stack)
        for lease in self.arming.leases:
            await self._shared(lease)
        return transactions

    async def _guarded(self, node: Node, kernel: Kernel) -> None:
        """A live keeper notices when a contract that it acts on is another."""
        if self.mode != Live():
            return
        watch = self.arming.upgrades(node.codes, node.words, lambda: touched(kernel.interests(), _desk(self.desks)))
        try:
            await answered(watch.look, self._patience)
        except RpcError as error:
            log.warning("contract.unseen", error=str(error))
        self.beside.append(lambda: watch.watch(SystemClock()))

    async def _shared(self, lease: Lease) -> None:
        """A key that other hosts use as well: ours when the lease is."""
        self.stack.push_async_callback(lease.close)
        await lease.step()
        self.beside.append(lease.hold)
        if self.care is not None:
            self.care.vitals.hindrances.append(lambda: "" if lease.leads else "not_leader")

    async def _operator(self, node: Node) -> Address:
        """Whom a dry run simulates as, for it has no key: the last who was allowed to act for the desk."""
        desk = _desk(self.desks)
        if desk is None:
            return bytes(20)
        head = await node.block("latest")
        blocks = await node.logs_range([appointments(desk)], self.since, head.number)
        found = operators(each for block in blocks for each in block.logs)
        if not found:
            log.warning("dry.nobody", desk=f"0x{desk.hex()}", help="nobody may act for it: every simulation will fail")
        return found[-1] if found else bytes(20)

    async def _kernel(self, node: Node) -> Kernel:
        desk, limits = _desk(self.desks), planning(self.settings)
        wrap = directly if desk is None else through(desk)
        first = await answered(lambda: node.block(max(0, self.since - 1)), self._patience)
        return Kernel(self.desks, first, self.chain.block_time // 1000, wrap, limits)


class _Both:
    """Reads from the node, sends through the executor."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.call, self.nonce, self.balance = node.call, node.nonce, node.balance
        self.receipt, self.receipts = node.receipt, node.receipts
        self.behind = node.behind
        self.send = executor.send


def _armed(adapter: Adapter, secret: bytes, chain_id: int) -> Adapter:
    """An adapter that makes sealed bids gets what it hides them with."""
    arm = getattr(adapter, "armed", None)
    armed: Adapter = arm(secret, chain_id) if arm else adapter
    return armed


def _desk(desks: Sequence[tuple[Adapter, Sequence[Strategy]]]) -> Address | None:
    """The contract that acts for us, the same for all protocols; None: the signer acts itself."""
    found = {adapter.desk for adapter, _ in desks}
    if len(found) > 1:
        raise Misconfigured("the protocols name different desks", help="one keeper has one desk, or none")
    return found.pop()


__all__ = ["Backtest", "Dry", "Fork", "Keeper", "Live", "Mode", "keeper", "record"]

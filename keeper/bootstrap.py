"""Settings in, a running keeper out. The only file that knows modes.

    mode        source                    transactions                     blocks are made by
    live        follower on the node      manager, journal, that node      the chain
    dry         follower on the node      simulate and say                 the chain
    fork        follower on a fork        manager, own journal, the fork   the fork, one a turn
    backtest    follower on a replay      manager, own journal, held back  the recording, one a turn

Everything behind these parts is the same code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keeper import loading
from keeper.chain import rpc as wire
from keeper.chain.follower import Follower
from keeper.chain.follower import Limits as Patience
from keeper.chain.fork import Blocks, forked
from keeper.chain.node import Node
from keeper.chain.recording import Recorder, Recording
from keeper.chain.replay import Held, Replay, replaying
from keeper.clock import SystemClock
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits
from keeper.daemon import Daemon, nothing
from keeper.errors import Broken, Misconfigured, SecretUnusable, WrongChain
from keeper.model import Address, BlockBatch, BlockRef
from keeper.observe import redact
from keeper.ports import Adapter, Executor, Strategy, Transactions, Watcher
from keeper.protocols.desk import directly, through
from keeper.settings import Chain, Settings, Signer
from keeper.settings.checks import LOCAL_CHAINS
from keeper.simulation.node import Anvil
from keeper.tx import keys
from keeper.tx.dry import DryRun
from keeper.tx.fees import Policy
from keeper.tx.journal import Binding, Journal
from keeper.tx.manager import Manager
from keeper.tx.settings import Settings as TxSettings
from keeper.tx.signer import Signer as Signing
from keeper.tx.signer import local_signer
from keeper.units import GWEI

Step = Callable[[BlockRef], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Live:
    """Send to the configured node."""


@dataclass(frozen=True, slots=True)
class Dry:
    """Look and decide; sign nothing."""


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


@asynccontextmanager
async def keeper(
    settings: Settings, mode: Mode, watchers: Sequence[Watcher] = (), step: Step = nothing
) -> AsyncIterator[Keeper]:
    """Everything from settings to a daemon. ``step`` makes the next block of a world that waits for us."""
    async with AsyncExitStack() as stack:
        yield await _Assembly(settings, mode, stack, watchers, step).keeper()


async def record(settings: Settings, folder: Path, blocks: int | None) -> AsyncIterator[BlockRef]:
    """Write what the chain does from now on to a recording; the blocks as they are written."""
    name, chain = _only(settings)
    async with AsyncExitStack() as stack:
        rpc, ears = wire.connect(chain.rpc.reveal()), wire.connect(chain.rpc.reveal())
        stack.push_async_callback(rpc.close)
        stack.push_async_callback(ears.close)
        _check(settings, name, chain, await Node(rpc).chain_id())
        recorder = stack.enter_context(Recorder(folder, chain.id, settings.texts))
        first = await recorder.begin(rpc) + 1
        source = Follower(Node(ears), lambda: (), SystemClock(), _patience(chain))
        async for event in source.events(first):
            if isinstance(event, BlockBatch):
                await recorder.add(rpc, event.ref)
                yield event.ref
                if event.ref.number - first + 1 == blocks:
                    return


class _Assembly:
    def __init__(
        self, settings: Settings, mode: Mode, stack: AsyncExitStack, watchers: Sequence[Watcher], step: Step
    ) -> None:
        self.settings, self.mode, self.stack, self.watchers, self.step = settings, mode, stack, watchers, step
        self.name, self.chain = _only(settings)
        self.desks = loading.desks(settings)  # before anything is started: most mistakes show here
        self.replay: Replay | None = None

    async def keeper(self) -> Keeper:
        url, anvil = await self._endpoint()
        node = Node(self._connect(url))
        chain_id = await self._chain_id(node)
        signer = self._signer(chain_id)
        executor = self._stepped(node, anvil, signer)
        transactions = await self._transactions(node, executor, signer)
        if self.settings.record.enabled and not isinstance(self.mode, Backtest):
            self.step = await self._recorded(url)
        kernel = await self._kernel(node)
        source = Follower(Node(self._connect(url)), kernel.interests, SystemClock(), _patience(self.chain))
        parts = (kernel, source, transactions, node, signer.address, SystemClock())
        return Keeper(Daemon(*parts, self.watchers, self.step), kernel, node, self.replay)

    # ── the chain ──

    async def _endpoint(self) -> tuple[str, Anvil | None]:
        """Where the keeper connects to, and the node it started itself, if any."""
        match self.mode:
            case Fork(url, block):
                anvil = await self.stack.enter_async_context(forked(url, block))
            case Backtest(recording):
                upstream = self.chain.rpc.reveal() if recording.manifest.base == "fork" else None
                anvil = await self.stack.enter_async_context(replaying(recording, upstream))
            case _:
                return self.chain.rpc.reveal(), None
        return str(anvil.ipc), anvil

    def _connect(self, url: str) -> wire.Rpc:
        connection = wire.connect(url)
        self.stack.push_async_callback(connection.close)
        return connection

    async def _chain_id(self, node: Node) -> int:
        found = await node.chain_id()
        if not isinstance(self.mode, Fork):
            _check(self.settings, self.name, self.chain, found)
        return found

    def _stepped(self, node: Node, anvil: Anvil | None, signer: Signing) -> Executor:
        """Where transactions go, and what makes the next block."""
        if anvil is None:
            return node
        if isinstance(self.mode, Backtest):
            held = Held(node)
            self.replay = Replay(anvil, self.mode.recording, signer.address, held.raws)
            self.step = self.replay.step
            return held
        self.step = Blocks(anvil, self.chain.block_time // 1000).step
        return node

    async def _recorded(self, url: str) -> Step:
        """Every head is recorded before the next one is made."""
        connection, step = self._connect(url), self.step
        recorder = self.stack.enter_context(Recorder(self.settings.record.folder, self.chain.id, self.settings.texts))
        await recorder.begin(connection)

        async def recording(ref: BlockRef) -> bool:
            await recorder.add(connection, ref)
            return await step(ref)

        return recording

    # ── transactions ──

    def _signer(self, chain_id: int) -> Signing:
        if isinstance(self.mode, Dry):
            return _Nobody(chain_id)
        if len(self.settings.signers) != 1:
            raise Misconfigured(
                f"{len(self.settings.signers)} signers are configured", help="one keeper signs with one"
            )
        key = _key(next(iter(self.settings.signers.values())), chain_id)
        desk = _desk(self.desks)
        allowed = None if desk is None else frozenset({(desk, through(desk)((), 0).data[:4])})
        return local_signer(key, chain_id, allowed)

    async def _transactions(self, node: Node, executor: Executor, signer: Signing) -> Transactions:
        if isinstance(self.mode, Dry):
            return DryRun(node, signer.address)
        mode = type(self.mode).__name__.lower()
        journal = Journal(self._journal(), Binding(signer.chain_id, await node.genesis_hash(), signer.address, mode))
        self.stack.callback(journal.close)
        cap, depth = self.settings.risk.max_gas_price, self.chain.confirmations
        policy = Policy(cap, tip_floor=min(GWEI // 10, cap), tip_cap=min(50 * GWEI, cap))
        tuned = TxSettings(policy, depth, max(64, depth), max_in_flight=self.settings.risk.max_inflight)

        async def rewards() -> Sequence[int]:
            history = await node.fee_history(5, [policy.percentile])
            return [row[0] for row in history.rewards]

        return Manager(_Both(node, executor), journal, signer, tuned, rewards)

    def _journal(self) -> Path:
        """A live journal outlives the process; that of a fork or a backtest ends with it."""
        if not isinstance(self.mode, Live):
            return Path(self.stack.enter_context(TemporaryDirectory(prefix="keeper-"))) / "journal.db"
        folder = self.settings.keeper.state
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.name}.live.db"

    async def _kernel(self, node: Node) -> Kernel:
        risk, desk = self.settings.risk, _desk(self.desks)
        since = min(adapter.interests(Nothing()).since for adapter, _ in self.desks)
        limits = Limits(risk.max_inflight, risk.max_fee_per_tx, risk.min_profit)
        wrap = directly if desk is None else through(desk)
        return Kernel(self.desks, await node.block(max(0, since - 1)), self.chain.block_time // 1000, wrap, limits)


class _Both:
    """Reads from the node, sends through the executor."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.call, self.receipt, self.nonce, self.balance = node.call, node.receipt, node.nonce, node.balance
        self.send = executor.send


class _Nobody:
    """The signer of a dry run: an address without a key."""

    def __init__(self, chain_id: int) -> None:
        self.address, self.chain_id = bytes(20), chain_id

    def sign(self, *args: Any) -> tuple[bytes, bytes]:
        raise Broken("a dry run was asked to sign")


class Nothing:
    """An empty view, to ask an adapter where its history begins."""

    ref = BlockRef(0, bytes(32), bytes(32), 0, 0, 0, 1)

    def get(self, key: Any) -> Any:
        return None

    def keys(self, kind: str) -> Any:
        return iter(())


def _check(settings: Settings, name: str, chain: Chain, found: int) -> None:
    """WrongChain, located, unless the node is on the configured chain."""
    if found != chain.id:
        what = f"the node is on chain {found}, not {chain.id}"
        raise WrongChain(str(settings.fault(("chains", name, "id"), what, help="set the id of the chain you mean")))


def _patience(chain: Chain) -> Patience:
    age = chain.max_head_age / 1000
    return Patience(poll=min(1.0, age / 4), max_head_age=age, patience=chain.retry_for / 1000)


def _only(settings: Settings) -> tuple[str, Chain]:
    if len(settings.chains) != 1:
        raise Misconfigured(f"{len(settings.chains)} chains are configured", help="one keeper serves one chain")
    return next(iter(settings.chains.items()))


def _desk(desks: Sequence[tuple[Adapter, Sequence[Strategy]]]) -> Address | None:
    """The contract that acts for us, the same for all protocols; None: the signer acts itself."""
    found = {adapter.desk for adapter, _ in desks}
    if len(found) > 1:
        raise Misconfigured("the protocols name different desks", help="one keeper has one desk, or none")
    return found.pop()


def _key(signer: Signer, chain_id: int) -> keys.Key:
    if signer.keystore is not None and signer.password is not None:
        key = keys.keystore(signer.keystore, signer.password.reveal)
    elif signer.key is None or chain_id not in LOCAL_CHAINS:
        raise SecretUnusable(
            f"a raw key is refused on chain {chain_id}", help="import it into a keystore; raw keys are for local chains"
        )
    else:
        key = keys.from_hex(signer.key.reveal())
    redact.register(key.reveal().hex())
    return key


__all__ = ["Backtest", "Dry", "Fork", "Keeper", "Live", "Mode", "keeper", "record"]

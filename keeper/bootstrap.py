"""Settings in, a running keeper out. The only file that knows modes.

    mode        source                    transactions                     blocks are made by
    live        follower on the node      manager, journal, that node      the chain
    dry         follower on the node      simulate and say                 the chain
    fork        follower on a fork        manager, own journal, the fork   the fork, one a turn
    backtest    follower on a replay      manager, own journal, held back  the recording, one a turn

Everything behind these four parts is the same code.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from keeper.daemon import Daemon, Watcher, nothing
from keeper.errors import Misconfigured, WrongChain
from keeper.model import Address, BlockRef, Call, Interests
from keeper.ports import Adapter, Executor, Strategy, Transactions
from keeper.protocols.desk import directly, through
from keeper.settings import Settings
from keeper.simulation.node import Anvil
from keeper.tx import fees, keys
from keeper.tx.dry import DryRun
from keeper.tx.journal import Binding, Journal
from keeper.tx.manager import Manager
from keeper.tx.settings import Settings as TxSettings
from keeper.tx.signer import Signer, local_signer
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
    url: str
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
    settings: Settings, mode: Mode, watchers: Sequence[Watcher] = (), step: Step | None = None
) -> AsyncIterator[Keeper]:
    """Everything from settings to a daemon. ``step`` makes a stepped chain's next block, for worlds of our own."""
    async with AsyncExitStack() as stack:
        yield await _Assembly(settings, mode, stack).keeper(watchers, step)


class _Assembly:
    def __init__(self, settings: Settings, mode: Mode, stack: AsyncExitStack) -> None:
        self.settings, self.mode, self.stack = settings, mode, stack
        self.chain = only(settings.chains, "chains")
        self.clock = SystemClock()

    async def keeper(self, watchers: Sequence[Watcher], step: Step | None) -> Keeper:
        url, anvil = await self._endpoint()
        node, ears = Node(self._connect(url)), Node(self._connect(url))
        await self._check_chain(node, anvil)
        parts = adapters(self.settings)
        genesis = await node.block(max(0, min(adapter.interests(_Nothing()).since for adapter, _ in parts) - 1))
        kernel = Kernel(parts, genesis, self.chain.block_time // 1000, self._wrap(), self._limits())
        signer = self._signer(await node.chain_id())
        executor: Executor = node
        replay = None
        if isinstance(self.mode, Backtest) and anvil is not None:
            held = Held(node)
            executor, replay = held, Replay(anvil, self.mode.recording, signer.address, held.raws)
            step = replay.step
        if isinstance(self.mode, Fork) and anvil is not None:
            step = Blocks(anvil, self.chain.block_time // 1000).step
        transactions = await self._transactions(node, executor, signer)
        if self.settings.record.enabled and not isinstance(self.mode, Backtest):
            step = await self._recorded(url, node, step or nothing)
        source = Follower(ears, lambda: [desk.book.interests for desk in kernel.desks], self.clock, self._patience())
        daemon = Daemon(kernel, source, transactions, node, signer.address, self.clock, watchers, step or nothing)
        return Keeper(daemon, kernel, node, replay)

    # ── the chain ──

    async def _endpoint(self) -> tuple[str, Anvil | None]:
        """Where the keeper connects to, and the node it started itself, if any."""
        if isinstance(self.mode, Fork):
            anvil = await self.stack.enter_async_context(forked(self.mode.url, self.mode.block))
        elif isinstance(self.mode, Backtest):
            upstream = self.chain.rpc.reveal() if self.mode.recording.manifest.base == "fork" else None
            anvil = await self.stack.enter_async_context(replaying(self.mode.recording, upstream))
        else:
            return self.chain.rpc.reveal(), None
        return str(anvil.ipc), anvil

    def _connect(self, url: str) -> wire.Rpc:
        connection = wire.connect(url)
        self.stack.push_async_callback(connection.close)
        return connection

    async def _check_chain(self, node: Node, own: Anvil | None) -> None:
        found = await node.chain_id()
        if not isinstance(self.mode, Fork) and found != self.chain.id:
            name = next(iter(self.settings.chains))
            message = f"the node is on chain {found}, the settings say {self.chain.id}"
            raise WrongChain(str(self.settings.fault(("chains", name, "id"), message)), help="set the id of that chain")

    def _patience(self) -> Patience:
        stepped = isinstance(self.mode, Fork | Backtest)
        age = self.chain.max_head_age / 1000
        return Patience(
            poll=0.2 if stepped else min(1.0, age / 4), max_head_age=age, patience=self.chain.retry_for / 1000
        )

    async def _recorded(self, url: str, node: Node, step: Step) -> Step:
        """Record every head before the next is made."""
        folder, connection = self.settings.record.folder, self._connect(url)
        recorder = self.stack.enter_context(Recorder(folder, self.chain.id, self.settings.dump()))
        await recorder.begin(connection, await node.block("latest"))

        async def recording(ref: BlockRef) -> bool:
            await recorder.add(connection, ref)
            return await step(ref)

        return recording

    # ── transactions ──

    def _signer(self, chain_id: int) -> Signer:
        name, signer = next(iter(self.settings.signers.items()), (None, None))
        desk = self._desk()
        if signer is None:
            if isinstance(self.mode, Live | Fork | Backtest):
                raise Misconfigured("no signer is configured", help="add a [signers.<name>] table")
            return _Nobody(chain_id)
        if signer.key is not None:
            key = keys.Key(_hex_key(signer.key.reveal(), str(name)))
        elif isinstance(self.mode, Dry):
            return _Nobody(chain_id)
        else:
            assert signer.keystore is not None and signer.password is not None
            key = keys.keystore(signer.keystore, signer.password.reveal)
        allowed = None if desk is None else frozenset({(desk, through(desk)((), 0).data[:4])})
        return local_signer(key, chain_id, allowed)

    def _desk(self) -> Address | None:
        found = {str(p.options["desk"]) for p in self.settings.protocols.values() if "desk" in p.options}
        return bytes.fromhex(found.pop().removeprefix("0x")) if len(found) == 1 else None

    def _wrap(self) -> Callable[[tuple[Call, ...], int], Call]:
        desk = self._desk()
        return directly if desk is None else through(desk)

    async def _transactions(self, node: Node, executor: Executor, signer: Signer) -> Transactions:
        if isinstance(self.mode, Dry):
            return DryRun(node, signer.address)
        binding = Binding(signer.chain_id, await node.genesis_hash(), signer.address, type(self.mode).__name__.lower())
        journal = Journal(self._journal(), binding)
        self.stack.callback(journal.close)
        risk = self.settings.risk
        tip_floor = min(GWEI // 10, risk.max_gas_price)
        policy = fees.Policy(risk.max_gas_price, tip_floor, min(50 * GWEI, risk.max_gas_price))
        settings = TxSettings(
            policy, self.chain.confirmations, max(64, self.chain.confirmations), max_in_flight=risk.max_inflight
        )

        async def rewards() -> Sequence[int]:
            history = await node.fee_history(5, [policy.percentile])
            return [row[0] for row in history.rewards]

        return Manager(_Both(node, executor), journal, signer, settings, rewards)

    def _journal(self) -> Path:
        """Live journals outlive the process; those of forks and backtests end with it."""
        if isinstance(self.mode, Live):
            folder = self.settings.keeper.state
            folder.mkdir(parents=True, exist_ok=True)
            return folder / f"{next(iter(self.settings.chains))}.live.db"
        return Path(self.stack.enter_context(TemporaryDirectory(prefix="keeper-"))) / "journal.db"

    def _limits(self) -> Limits:
        return Limits(max_inflight=self.settings.risk.max_inflight)


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
        raise Misconfigured("a dry run signs nothing")


class _Nothing:
    """An empty view, to ask an adapter where its history begins."""

    ref = BlockRef(0, bytes(32), bytes(32), 0, 0, 0, 1)

    def get(self, key: Any) -> Any:
        return None

    def keys(self, kind: str) -> Any:
        return iter(())


# ─── protocols and strategies ─────────────────────────────────────────────────────────────────────


def adapters(settings: Settings) -> list[tuple[Adapter, list[Strategy]]]:
    """Every configured protocol with the strategies that may act on it."""
    if not settings.protocols:
        raise Misconfigured("no protocol is configured", help="add a [protocols.<name>] table")
    strategies = {name: strategy(settings, name) for name in settings.strategies}
    return [
        (adapter(settings, name), [s for key, s in strategies.items() if name in settings.strategies[key].protocols])
        for name in settings.protocols
    ]


def adapter(settings: Settings, name: str) -> Adapter:
    kind = settings.protocols[name].adapter
    if kind == "options":
        from keeper.protocols.options.adapter import Options
        from keeper.protocols.options.settings import Settings as OptionsSettings

        return Options(settings.bind(OptionsSettings, "protocols", name))
    if kind == "morpho_blue":
        from keeper.protocols.morpho_blue.adapter import MorphoBlue
        from keeper.protocols.morpho_blue.settings import Settings as MorphoSettings

        return MorphoBlue(settings.bind(MorphoSettings, "protocols", name))
    raise settings.fault(("protocols", name, "adapter"), f"no adapter {kind!r}", help="use options or morpho_blue")


def strategy(settings: Settings, name: str) -> Strategy:
    """``module:Class`` or ``path/to/file.py:Class``, with its options bound to the class's fields."""
    use = settings.strategies[name].use
    place, _, cls = use.rpartition(":")
    try:
        found = getattr(_module(place), cls)
    except (ImportError, FileNotFoundError, AttributeError) as error:
        why = f"cannot load strategy {use!r}: {error}"
        raise settings.fault(("strategies", name, "use"), why, help="name a module and a class in it") from error
    made: Strategy = settings.bind(found, "strategies", name)
    return made


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        for folder in (Path.cwd(), Path(__file__).parent.parent):  # where `strategies/` lies
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
        return import_module(place)
    spec = util.spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is not a Python file")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def only(table: Mapping[str, Any], name: str) -> Any:
    """The one entry of a table. One process serves one chain."""
    if len(table) != 1:
        raise Misconfigured(
            f"[{name}] has {len(table)} entries", help="one keeper serves one; start another for another"
        )
    return next(iter(table.values()))


def interests(kernel: Kernel) -> list[Interests]:
    return [desk.book.interests for desk in kernel.desks]


def _hex_key(text: str, name: str) -> bytes:
    try:
        return bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError as error:
        raise Misconfigured(f"the key of signer {name} is not hexadecimal") from error

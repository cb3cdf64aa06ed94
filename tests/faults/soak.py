"""kill -9, thousands of times, at random points of the transaction manager, in a world that is unkind as well.

    python -m tests.faults.soak N [SEED]         also: make soak N=10000

Each life is a process of its own (forked, so that it begins at once) on the journal of the one before. It recovers,
wishes for payments of one wei, each to an address of its own, and dies at the k-th fault point that it reaches. Between
blocks the node's pool is emptied, the last blocks are replaced, or the base fee leaps. After ``LIVES`` lives the last
one may live until everything has ended; then the chain must say of every wish what the journal says of it.

    two effects    an address that has more than one wei
    forgotten      a wish in the journal that has not ended, or an end that the chain denies
    gap            nonces used that are not those in the journal, one after the other
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from keeper.model import BlockRef, Call, TxIntent, TxState
from keeper.simulation.node import CHAIN_ID, Anvil
from keeper.tx.fees import Policy
from keeper.tx.journal import Binding, Journal
from keeper.tx.keys import Key
from keeper.tx.manager import FAULT_POINTS, HELD_POINTS, Manager
from keeper.tx.settings import Settings
from keeper.tx.signer import local_signer
from keeper.units import GWEI
from tests.chain.manager_rig import LineNode

SETTINGS: Final = Settings(Policy(hard_cap=1000 * GWEI), confirmations=2, finality=4, bump_after=2)
LIVES: Final = 150  # on one key, journal and node: Anvil grows slow after some 1500 blocks
BLOCKS: Final = 6  # that a life has if nothing kills it
FAREWELL: Final = 60  # blocks that the last one has
DEADEST: Final = 40  # fault points that a life reaches at most before it dies
FOR_EVER: Final = 2**40
ENDS: Final = (TxState.FINALIZED, TxState.CANCELLED)


@dataclass
class Toll:
    """What is counted."""

    kills: int = 0
    lives: int = 0  # that were not killed
    wishes: int = 0  # that were signed
    paid: int = 0
    cancelled: int = 0
    points: Counter[str] = field(default_factory=Counter)  # where the dead died
    wrong: list[str] = field(default_factory=list)


@dataclass
class World:
    """One key, one journal, one node."""

    node: Anvil
    path: Path
    key: bytes
    chance: random.Random
    toll: Toll

    def __post_init__(self) -> None:
        self.signer = local_signer(Key(self.key), CHAIN_ID)
        self.node.set_balance(self.signer.address, 10**21)
        genesis = self.node.rpc("eth_getBlockByNumber", "0x0", False)["hash"]
        self.binding = Binding(CHAIN_ID, bytes.fromhex(genesis[2:]), self.signer.address, "soak")
        self.wished: list[TxIntent] = []

    def wish(self) -> TxIntent:
        """One more; every third is good for a few blocks only."""
        n = len(self.wished)
        until = self.node.head().timestamp + 12 * self.chance.randrange(1, 4) if n % 3 == 0 else FOR_EVER
        call = Call(n.to_bytes(4) + self.key[:16], b"", 1)
        self.wished.append(TxIntent(n.to_bytes(8) + self.key[:24], call, 21_000, 10**17, until, f"wish {n}"))
        return self.wished[-1]


def bomb(fuse: int, last: Path) -> Callable[[str], None]:
    """Kill this process at the so-manieth fault point; the name of the point is left in a file."""
    left = fuse

    def fault(point: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            last.write_text(point)
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


class Life:
    """What a process does from its start to its death."""

    def __init__(self, world: World, wanted: list[TxIntent], seed: int, fault: Callable[[str], None]) -> None:
        self.world, self.wanted, self.fault = world, wanted, fault
        self.chance = random.Random(seed)

    def run(self, blocks: int) -> None:
        world = self.world
        with closing(LineNode(world.node.ipc)) as node, closing(Journal(world.path, world.binding)) as journal:
            manager = Manager(node, journal, world.signer, SETTINGS, fault=self.fault)
            asyncio.run(self._live(node, journal, manager, blocks))

    async def _live(self, node: LineNode, journal: Journal, manager: Manager, blocks: int) -> None:
        await manager.recover()
        later = list[TxIntent]()  # signed ahead
        for _ in range(blocks):
            if blocks == BLOCKS:
                self._mischief(node)
            head = node.mine()
            await manager.on_block(head)
            for wish in [*later, *self.wanted]:
                if journal.state_of(wish.id) is None and (wish in later or self.chance.random() < 0.6):
                    await manager.submit(wish, head)
            later = [wish for wish in self.wanted if journal.state_of(wish.id) is None]
            await manager.prepare(later, head)
            if self._over(journal, head):
                return

    def _over(self, journal: Journal, head: BlockRef) -> bool:
        unsigned = [wish for wish in self.wanted if journal.state_of(wish.id) is None]
        return not journal.flights() and all(wish.valid_until < head.timestamp for wish in unsigned)

    def _mischief(self, node: LineNode) -> None:
        dice = self.chance.random()
        if dice < 0.25:
            node.rpc("anvil_dropAllTransactions")
        elif dice < 0.35 and node.block().number > 4:
            node.rpc("anvil_reorg", self.chance.randrange(1, 3), [])
        elif dice < 0.55:
            node.rpc("anvil_setNextBlockBaseFeePerGas", hex(self.chance.randrange(10, 90) * GWEI))


def forked(work: Callable[[], None]) -> int:
    """Do it in a child; the status that ``waitpid`` gives."""
    child = os.fork()
    if child == 0:
        try:
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def generation(world: World, lives: int) -> Iterator[None]:
    """So many lives, then one that settles everything, then the judgement. Yields after each life."""
    last = world.path.with_suffix(".died")
    for _ in range(lives):
        fresh = [world.wish() for _ in range(world.chance.randrange(3))]
        wanted = [*world.wished[-8:], *fresh] if world.chance.random() < 0.5 else fresh
        fuse, seed = world.chance.randrange(1, DEADEST), world.chance.getrandbits(32)
        status = forked(lambda: Life(world, wanted, seed, bomb(fuse, last)).run(BLOCKS))  # noqa: B023  at once
        note(world.toll, status, last)
        yield
    status = forked(lambda: Life(world, world.wished[-8:], 0, lambda point: None).run(FAREWELL))
    if status != 0:
        world.toll.wrong.append(f"the last life ended with status {status}")
    judge(world)


def note(toll: Toll, status: int, last: Path) -> None:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        toll.kills += 1
        toll.points[last.read_text()] += 1
    elif status == 0:
        toll.lives += 1
    else:
        toll.wrong.append(f"a life ended with status {status}")


def judge(world: World) -> None:
    """Hold the journal against the chain."""
    toll, node = world.toll, world.node
    with closing(Journal(world.path, world.binding)) as journal:
        journal.verify()
        states = {wish.id: journal.state_of(wish.id) for wish in world.wished}
        flights, held = journal.flights(), journal.next_nonce()
    used = int(node.rpc("eth_getTransactionCount", world.signer.address, "latest"), 16)
    for wish in world.wished:
        paid, state = int(node.rpc("eth_getBalance", wish.call.target, "latest"), 16), states[wish.id]
        toll.wishes += state is not None
        toll.paid += paid
        toll.cancelled += state is TxState.CANCELLED
        if paid > 1:
            toll.wrong.append(f"two effects: {wish.purpose} was paid {paid} times")
        if paid != (state is TxState.FINALIZED) or (state is not None and state not in ENDS):
            toll.wrong.append(f"forgotten: {wish.purpose} is {state}, and was paid {paid} times")
    if flights or used != (held or 0) or used != sum(state is not None for state in states.values()):
        toll.wrong.append(f"gap: {used} nonces used, {held} in the journal, {len(flights)} open")


def soak(kills: int, seed: int = 1, tell: Callable[[Toll], object] = lambda toll: None) -> Toll:
    """Until so many processes have been killed; ``tell`` hears of it after each generation."""
    chance, toll = random.Random(seed), Toll()
    while toll.kills < kills and not toll.wrong:
        with Anvil() as node, TemporaryDirectory(prefix="keeper-soak-") as folder:
            world = World(node, Path(folder) / "journal.db", chance.randbytes(32), chance, toll)
            for _ in generation(world, min(LIVES, kills - toll.kills)):
                pass
        tell(toll)
    return toll


def main(kills: str = "1000", seed: str = "1") -> int:
    began = time.monotonic()
    toll = soak(int(kills), int(seed), lambda toll: sys.stderr.write(f"\r{toll.kills} killed"))
    seconds = time.monotonic() - began
    print(f"\n{toll.kills} processes killed, {toll.lives} not, in {seconds:.0f} s (seed {seed})")  # noqa: T201
    print(f"{toll.wishes} wishes signed: {toll.paid} paid, {toll.cancelled} cancelled")  # noqa: T201
    print("died " + ", ".join(f"{point}: {toll.points[point]}" for point in FAULT_POINTS + HELD_POINTS))  # noqa: T201
    for line in toll.wrong:
        print(f"WRONG {line}")  # noqa: T201
    return int(bool(toll.wrong))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""A small keeper process that wishes for three payments, and kills itself on the way when told to.

    python -m tests.faults.kill_child <anvil socket> <journal> <key> <deadline> [<fault point> <which time>]

Two wishes are for ever, the third is good until ``deadline`` only. Ends with 0 when all are final. For its first
blocks it empties the node's pool, so that where blocks come on demand, bids are raised and the third wish is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from keeper.model import Call, TxIntent, TxState
from keeper.tx.fees import Policy
from keeper.tx.journal import Binding, Journal
from keeper.tx.keys import Key
from keeper.tx.manager import Manager
from keeper.tx.settings import Settings
from keeper.tx.signer import local_signer
from keeper.units import GWEI
from tests.chain.manager_rig import LineNode

CHAIN_ID = 31337
SETTINGS = Settings(Policy(hard_cap=1000 * GWEI), confirmations=2, finality=4, bump_after=2)
FOR_EVER = 2**40
ENDS = (TxState.FINALIZED, TxState.CANCELLED)


def wishes(key: bytes, deadline: int) -> list[TxIntent]:
    """One wei to an address of its own each: the balance counts how often it happened."""
    untils = (FOR_EVER, FOR_EVER, deadline)
    return [
        TxIntent(key[:31] + bytes([n]), Call(bytes([n]) + key[:19], b"", 1), 21_000, 10**17, until, f"wish {n}")
        for n, until in enumerate(untils)
    ]


def bomb(point: str, times: int) -> Callable[[str], None]:
    left = times

    def fault(reached: str) -> None:
        nonlocal left
        left -= reached == point
        if left == 0 and reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


async def live(node: LineNode, journal: Journal, manager: Manager, wanted: list[TxIntent]) -> int:
    await manager.recover()
    for block in range(40):
        if block < 5:
            node.rpc("anvil_dropAllTransactions")
        head = node.mine()
        await manager.on_block(head)
        for wish in wanted:
            if journal.state_of(wish.id) is None:
                await manager.submit(wish, head)
        if not journal.flights() and all(_ended(journal, wish, head.timestamp) for wish in wanted):
            return 0
    return 1


def _ended(journal: Journal, wish: TxIntent, now: int) -> bool:
    state = journal.state_of(wish.id)
    return state in ENDS if state else now > wish.valid_until


def main(ipc: str, path: str, key: str, deadline: str, point: str = "", times: str = "0") -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    signer = local_signer(Key(bytes.fromhex(key)), CHAIN_ID)
    wanted = wishes(bytes.fromhex(key), int(deadline))
    with closing(LineNode(Path(ipc))) as node:
        binding = Binding(CHAIN_ID, node.block("0x0").hash, signer.address, "test")
        with closing(Journal(Path(path), binding)) as journal:
            manager = Manager(node, journal, signer, SETTINGS, fault=bomb(point, int(times)))
            return asyncio.run(live(node, journal, manager, wanted))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""kill -9 at every named point of the transaction manager; after that, every wish came true exactly once.

Each case is a chain of processes on one journal: some die, the last one lives. Blocks come either with each transaction
(an intent may be mined before its sender is dead) or on demand (bids are raised, and one wish expires).
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from pathlib import Path

import pytest

from keeper.model import TxState
from keeper.simulation.node import CHAIN_ID, Anvil
from keeper.tx.journal import Binding, Journal
from keeper.tx.keys import Key
from keeper.tx.manager import FAULT_POINTS
from keeper.tx.signer import local_signer
from tests.faults.kill_child import ENDS, wishes

pytestmark = pytest.mark.chain

AUTOMATIC, ON_DEMAND = "blocks with each transaction", "blocks on demand"


def deaths(blocks: str, point: str) -> tuple[int, ...]:
    """Which occurrence of the point kills the first process, the second, and the third in mid-replacement."""
    if blocks == AUTOMATIC:
        return 1, 2
    return 1, 2, 7 if point in ("before_send", "after_send") else 2


async def run(*arguments: object) -> int:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.kill_child", *map(str, arguments), cwd=Path(__file__).parents[2]
    )
    async with asyncio.timeout(20):
        return await child.wait()


@pytest.mark.fault("C01", "C02", "C03", "C04", "C05", "C06", "C07", "C08", "C39")
@pytest.mark.parametrize("blocks", [AUTOMATIC, ON_DEMAND])
@pytest.mark.parametrize("point", FAULT_POINTS)
async def test_a_killed_keeper_does_everything_once(blocks: str, point: str, tmp_path: Path) -> None:
    key, path = secrets.token_bytes(32), tmp_path / "journal.db"
    signer = local_signer(Key(key), CHAIN_ID)
    with Anvil(automine=blocks == AUTOMATIC) as anvil:
        anvil.set_balance(signer.address, 10**20)
        deadline = anvil.head().timestamp + 12 * 7
        for which in deaths(blocks, point):
            assert await run(anvil.ipc, path, key.hex(), deadline, point, which) == -signal.SIGKILL
        assert await run(anvil.ipc, path, key.hex(), deadline) == 0
        paid = [int(anvil.rpc("eth_getBalance", wish.call.target, "latest"), 16) for wish in wishes(key, deadline)]
        used = int(anvil.rpc("eth_getTransactionCount", signer.address, "latest"), 16)
        genesis = bytes.fromhex(anvil.rpc("eth_getBlockByNumber", "0x0", False)["hash"][2:])
    journal = Journal(path, Binding(CHAIN_ID, genesis, signer.address, "test"))
    states = [journal.state_of(wish.id) for wish in wishes(key, deadline)]
    journal.close()
    assert paid[:2] == [1, 1]
    assert paid == [state is TxState.FINALIZED for state in states]
    assert used == sum(state in ENDS for state in states)

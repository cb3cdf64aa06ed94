"""The next block when the last one has been dealt with; made by a process of its own, as in the world outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keeper.chain.codec import to_hex
from keeper.simulation.node import Anvil

PUBLISHER = b"p" * 20  # a contract that says something whenever it is called: a log without topics or data
SAYS = "0x60006000a000"  # PUSH1 0 PUSH1 0 LOG0 STOP
CALLER = b"c" * 20
MINER = """
import socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
answers = line.makefile("rb")
for _ in sys.stdin:
    for frame in sys.argv[2:]:
        line.sendall(frame.encode() + b"\\n")
        answers.readline()
"""


@contextmanager
def blocks(node: Anvil, *, published: bool = False) -> Iterator[Callable[[], None]]:
    """What asks for the next block, and does not wait for it. ``published``: each holds one log of the publisher."""
    frames = [_frame("evm_mine")]
    if published:
        node.rpc("anvil_setCode", PUBLISHER, SAYS)
        node.rpc("anvil_impersonateAccount", CALLER)
        node.set_balance(CALLER, 10**24)
        call = {"from": to_hex(CALLER), "to": to_hex(PUBLISHER), "gas": hex(50_000), "maxFeePerGas": hex(10**12)}
        frames.insert(0, _frame("eth_sendTransaction", call))
    command = [sys.executable, "-c", MINER, str(node.ipc), *frames]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as miner:
        assert miner.stdin

        def next() -> None:
            assert miner.stdin
            miner.stdin.write("\n")
            miner.stdin.flush()

        yield next


def _frame(method: str, *params: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

"""A real Anvil that mines only when told, reachable over all three transports."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any, Self

from keeper.chain.rpc import Rpc, connect
from keeper.model import Address, BlockRef, Hash

BINARY = next((Path(__file__).parents[2] / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil"), Path("anvil"))
TRANSPORTS = ("ipc", "ws", "http")
START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1

TOPIC = (0x2A).to_bytes(32, "big")
LOGGER = "602a60206000a100"  # LOG1 with topic 0x2a over 32 zero bytes
MOMENT = "42600052436020524860405260606000f3"  # returns timestamp, number, base fee
REVERTER = "60aa60005260206000fd"  # reverts with the word 0xaa


class Anvil:
    """``async with Anvil() as anvil``. The process dies with the test run, however that ends."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        self.port = port or free_port()
        self._arguments = arguments
        self._folder = tempfile.TemporaryDirectory(prefix="anvil")

    async def __aenter__(self) -> Self:
        command = [BINARY, "--no-mining", "--port", self.port, "--ipc", self.path("ipc"), *self._arguments]
        self._process = await asyncio.create_subprocess_exec(
            *map(str, command), stdout=asyncio.subprocess.PIPE, preexec_fn=_die_with_parent
        )
        async with asyncio.timeout(START_SECONDS):
            await self._listening()
        self._drain = asyncio.create_task(self._read_on())
        self.rpc = connect(self.path("ipc"))
        (self.sender,) = (await self.rpc.call("eth_accounts"))[:1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rpc.close()
        await self.kill()
        self._folder.cleanup()

    def path(self, transport: str) -> str:
        if transport == "ipc":
            return str(Path(self._folder.name) / "node.ipc")
        return f"{transport}://127.0.0.1:{self.port}"

    def connect(self, transport: str) -> Rpc:
        return connect(self.path(transport))

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._drain

    # ── what happens on the chain ──

    async def do(self, method: str, *params: Any) -> Any:
        return await self.rpc.call(method, *params)

    async def mine(self, *calls: Address) -> BlockRef:
        """One block in which these contracts are called."""
        for target in calls:
            await self.do("eth_sendTransaction", {"from": self.sender, "to": "0x" + target.hex()})
        await self.do("evm_mine")
        return await self.head()

    async def deploy(self, runtime: str) -> Address:
        size = len(runtime) // 2
        init = f"60{size:02x}600c60003960{size:02x}6000f3{runtime}"
        tx = await self.do("eth_sendTransaction", {"from": self.sender, "data": "0x" + init})
        await self.do("evm_mine")
        receipt = await self.do("eth_getTransactionReceipt", tx)
        return bytes.fromhex(receipt["contractAddress"][2:])

    async def head(self) -> BlockRef:
        from keeper.chain.node import Node

        return await Node(self.rpc).block("latest")

    async def hash(self, number: int) -> Hash:
        block = await self.do("eth_getBlockByNumber", hex(number), False)
        return bytes.fromhex(block["hash"][2:])

    async def _listening(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if b"Listening on" in line:
                return
        raise AssertionError("anvil ended before it listened")

    async def _read_on(self) -> None:
        assert self._process.stdout is not None
        while await self._process.stdout.read(2**16):
            pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

"""A real Anvil node in a process of its own, for simulations, forks and tests.

    with Anvil(timestamp=1_700_000_000) as node:        # or ``async with``
        node.set_balance(address, 10**18)
        node.mine(timestamp=1_700_000_012)

The defaults make a world that only its driver moves: no block unless asked for, transactions in the order of
arrival, mainnet's gas cap per transaction. The RPC here is synchronous and meant for that driver; the keeper
itself talks to ``url``, ``ws`` or ``ipc`` through its own client.

Raises NotFound and Misconfigured (no usable binary, bad arguments), NodeUnavailable (node or upstream does not
answer), Reverted, and Broken for a request that the node refuses: a driver must not send one.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from keeper.errors import Broken, KeeperError, Misconfigured, NodeUnavailable, NotFound, Reverted
from keeper.model import Address, BlockRef

CHAIN_ID: Final = 31337
FORK_CHAIN_ID: Final = 0x6B656570  # "keep": no known chain, so what is signed on a fork is worthless upstream
ANSWER: Final = 120.0  # seconds; a fork may have to fetch state from a slow upstream

_KEPT: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")
_PR_SET_PDEATHSIG: Final = 1


def find_anvil(environ: Mapping[str, str] = os.environ) -> Path:
    """KEEPER_ANVIL, else the npm package upward from the working directory or this project, else PATH.

    Never the npm wrapper script: killing it leaves the node behind.
    """
    if given := environ.get("KEEPER_ANVIL"):
        if not _native(Path(given)):
            raise Misconfigured(f"KEEPER_ANVIL={given} is not a native anvil binary", help="name the binary itself")
        return Path(given).resolve()
    inside = Path("node_modules", "@foundry-rs", f"anvil-{_platform()}", "bin", "anvil")
    roots = (Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents)
    on_path = shutil.which("anvil", path=environ.get("PATH"))
    for candidate in (*(root / inside for root in roots), *([Path(on_path)] if on_path else [])):
        if _native(candidate):
            return candidate.resolve()
    raise NotFound(
        f"no anvil binary: neither {inside} in this folder or above, nor on PATH",
        help="run `npm ci` in the project, or set KEEPER_ANVIL to an anvil binary",
    )


def _platform() -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"{sys.platform}-{machine}"


def _native(path: Path) -> bool:
    if not (path.is_file() and os.access(path, os.X_OK)):
        return False
    with path.open("rb") as file:
        return file.read(2) != b"#!"


@dataclass(kw_only=True, eq=False)
class Anvil:
    """One node, from ``start`` to ``stop``. Only the process started here is ever signalled.

    On Linux the node also dies with the *thread* that started it, even by SIGKILL: start it from one that
    lives as long. A fork never follows its upstream, and keeps nothing on disk.
    """

    chain_id: int | None = None  # None: CHAIN_ID, or FORK_CHAIN_ID on a fork
    order: Literal["fifo", "fees"] = "fifo"  # "fees" sorts by maxFeePerGas, not by tip as real builders do
    automine: bool = False  # a block for each transaction
    block_time: int | None = None  # seconds between blocks that come by themselves
    timestamp: int | None = None  # of the genesis block
    base_fee: int | None = None  # wei per gas, of the genesis block
    gas_limit: int | None = None  # of a block; None: 30 million, or upstream's
    state: bytes | None = field(default=None, repr=False)  # what ``dump_state`` returned
    fork_url: str | None = field(default=None, repr=False)  # may hold a key: kept out of argv and messages
    fork_block: int | None = None
    extra: tuple[str, ...] = ()  # further arguments of anvil, as they are
    patience: float = 30.0  # seconds to come up
    port: int = field(default=0, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _room: Path | None = field(default=None, init=False, repr=False)  # private: socket, log, state
    _wire: _Wire | None = field(default=None, init=False, repr=False)

    # ── life ──

    def start(self) -> Self:
        with self._all_or_nothing():
            self._spawn()
            self._await_answer()
        return self

    def stop(self) -> None:
        """Kill the node, wait for its end, remove its files. Nothing happens when it is not running."""
        if self._wire:
            self._wire.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._room:
            shutil.rmtree(self._room, ignore_errors=True)
        self._wire = self._process = self._room = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        import asyncio

        with self._all_or_nothing():
            self._spawn()  # in this thread: the node dies with the one that starts it
            await asyncio.to_thread(self._await_answer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    # ── where it is ──

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """The WebSocket; denser than one message in 40 ms it suffers from delayed ACKs, which ``ipc`` does not."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def ipc(self) -> Path:
        return self._running()[1] / "ipc"

    @property
    def pid(self) -> int:
        return self._running()[0].pid

    # ── driving ──

    def rpc(self, method: str, *params: Any) -> Any:
        """One request; ``bytes`` in ``params`` become 0x-hex, integers stay JSON numbers."""
        answer = self._exchange({"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
        return self._result(method, answer)

    def batch(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Many ``(method, *params)`` in one message; results in the order of ``calls``, the first refusal raised.

        Anvil does **not** run a batch in order: give transactions of one sender their nonces, and do not mine
        in the same batch.
        """
        requests = [{"jsonrpc": "2.0", "id": i, "method": c[0], "params": c[1:]} for i, c in enumerate(calls)]
        if not requests:
            return []
        answers = {answer["id"]: answer for answer in self._exchange(requests)}
        return [self._result(call[0], answers[i]) for i, call in enumerate(calls)]

    def mine(self, timestamp: int | None = None) -> BlockRef:
        """Mine what is pending into one block, at ``timestamp`` (chain seconds, not before the last block's).

        None leaves it to anvil's clock, which runs on with wall time: no two runs are then the same.
        """
        self.rpc("evm_mine", *([] if timestamp is None else [{"timestamp": timestamp}]))
        return self.head()

    def head(self) -> BlockRef:
        block = self.rpc("eth_getBlockByNumber", "latest", False)
        return BlockRef(
            number=int(block["number"], 16),
            hash=bytes.fromhex(block["hash"][2:]),
            parent=bytes.fromhex(block["parentHash"][2:]),
            timestamp=int(block["timestamp"], 16),
            base_fee=int(block["baseFeePerGas"], 16),
            gas_used=int(block["gasUsed"], 16),
            gas_limit=int(block["gasLimit"], 16),
        )

    def set_balance(self, address: Address, wei: int) -> None:
        self.rpc("anvil_setBalance", address, hex(wei))

    def snapshot(self) -> str:
        """An id for ``revert``, good for one use; it also ends with any revert to an earlier snapshot."""
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Back to ``snapshot``. Subscribers are not told, and block numbers are used again."""
        if not self.rpc("evm_revert", snapshot):
            raise Broken(f"anvil has no snapshot {snapshot}: each is good for one revert")

    def dump_state(self) -> bytes:
        """Accounts and blocks, gzipped JSON; the state *of old blocks* is not in it."""
        return bytes.fromhex(self.rpc("anvil_dumpState")[2:])

    def load_state(self, state: bytes) -> None:
        """Merge a dump into the running world. Slow beyond 5 MB: start with ``Anvil(state=...)`` instead."""
        self.rpc("anvil_loadState", state)

    # ── inside ──

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        if self._process:
            raise Broken("this Anvil is running already")
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def _running(self) -> tuple[subprocess.Popen[bytes], Path]:
        if self._process is None or self._room is None:
            raise Broken("this Anvil is not running", help="use it inside `with Anvil(...) as node:`")
        return self._process, self._room

    def _spawn(self) -> None:
        binary = find_anvil()
        self._room = room = Path(tempfile.mkdtemp(prefix="keeper-anvil-"))
        arguments = self._arguments(room)
        with (room / "log").open("wb") as log, warnings.catch_warnings():
            # Python 3.12 warns of forking in a threaded process; the hook makes two system calls and no more.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = subprocess.Popen(  # noqa: S603  the arguments are made below, without a shell
                [binary, *arguments],
                cwd=room,
                env=_environment(room),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_this_thread(),
            )

    def _arguments(self, room: Path) -> list[str]:
        default_id = CHAIN_ID if self.fork_url is None else FORK_CHAIN_ID
        values = {
            "--port": 0,  # the system chooses, so two nodes never collide; anvil prints which
            "--ipc": room / "ipc",
            "--order": self.order,
            "--chain-id": default_id if self.chain_id is None else self.chain_id,
            "--block-time": self.block_time,
            "--timestamp": self.timestamp,
            "--block-base-fee-per-gas": self.base_fee,
            "--gas-limit": self.gas_limit,
            "--fork-block-number": self.fork_block,
            "--load-state": self._write_state(room),
        }
        flags = ["--no-request-size-limit", "--enable-tx-gas-limit", *self._write_fork(room), *self.extra]
        if not self.automine and self.block_time is None:
            flags.append("--no-mining")
        return [str(part) for pair in values.items() if pair[1] is not None for part in pair] + flags

    def _write_state(self, room: Path) -> Path | None:
        if self.state is None:
            return None
        (room / "state.json").write_bytes(gzip.decompress(self.state))
        return room / "state.json"

    def _write_fork(self, room: Path) -> list[str]:
        """The upstream is named in a private file, because everyone on the machine can read an argv."""
        if self.fork_url is None:
            return []
        (room / "foundry.toml").write_text(f"[rpc_endpoints]\nupstream = {json.dumps(self.fork_url)}\n")
        return ["--fork-url", "upstream", "--no-storage-caching"]

    def _await_answer(self) -> None:
        """Wait for the port and the first answer; then silence the log, which would grow with each request."""
        process, room = self._running()
        deadline = time.monotonic() + self.patience
        while not (found := re.search(r"Listening on [\d.]+:(\d+)", (room / "log").read_text(errors="replace"))):
            if process.poll() is not None:
                raise self._failed_start(room, process.returncode)
            if time.monotonic() > deadline:
                raise NodeUnavailable(f"anvil did not come up within {self.patience:g} s")
            time.sleep(0.002)
        self.port = int(found[1])
        self._wire = _Wire(room / "ipc")
        self.rpc("anvil_setLoggingEnabled", False)

    def _failed_start(self, room: Path, code: int) -> KeeperError:
        said = " ".join((room / "log").read_text(errors="replace").split())[-400:]
        kind = Misconfigured if code == 2 else NodeUnavailable  # 2: anvil rejects its arguments
        return kind(f"anvil ended with code {code} at start: {_without_urls(said)}")

    def _exchange(self, body: object) -> Any:
        if self._wire is None:
            raise Broken("this Anvil is not running", help="use it inside `with Anvil(...) as node:`")
        return self._wire.exchange(body)

    def _result(self, method: str, answer: Mapping[str, Any]) -> Any:
        if "error" not in answer:
            return answer["result"]
        code, message = answer["error"]["code"], _without_urls(answer["error"]["message"][:300])
        if code == 3:
            raise Reverted(f"{method}: {message}", bytes.fromhex((answer["error"].get("data") or "0x")[2:]))
        if "error sending request" in message:  # a fork whose upstream does not answer
            raise NodeUnavailable(f"{method}: {message}")
        raise Broken(f"anvil refused {method}: {message} ({code})")


class _Wire:
    """JSON lines over anvil's unix socket, one exchange at a time. NodeUnavailable when it breaks."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise NodeUnavailable(f"cannot reach anvil's socket: {error}") from error
        self._answers = self._socket.makefile("rb")

    def exchange(self, body: object) -> Any:
        try:
            self._socket.sendall(json.dumps(body, default=_hex).encode() + b"\n")
            line = self._answers.readline()
        except OSError as error:
            raise NodeUnavailable(f"anvil does not answer: {error}") from error
        if not line.endswith(b"\n"):
            raise NodeUnavailable("anvil closed the connection")
        return json.loads(line)

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    raise TypeError(f"{type(value).__name__} does not go over the wire")


def _without_urls(text: str) -> str:
    return re.sub(r"\b(https?|wss?)://[^\s)\"']+", "<url>", text)


def _environment(home: Path) -> dict[str, str]:
    """What reaching an upstream takes and nothing else: the node is not told our secrets."""
    return {name: value for name, value in os.environ.items() if name.lower() in _KEPT} | {"HOME": str(home)}


def _die_with_this_thread() -> Callable[[], None] | None:
    """A hook for the new process: SIGKILL to it when its parent is gone. Linux only."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def hook() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request was in force
            os._exit(1)

    return hook

"""An endpoint that cannot prove who it is gets nothing to read, not even over plain HTTP."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keeper.chain.pool import Pool
from keeper.chain.rpc import connect
from keeper.chain.standing import Standings, State
from keeper.errors import NodeUnavailable
from keeper.testing.clock import VirtualClock
from tests.unit.node_script import Script, block, word
from tests.unit.rpc_server import Server

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate with")


class Impostor:
    """Listens with a certificate that nobody vouches for, and keeps what it is sent."""

    def __init__(self, folder: Path) -> None:
        self.heard = b""
        self._files = folder / "key.pem", folder / "cert.pem"

    async def __aenter__(self) -> Impostor:
        key, cert = map(str, self._files)
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        await asyncio.to_thread(
            subprocess.run, [*command, "-keyout", key, "-out", cert], check=True, capture_output=True
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self._server = await asyncio.start_server(self._listen, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += await reader.read(1_000)
        writer.close()


@pytest.fixture
async def impostor(tmp_path: Path) -> AsyncIterator[Impostor]:
    async with Impostor(tmp_path) as made, asyncio.timeout(20):
        yield made


@pytest.mark.fault("R33")
@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(scheme: str, impostor: Impostor) -> None:
    rpc = connect(f"{scheme}://127.0.0.1:{impostor.port}/secret")
    with pytest.raises(NodeUnavailable) as caught:
        await rpc.call("eth_chainId")
    await rpc.close()
    assert "secret" not in str(caught.value)
    assert impostor.heard == b""


@pytest.mark.fault("R33")
async def test_and_another_endpoint_takes_over(impostor: Impostor, tmp_path: Path) -> None:
    server = await Server("http", tmp_path).start()
    script = Script(server)
    script.answers |= {"eth_chainId": "0x1", "eth_getBlockByNumber": block(number="0x0", hash=word(b"\x0a" * 32))}
    standings = Standings(["one", "two"], 1, VirtualClock().monotonic)
    pool = Pool([connect(f"https://127.0.0.1:{impostor.port}"), connect(server.url)], standings)
    assert await pool.call("eth_chainId") == "0x1"
    assert [one.state for one in standings.of] == [State.UNREACHABLE, State.ALIVE]
    await pool.close()
    await server.stop()
    assert impostor.heard == b""

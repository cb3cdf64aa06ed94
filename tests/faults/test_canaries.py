"""Zero hits: a run at the most verbose level, among nodes that echo what they are told, to the last traceback."""

from __future__ import annotations

import json
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from keeper.simulation.node import CHAIN_ID
from keeper.testing import faults
from keeper.testing.canary import Canaries
from keeper.testing.proxy import Proxy
from keeper.tx.keys import Key
from keeper.tx.signer import local_signer
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

SPELLINGS = ("hex", "number", "base64", "list of numbers", "repr")


@pytest.mark.fault("L01")
@pytest.mark.parametrize("how", SPELLINGS)
def test_a_canary_is_found_in_every_spelling(how: str, tmp_path: Path) -> None:
    canaries = Canaries()
    key = canaries.key("signer")
    written = {
        "hex": "0x" + key.hex().upper(),
        "number": str(int.from_bytes(key)),
        "base64": b64encode(key).decode(),
        "list of numbers": str(list(key)),
        "repr": repr(key),
    }[how]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log").write_text(f"so it was {written}!")
    assert f"signer as {how}" in canaries.hits(f"x{written}x")
    assert any(how in hit for hit in canaries.hits_below(tmp_path))
    assert canaries.hits("nothing", b"\xff\x00") == []


def test_a_password_is_found_as_text_and_in_a_url() -> None:
    canaries = Canaries()
    password = canaries.text("password")
    assert (
        canaries.hits(f"it is {password}")
        and canaries.hits(quote(password, safe=""))
        and canaries.hits(json.dumps(password))
    )


@pytest.mark.chain
@pytest.mark.fault("L01", "L02", "L03", "L05", "R34", "K05", "H03", "K03")
async def test_a_whole_run_shows_none_of_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = Canaries()
    with crash(tmp_path / "world", 50) as scene:
        token, password = canaries.token("token in the URL"), canaries.text("password")
        monkeypatch.setenv("NODE_TOKEN", token)
        keystore = stored(scene, canaries, password, tmp_path)
        async with echoing(scene, tmp_path, token) as proxy, run(scene, proxy, keystore) as keeper:
            port = (await keeper.heard("http.listening"))["port"]
            await keeper.heard("turn.done", "turn.skipped")
            for _ in range(4):
                await keeper.heard("turn.done", "turn.skipped", block=scene.step().number)
            assert keeper.has("tx.signed")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:  # noqa: ASYNC210  at once
                metrics = answer.read()
            environment = Path(f"/proc/{keeper.pid}/cmdline").read_bytes()  # noqa: ASYNC240
            scene.step(12)  # until the strategy breaks
            assert await keeper.ended() == 1
        said = (keeper.said, keeper.stdout, json.dumps(keeper.events), metrics, environment)
        assert any("Traceback" in text for text in said[:3] if isinstance(text, str))
        assert canaries.hits(*said) == []
        kept = (tmp_path / "world" / "key", tmp_path / "keystore", tmp_path / "password")
        assert canaries.hits_below(tmp_path, but=kept) == []


def stored(scene: Scene, canaries: Canaries, password: str, folder: Path) -> tuple[Path, Path]:
    """The world's own key, watched from now on, in a keystore behind the password."""
    from eth_account import Account

    key = canaries.watch("key of the signer", scene.world.keeper.key)
    assert local_signer(Key(key), CHAIN_ID).address == scene.world.keeper.address
    files = folder / "keystore", folder / "password"
    for file, text in zip(files, (json.dumps(Account.encrypt(key, password, iterations=4096)), password), strict=True):
        file.touch(mode=0o600)
        file.write_text(text)
    return files


@asynccontextmanager
async def echoing(scene: Scene, folder: Path, token: str) -> AsyncIterator[Proxy]:
    """A node that puts the URL that it was asked at into what it says."""
    async with Proxy(scene.node.ipc, folder) as proxy:
        words = f"upstream https://user:{token}@node.example/v2/{token}?key={token} failed"
        proxy.on("eth_getBlockByNumber", faults.error(-32603, words), times=2, skip=8)
        proxy.on("eth_feeHistory", faults.error(-32603, words, data={"url": words}), times=1)
        proxy.on("eth_sendRawTransaction", faults.failing(-32000, words), times=1)
        yield proxy


def run(scene: Scene, proxy: Proxy, keystore: tuple[Path, Path]) -> Process:
    file, password = (json.dumps(str(path)) for path in keystore)
    sets = (
        f"chains.local.rpc={proxy.http}/v2/${{NODE_TOKEN}}?key=${{NODE_TOKEN}}",
        "http.listen=127.0.0.1:0",
        "strategies.dutch.use=tests.worlds.breaking:Breaking",
        f"strategies.dutch.options.at={scene.world.now + 12 * scene.world.block_time}",
    )
    config = scene.config.read_text()
    start = config.index("key = { file")
    end = config.index("\n", start)
    scene.config.write_text(f"{config[:start]}keystore = {file}\npassword = {{ file = {password} }}{config[end:]}")
    return Process("run", "-v", "-c", scene.config, "--live", *(f"--set={one}" for one in sets))

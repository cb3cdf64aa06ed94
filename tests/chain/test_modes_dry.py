"""A dry run, the default: it looks, decides, says what it would do; it sends nothing and needs no key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from keeper import bootstrap
from keeper.model import Reason
from keeper.observe.decisions import read
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("world"), 59, rivals=1) as scene:
        yield scene


@pytest.fixture
def keyless(scene: Scene, tmp_path: Path) -> Path:
    """The configuration of a person who has no key at all."""
    text = re.sub(r"\[signers\.main\]\nkey = .*\n", "", scene.config.read_text())
    file = tmp_path / "keeper.toml"
    file.write_text(text.replace('mode  = "live"', 'mode  = "dry"').replace("enabled = true", "enabled = false"))
    return file


async def test_once_it_looks_decides_and_ends_with_0(scene: Scene, keyless: Path, tmp_path: Path) -> None:
    before = scene.node.rpc("txpool_content")
    async with Process("run", "-c", keyless, "--once", "--state-dir", tmp_path) as keeper:
        assert (await keeper.heard("run.starting"))["sends"] is False
        said = await keeper.heard("tx.would_send")
        assert await keeper.ended() == 0
    assert (said["purpose"][:4], said["succeeds"]) == ("flag", True)
    assert [line["block"] for line in keeper.events if line["event"] == "turn.done"] == [scene.world.book.ref.number]
    assert scene.node.rpc("txpool_content") == before
    assert not journals(tmp_path)


async def test_what_it_would_have_done_is_in_the_decision_log(keyless: Path, tmp_path: Path) -> None:
    async with Process("run", "-c", keyless, "--once", "--state-dir", tmp_path) as keeper:
        assert await keeper.ended() == 0
    _, records = read(tmp_path / "decisions-dry-1.jsonl")
    ends = [record.fields["why"] for record in records if record.event == "tx.abandoned"]
    assert ends and set(ends) == {Reason.NOT_ARMED}


async def test_the_market_moves_on_and_it_never_sends(scene: Scene) -> None:
    async def step(_: object) -> bool:
        scene.step()
        return True

    settings = scene.settings("keeper.mode=dry")
    async with bootstrap.keeper(settings, bootstrap.Dry(), (), step) as keeper:
        await keeper.daemon.run(10)
    assert scene.sent() == []


async def test_without_an_operator_it_says_that_nothing_can_succeed(
    scene: Scene, keyless: Path, tmp_path: Path
) -> None:
    other = f"--set=protocols.options.desk=0x{scene.world.owner.address.hex()}"
    async with Process("run", "-c", keyless, "--once", "--state-dir", tmp_path, other) as keeper:
        await keeper.heard("dry.nobody")
        assert await keeper.ended() == 0


def journals(folder: Path) -> list[Path]:
    return list(folder.glob("*.db*"))

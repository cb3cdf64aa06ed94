"""A wrong configuration ends ``keeper run`` with 3, naming file, line and fix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keeper.cli.app import main
from tests.unit import logs
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("world"), 1, accounts=4) as scene:
        yield scene


async def said(verb: str, file: Path, *flags: str) -> tuple[int, str]:
    """Exit code and words."""
    async with Process(verb, "-c", file, *flags) as keeper:
        return await keeper.ended(), keeper.said


@pytest.mark.parametrize(
    ("verb", "right", "wrong", "words"),
    [
        ("run", "max_inflight = 32", "max_inflite = 32", 'did you mean "max_inflight"?'),
        ("run", "max_inflight = 32", 'max_inflight = "many"', "risk.max_inflight needs a whole number"),
        ("run", "strategies.dutch:Dutch", "strategies.dutch:Duch", "help: name a module and a class in it"),
        ("run", "id            = 31337", "id            = 1801807216", "help: set id = 31337"),
        ("record", "id            = 31337", "id            = 1801807216", "help: set id = 31337"),
    ],
    ids=["unknown key", "wrong type", "no such strategy", "wrong chain", "wrong chain to record"],
)
async def test_a_mistake_is_shown_where_it_stands(
    verb: str, right: str, wrong: str, words: str, scene: Scene, tmp_path: Path
) -> None:
    text, file = scene.config.read_text(), tmp_path / "keeper.toml"
    assert text.count(right) == 1
    file.write_text(text.replace(right, wrong))
    code, shown = await said(verb, file, *(["--live"] if verb == "run" else []))
    line = text[: text.index(right)].count("\n") + 1
    assert (code, f"{file}:{line}:" in shown, words in shown) == (3, True, True), shown


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, shown = await said("run", tmp_path / "nope.toml")
    assert (code, f"no configuration file {tmp_path / 'nope.toml'}" in shown) == (3, True), shown
    assert "help: give another with -c" in shown


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ((), 3, 'mode is "live", but --live was not given'),
        (("--live", "--set=keeper.mode=dry"), 3, '--live was given, but mode is "dry"'),
        (("--fork", "http://127.0.0.1:1", "--live"), 2, "contradict each other"),
        (("--fork", "gopher://127.0.0.1"), 2, "--fork is neither"),
    ],
    ids=["no --live", "no mode", "a live fork", "no node to fork"],
)
def test_flags_that_do_not_fit_are_refused(
    flags: tuple[str, ...], code: int, words: str, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    with logs.restored():
        assert main(["run", "-c", str(scene.config), *flags]) == code
    assert words in capsys.readouterr().err

"""Which anvil is started: the native one, never the npm wrapper. No node runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.errors import Misconfigured, NotFound
from keeper.simulation import node
from keeper.simulation.node import find_anvil


def program(path: Path, content: bytes = b"\x7fELF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with no project above it, of this package or another."""
    monkeypatch.setattr(node, "__file__", str(tmp_path / "lib" / "node.py"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    return tmp_path


def npm(root: Path) -> Path:
    return root / "node_modules" / "@foundry-rs" / f"anvil-{node._platform()}" / "bin" / "anvil"


def test_the_one_named_in_the_environment_comes_first(elsewhere: Path) -> None:
    program(npm(elsewhere))
    named = program(elsewhere / "mine" / "anvil")
    assert find_anvil({"KEEPER_ANVIL": str(named)}) == named


def test_a_named_one_that_is_missing_is_an_error_not_a_fallback(elsewhere: Path) -> None:
    program(npm(elsewhere))
    with pytest.raises(Misconfigured, match="KEEPER_ANVIL"):
        find_anvil({"KEEPER_ANVIL": str(elsewhere / "nothing")})


def test_the_npm_package_is_found_in_a_folder_above(elsewhere: Path) -> None:
    there = program(npm(elsewhere))
    assert find_anvil({"PATH": ""}) == there


def test_the_npm_package_of_this_project_is_found_from_anywhere(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "__file__", str(elsewhere / "project" / "keeper" / "node.py"))
    there = program(npm(elsewhere / "project"))
    assert find_anvil({"PATH": ""}) == there


def test_one_on_the_path_is_the_last_resort(elsewhere: Path) -> None:
    there = program(elsewhere / "bin" / "anvil")
    assert find_anvil({"PATH": str(elsewhere / "bin")}) == there


def test_the_npm_wrapper_on_the_path_is_not_taken(elsewhere: Path) -> None:
    program(elsewhere / "bin" / "anvil", b"#!/usr/bin/env node\n")
    with pytest.raises(NotFound):
        find_anvil({"PATH": str(elsewhere / "bin")})


def test_the_npm_wrapper_named_in_the_environment_is_refused(elsewhere: Path) -> None:
    wrapper = program(elsewhere / "bin" / "anvil", b"#!/usr/bin/env node\n")
    with pytest.raises(Misconfigured, match="native"):
        find_anvil({"KEEPER_ANVIL": str(wrapper)})


def test_without_any_the_fix_is_named(elsewhere: Path) -> None:
    with pytest.raises(NotFound) as caught:
        find_anvil({"PATH": ""})
    assert "npm ci" in caught.value.help

"""A start reads accounts at a block in place of following them from the first: the book is the same, to the wei."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from keeper import bootstrap
from keeper.chain import filling
from keeper.chain.node import Node
from keeper.chain.rpc import RpcError
from keeper.daemon import nothing
from keeper.errors import NodeUnavailable
from keeper.model import BlockRef, Hash, Reading
from tests.worlds.market import CONTENT, Scene, clean, crash, known

pytestmark = pytest.mark.chain
NEVER = 10**9  # blocks: no chain is old enough


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("start"), 56, rivals=2) as scene:
        yield scene


async def from_logs(scene: Scene, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    with patch.context() as once, capture_logs() as said:
        once.setattr(filling, "DEPTH", NEVER)
        found = await clean(scene.settings(*CONTENT))
    assert not [line for line in said if line["event"].startswith("book.")]
    return found


async def begun(scene: Scene, step: Callable[[BlockRef], Awaitable[bool]] = nothing, turns: int = 1) -> Any:
    """What is known after so many turns, and what was said of reading."""
    with capture_logs() as said:
        async with bootstrap.keeper(scene.settings(*CONTENT), bootstrap.Dry(), (), step) as keeper:
            await keeper.daemon.run(turns)
            return known(keeper.kernel), [line for line in said if line["event"].startswith("book.")]


@pytest.mark.parametrize(("depth", "call", "span"), [(5, 1_000, 2_000), (30, 7, 3)])
async def test_accounts_read_are_the_accounts_followed(
    scene: Scene, depth: int, call: int, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = await from_logs(scene, monkeypatch)
    monkeypatch.setattr(filling, "DEPTH", depth)
    monkeypatch.setattr(filling, "TO_A_CALL", call)
    monkeypatch.setattr(filling, "SPANS", (span, span))
    found, [line] = await begun(scene)
    assert line["event"] == "book.read"
    assert line["accounts"] >= len(right["columns"]) > 40  # some have nothing left
    assert right["block"].number - depth <= line["block"] < right["block"].number
    assert found == right


async def test_a_reorg_below_the_block_has_them_read_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lost blocks did to accounts is not kept."""
    monkeypatch.setattr(filling, "DEPTH", 4)
    turns = count()

    async def step(ref: BlockRef) -> bool:
        if (turn := next(turns)) == 1:
            scene.node.rpc("anvil_reorg", 9, [])
            scene.returned(9)
        elif turn < 5:
            scene.step()
        return turn < 5

    found, said = await begun(scene, step, 9)
    assert [line["event"] for line in said] == ["book.read", "book.read"]
    assert said[1]["block"] > said[0]["block"] - 5
    assert found == await from_logs(scene, monkeypatch)


async def test_what_fails_is_tried_at_the_next_block(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, reread = count(), Node.reread

    async def faltering(node: Node, reading: Reading, block: Hash) -> bytes:
        if next(asked) in (1, 2):  # the first is the question whether it can
            raise NodeUnavailable("gone for a moment")
        return await reread(node, reading, block)

    right = await from_logs(scene, monkeypatch)
    monkeypatch.setattr(filling, "DEPTH", 6)
    monkeypatch.setattr(Node, "reread", faltering)
    found, said = await begun(scene)
    assert [line["event"] for line in said] == ["book.unread", "book.unread", "book.read"]
    assert found == right


async def test_a_node_that_refuses_many_at_once_is_asked_for_fewer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, reread = list[int](), Node.reread

    async def limited(node: Node, reading: Reading, block: Hash) -> bytes:
        asked.append(len(reading.keys))
        if len(reading.keys) > 7:
            raise RpcError("n", -32000, "out of gas")
        return await reread(node, reading, block)

    right = await from_logs(scene, monkeypatch)
    monkeypatch.setattr(filling, "DEPTH", 6)
    monkeypatch.setattr(Node, "reread", limited)
    found, said = await begun(scene)
    assert [line["event"] for line in said] == ["book.read"]
    assert max(asked) > 7
    assert found == right


@pytest.mark.parametrize("answer", [RpcError("n", -32602, "too many arguments, want at most 2"), b"", bytes(33)])
async def test_a_node_that_cannot_is_believed_and_logs_are_followed(
    scene: Scene, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(node: Node, reading: Reading, block: Hash) -> bytes:
        if isinstance(answer, bytes):
            return answer
        raise answer

    right = await from_logs(scene, monkeypatch)
    monkeypatch.setattr(filling, "DEPTH", 6)
    monkeypatch.setattr(Node, "reread", refused)
    found, [said, *_] = await begun(scene)
    assert (said["event"], bool(said["why"])) == ("book.from_logs", True)
    assert found == right

"""The book is read again from the chain, account by account, and corrected where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keeper import bootstrap
from keeper.core import desk as core
from keeper.model import Effect, Key, Record, Turn
from tests.worlds.market import Scene, clean, crash, known

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("audit"), 12) as scene:
        yield scene


class Heard:
    """Implements ``ports.Watcher``."""

    def __init__(self) -> None:
        self.diverged: list[Record] = []

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Record) and effect.event == "book.diverged":
            self.diverged.append(effect)

    def turn(self, turn: Turn) -> None: ...


async def test_a_right_book_is_left_alone(scene: Scene) -> None:
    heard = Heard()
    async with bootstrap.keeper(scene.settings(), bootstrap.Dry(), [heard]) as keeper:
        await keeper.daemon.run(1)
        for reading in keeper.kernel.rereads("options"):
            answer = await keeper.node.reread(reading, keeper.kernel.ref.hash)
            assert keeper.kernel.amend(reading, answer) == []
            assert len(answer) > 32 * len(reading.keys)
    assert heard.diverged == []


async def test_a_wrong_book_is_an_alarm_and_read_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two accounts are wrong, the sample has one of them, and all are corrected."""
    monkeypatch.setattr(core, "AUDITED", 1)
    right, heard = await clean(scene.settings()), Heard()
    async with bootstrap.keeper(scene.settings(), bootstrap.Dry(), [heard]) as keeper:
        await keeper.daemon.run(1)
        [desk] = keeper.kernel.desks
        columns, ref = desk.book.columns, keeper.kernel.ref
        [sampled] = columns.rolling(ref.number, 1)
        other = next(key for key in columns.keys("account") if key != sampled)
        for key in (sampled, other):
            columns.put(key, _wrong(columns, key))
        await keeper.daemon._audit(ref)
        assert [len(record.fields["accounts"].split()) for record in heard.diverged] == [1, 1]
        assert known(keeper.kernel) == right


def _wrong(columns: object, key: Key) -> object:
    account = columns.get(key)  # type: ignore[attr-defined]
    return replace(account, cash=account.cash - 1)


async def test_a_node_that_cannot_is_not_asked_again(scene: Scene) -> None:
    async with bootstrap.keeper(scene.settings(), bootstrap.Dry(), []) as keeper:
        await keeper.daemon.run(1)
        asked = []

        async def refused(*what: object) -> bytes:
            asked.append(what)
            return b"nonsense"

        keeper.daemon._reread = refused
        for _ in range(3):
            await keeper.daemon._audit(keeper.kernel.ref)
        assert len(asked) == 1

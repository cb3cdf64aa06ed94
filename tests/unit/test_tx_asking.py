"""What a head is asked: once, all at once, and before it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from keeper.errors import NodeUnavailable
from keeper.model import Reason
from tests.unit.tx_rig import Rig, S, brief, guarded, intent

SENT = [(S.SIGNED, None), (S.BROADCAST, None)]
QUESTIONS = ("nonce", "receipts", "balance", "call")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    yield await guarded(tmp_path)


def counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each question was put to the node from now on."""
    asked = Counter[str]()

    def counting(name: str, whole: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def ask(*args: Any, **how: Any) -> Any:
            asked[name] += 1
            return await whole(*args, **how)

        return ask

    for name in QUESTIONS:
        monkeypatch.setattr(rig.chain, name, counting(name, getattr(rig.chain, name)))
    return asked


async def test_a_head_is_asked_once_however_much_is_sent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.submit(intent(1))
    asked = counted(rig, monkeypatch)
    rig.manager.notice(rig.chain.mine())
    assert (S.INCLUDED, None) in await rig.see()
    for n in (2, 3):
        assert brief(await rig.submit(intent(n))) == SENT
    assert asked == {"nonce": 1, "receipts": 1, "balance": 1, "call": 2}


async def test_what_was_sent_after_the_notice_is_asked_about_too(rig: Rig) -> None:
    before = rig.chain.head
    head = rig.chain.mine()
    rig.manager.notice(head)
    await rig.manager.submit(intent(1), before)  # a glimpse of the mempool, before the head is read
    head = rig.chain.mine()
    rig.manager.notice(head)
    assert (S.INCLUDED, None) in brief(await rig.manager.on_block(head))


async def test_an_answer_that_fails_is_missed_by_nobody_who_does_not_need_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = rig.chain.mine()
    with monkeypatch.context() as broken:

        async def fails(address: bytes) -> int:
            raise NodeUnavailable("no")

        broken.setattr(rig.chain, "balance", fails)
        rig.manager.notice(head)
        assert brief(await rig.manager.on_block(head)) == []
        with pytest.raises(NodeUnavailable):
            await rig.submit(intent(1))
    assert brief(await rig.submit(intent(1))) == SENT  # and it is asked again


async def test_a_turn_that_failed_can_be_repeated(rig: Rig) -> None:
    head = rig.chain.mine()
    rig.chain.down = True
    rig.manager.notice(head)
    with pytest.raises(NodeUnavailable):
        await rig.manager.on_block(head)
    rig.chain.down = False
    assert brief(await rig.manager.on_block(head)) == []


async def test_money_that_came_meanwhile_is_seen(rig: Rig) -> None:
    rig.chain.funds = 0
    rig.manager.notice(rig.chain.mine())
    assert (await rig.submit(intent(1)))[0].why is Reason.INVENTORY_SHORT
    rig.chain.funds = 10**18
    assert brief(await rig.submit(intent(1))) == SENT


async def test_nothing_is_asked_before_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path / "journal.db")
    asked = counted(rig, monkeypatch)
    rig.manager.notice(rig.chain.mine())
    assert not asked


async def test_while_something_is_held_its_logs_come_first(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.manager.prepare([intent(1)], rig.chain.head)
    asked = counted(rig, monkeypatch)
    head = rig.chain.mine()
    rig.manager.notice(head)
    assert brief(await rig.submit(intent(1))) == SENT
    assert not asked
    await rig.manager.on_block(head)
    assert asked == {"nonce": 1, "receipts": 1}

"""What time alone makes is had ready behind a block, for the next one; where that fails, nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keeper.core.kernel import Kernel
from keeper.core.planner import Limits
from keeper.model import BlockRef, Moment
from keeper.ports import View
from keeper.protocols.desk import directly
from tests.bench.stage import Bench, Empty, Taker

GENESIS = BlockRef(7, b"a" * 32, bytes(32), 1_000, 10**9, 0, 30_000_000)


@dataclass
class Timely(Empty):
    wrong: Exception | None = None
    asked: list[Moment] = field(default_factory=list)

    def ahead(self, view: View, at: Moment) -> None:
        self.asked.append(at)
        if self.wrong is not None:
            raise self.wrong


@dataclass(frozen=True)
class House(Bench):
    held: Timely = field(default_factory=Timely)

    def columns(self) -> Empty:
        return self.held


@pytest.mark.parametrize("wrong", [None, LookupError("no configuration"), ValueError("no smile")])
def test_the_columns_are_asked_for_the_block_after_the_next(wrong: Exception | None) -> None:
    house = House(None, held=Timely(wrong))
    kernel = Kernel([(cast(Any, house), [Taker()])], GENESIS, 12, directly, Limits())
    assert kernel.expect() == []
    [at] = house.held.asked
    assert (at.number, at.timestamp) == (9, 1_024)
    assert not kernel.desks[0].paused


def test_columns_that_have_nothing_ready_are_not_asked() -> None:
    kernel = Kernel([(cast(Any, Bench(None)), [Taker()])], GENESIS, 12, directly, Limits())
    assert kernel.expect() == []

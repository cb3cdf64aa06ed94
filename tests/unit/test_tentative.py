"""What is remembered of a block that was glanced at is not taken for what the whole block says."""

from __future__ import annotations

import pytest

from keeper.core.book import Book
from keeper.core.desk import Desk, tentative
from keeper.core.health import condemned
from keeper.model import BlockBatch, BlockRef, Delta, Key, Log, Moment
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.records import Account, Leg
from keeper.protocols.options.settings import Contracts, Settings
from keeper.units import WAD, wad
from tests.worlds.crowd import NOW, SPOTS, Crowd, series

PLACE, ORACLE, WHO = bytes(20), b"\x0f" * 20, Key("account", 7)
GENESIS = BlockRef(1, b"\1" * 32, bytes(32), NOW, 0, 0, 1)
NEXT = BlockRef(2, b"\2" * 32, GENESIS.hash, NOW + 12, 0, 0, 1)
AT = Moment(3, NOW + 24, 0)


def crash(u: int, index: int, kept: int = 24) -> Log:
    """The price of one underlying, and with it where it is held to."""
    price, topic = SPOTS[u] * 10**8 * kept // 25, CONTRACTS["Oracle"].events["Published"].topic
    data = b"".join(x.to_bytes(32) for x in (price, NOW + 12, 10_000))
    return Log(ORACLE, (topic, u.to_bytes(32)), data, bytes(32), index)


def desk() -> Desk:
    """An account that is short puts on both underlyings, and is condemned once both have fallen."""
    adapter = Options(Settings(Contracts(PLACE, PLACE, ORACLE, PLACE, (), ()), 0, PLACE))
    book = Book(adapter, GENESIS)
    legs = tuple(Leg(series(u, 14, False, 100), -size * WAD) for u, size in ((0, 20), (1, 1)))
    records = Crowd().records | {WHO: Account(wad(21_100), legs, (0, 0, 0), 1)}
    book.amend([Delta(key, None, record) for key, record in records.items()])
    return Desk(adapter, book, ())


LOGS = crash(0, 3), crash(1, 9)
FALSE = crash(0, 3, kept=25), crash(1, 9, kept=25)  # in their places


@pytest.mark.parametrize("glances", [[()], [LOGS[:1]], [(), LOGS[1:]], [LOGS, ()], [FALSE, LOGS]])
def test_what_a_glance_missed_condemns_whom_it_condemns(glances: list[tuple[Log, ...]]) -> None:
    one = desk()
    for logs in glances:
        with tentative([one], BlockBatch(NEXT, logs)) as fits:
            assert fits
            assert one.adapter.health(one.book, WHO, AT).healthy == (logs != LOGS)
        assert one.book.ref == GENESIS
    one.book.apply(BlockBatch(NEXT, LOGS))
    assert one.book.ref == NEXT
    assert [report.key for report in condemned(one.adapter, one.book, AT)] == [WHO]

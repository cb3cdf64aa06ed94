"""The market after a publication that is not mined yet is the book once it is, settlement averages included."""

from __future__ import annotations

from keeper.core.book import Book
from keeper.model import BlockBatch, BlockRef, Delta, Key, Log
from keeper.ports import View
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.oracle import REALISTIC
from keeper.protocols.options.records import State
from keeper.protocols.options.risk import Market, Price
from keeper.protocols.options.settings import Contracts, Settings
from keeper.protocols.options.whatif import published
from tests.worlds.crowd import NOW, SPOTS, Crowd

PLACE, ORACLE = bytes(20), b"\x0f" * 20
ORACLE_ABI, EXPIRY = CONTRACTS["Oracle"], NOW + 86_400
OPENS = EXPIRY - REALISTIC.window  # of the average


LATE = -3_000, -1_200, -20, 5, 700, 1_500, REALISTIC.window + 5  # of messages, after that


def test_a_publication_that_is_foreseen_leaves_the_records_of_one_that_is_mined() -> None:
    c = Crowd(now=OPENS - 2 * REALISTIC.window)
    book = Book(
        Options(Settings(Contracts(PLACE, PLACE, ORACLE, PLACE, (), ()), 0, PLACE)),
        BlockRef(1, bytes([1]) * 32, bytes(32), c.now, 0, 0, 1),
    )
    book.amend([Delta(key, None, record) for key, record in c.records.items()])
    for n, late in enumerate(LATE, 2):
        now, told = OPENS + late, (SPOTS[0] * 10**8 * (100 + 5 * n) // 100, OPENS + late, 10_000)
        view = published(book, ORACLE_ABI.call("publish", 0, *told, b""), now)
        assert view is not None
        foreseen, forward = records(view), Market(State(view), c.sets.risk, now, Price.SPOT).term(0, EXPIRY).forward
        topics = ORACLE_ABI.events["Published"].topic, bytes(32)
        log = Log(ORACLE, topics, b"".join(x.to_bytes(32) for x in told), bytes(32), 0)
        book.apply(BlockBatch(BlockRef(n, bytes([n]) * 32, book.ref.hash, now, 0, 0, 1), (log,)))
        assert foreseen == records(book)
        assert forward == Market(State(book), c.sets.risk, now, Price.SPOT).term(0, EXPIRY).forward


def records(view: View) -> list[tuple[Key, object]]:
    """Of prices."""
    return [(key, view.get(key)) for kind in ("feed", "step", "steps") for key in view.keys(kind)]

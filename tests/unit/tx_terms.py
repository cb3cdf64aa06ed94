"""Several hosts that share a key, without a database."""

from __future__ import annotations

from collections.abc import Callable

from keeper.errors import Fenced


class Terms:
    """A fence in one process: what PostgreSQL is to several hosts."""

    def __init__(self) -> None:
        self.term = 1
        self.written: list[bytes] = []
        self.asked: list[tuple[int | None, list[bytes]]] = []  # who wanted to forget, and what

    def side(self, term: int) -> Side:
        return Side(self, term)


class Side:
    def __init__(self, terms: Terms, epoch: int) -> None:
        self.terms, self.epoch = terms, epoch
        self.fresh = True  # by our own clock

    def check(self) -> None:
        if not self.fresh:
            raise Fenced("the term may be over")

    async def commit(self, line: bytes) -> None:
        if self.epoch != self.terms.term:
            raise Fenced("another term has begun")
        self.terms.written.append(line)

    async def lines(self) -> list[bytes]:
        return self.terms.written

    async def forget(self, term: int | None, gone: Callable[[bytes], bool]) -> int:
        self.terms.asked.append((term, [line for line in self.terms.written if gone(line)]))
        return 0

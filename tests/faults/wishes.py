"""What a keeper wished for, by its journal, beside what the chain says became of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from keeper.model import TxState
from tests.worlds.market import Scene

ENDS = (TxState.CONFIRMED, TxState.FINALIZED, TxState.CANCELLED)


class Wish(NamedTuple):
    """An intent in the journal, and the transaction that used its nonce."""

    opportunity: bytes
    state: str
    created: int  # block
    attempts: frozenset[str]  # hashes
    sent: str  # hash of the one that is on the chain
    ended: int  # block
    worked: bool


def wishes(scene: Scene, journal: Path) -> list[Wish]:
    """By nonce. Raises unless each intent has exactly one transaction on the chain, and the other way round."""
    with closing(sqlite3.connect(journal)) as db:
        rows = db.execute(
            "SELECT i.id, state, created FROM intent i JOIN nonce n ON n.intent = i.id ORDER BY nonce"
        ).fetchall()
        attempts = db.execute("SELECT intent, '0x' || lower(hex(hash)) FROM attempt").fetchall()
    found = []
    for (id, state, created), tx in zip(rows, scene.sent(), strict=True):
        receipt = scene.node.rpc("eth_getTransactionReceipt", tx["hash"])
        mine = frozenset(hash for intent, hash in attempts if intent == id)
        ended, ok = int(receipt["blockNumber"], 16), receipt["status"] == "0x1"
        found.append(Wish(id[:24], state, created, mine, tx["hash"], ended, ok))
    return found


def assert_once(done: list[Wish]) -> None:
    """Every wish has ended, by a transaction of its own; and none was wished again before that."""
    assert [wish for wish in done if wish.state not in ENDS or wish.sent not in wish.attempts] == []
    same: dict[bytes, list[Wish]] = {}
    for wish in done:
        same.setdefault(wish.opportunity, []).append(wish)
    assert [group for group in same.values() if sum(wish.worked for wish in group) > 1] == []
    assert [group for group in same.values() for a, b in pairwise(group) if b.created < a.ended] == []

"""``keeper journal`` and ``keeper switch``: beside a keeper that has the journal open."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.cli.app import main
from keeper.model import BlockRef, Receipt
from keeper.tx.fees import Fees
from keeper.tx.journal import Journal
from keeper.tx.rows import SCHEMA_VERSION, Attempt, AttemptKind, Flight
from keeper.tx.switch import Level, Switch
from tests.unit.tx_rig import BINDING, S, intent

CONFIG = """[chains.anvil]
id = 31337
rpc = "http://127.0.0.1:8545"
"""


def flight(n: int) -> Flight:
    one = intent(n, id=bytes([0x10 * n]) * 32)
    attempt = Attempt(bytes([0xA0 + n]) * 32, one.id, n, AttemptKind.ACT, b"the raw bytes", 21_000, Fees(10**9, 5), 3)
    return Flight(one, n, 3, attempts=[attempt])


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    (tmp_path / "state").mkdir()
    with closing(Journal(tmp_path / "state" / "anvil.live.db", BINDING)) as journal:
        mined = flight(1)
        journal.begin(mined)
        mined.state, mined.receipt = S.INCLUDED, Receipt(mined.last.hash, BlockRef(5, b"", b"", 9, 1, 1, 1), True, 7, 3)
        journal.advance(mined, "included", 5)
        done = replace(mined, state=S.FINALIZED)
        journal.advance(done, "final", 70, settled=True)
        journal.begin(flight(2))
        yield journal


Keeper = Callable[..., tuple[int, str]]


@pytest.fixture
def keeper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Keeper:
    file = tmp_path / "keeper.toml"
    file.write_text(f'{CONFIG}[keeper]\nstate = "{tmp_path / "state"}"\n')

    def run(*words: str) -> tuple[int, str]:
        code = main([*words, "-c", str(file)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_ls_shows_what_is_open_and_with_all_everything(journal: Journal, keeper: Keeper) -> None:
    code, said = keeper("journal", "ls")
    assert (code, "pay 2" in said, "pay 1" in said, "0.000021 ETH" in said) == (0, True, False, True)
    code, said = keeper("journal", "ls", "--all", "--json")
    listed = json.loads(said)["data"]["intents"]
    assert [(one["nonce"], one["state"], one["paid_wei"]) for one in listed] == [
        (1, "finalized", 22),
        (2, "signed", None),
    ]


@pytest.mark.parametrize("which", ["0x20", "2020", "0xA2", "a2a2"])
def test_show_takes_the_beginning_of_an_intent_or_of_a_transaction(
    journal: Journal, keeper: Keeper, which: str
) -> None:
    code, said = keeper("journal", "show", which)
    assert (code, "pay 2" in said, "act 0xa2a2" in said) == (0, True, True)


@pytest.mark.fault("X05")
def test_show_tells_the_whole_history(journal: Journal, keeper: Keeper) -> None:
    _, said = keeper("journal", "show", "0x10", "--json")
    history = json.loads(said)["data"]["history"]
    assert [(one["event"], one["block"]) for one in history] == [("signed", 3), ("included", 5), ("final", 70)]


@pytest.mark.fault("L03")
def test_the_signed_bytes_are_not_shown(journal: Journal, keeper: Keeper) -> None:
    for words in (("ls", "--all"), ("show", "0x20"), ("show", "0x20", "--json"), ("ls", "--all", "--json")):
        assert b"the raw bytes".hex() not in keeper("journal", *words)[1]


@pytest.mark.parametrize(("which", "code"), [("0xff", 8), ("", 8), ("%", 8), ("zz", 8)])
def test_what_is_not_there_or_not_one_is_not_found(journal: Journal, keeper: Keeper, which: str, code: int) -> None:
    assert keeper("journal", "show", which)[0] == code


def test_show_needs_to_know_which(journal: Journal, keeper: Keeper) -> None:
    assert keeper("journal", "show")[0] == 2


def test_without_a_journal_there_is_nothing(keeper: Keeper) -> None:
    code, said = keeper("journal", "ls")
    assert (code, "keeper run --live" in said) == (8, True)


@pytest.mark.fault("C15", "X05")
def test_verify_proves_it_and_notices_a_changed_row(journal: Journal, keeper: Keeper) -> None:
    code, said = keeper("journal", "verify")
    assert (code, "every row and every link holds" in said) == (0, True)
    journal.close()
    with closing(sqlite3.connect(journal.path)) as db:
        db.execute("UPDATE attempt SET max_fee = '1' WHERE nonce = 1")
        db.commit()
    code, said = keeper("journal", "verify")
    assert (code, "a row of table 'attempt' does not match its checksum" in said) == (1, True)


def test_reading_disturbs_nothing(journal: Journal, keeper: Keeper) -> None:
    before = journal.path.stat()
    for words in (("ls",), ("show", "0x20"), ("verify",)):
        assert keeper("journal", *words)[0] == 0
    journal.begin(flight(3))
    journal.verify()
    assert journal.path.stat().st_ino == before.st_ino


@pytest.mark.fault("X01", "X04")
def test_the_switch_is_moved_and_read(keeper: Keeper, tmp_path: Path) -> None:
    assert keeper("switch") == (0, "run\n")
    assert keeper("switch", "pause", "--reason", "an audit") == (0, "pause an audit\n")
    assert Switch(tmp_path / "state" / "switch").read() == (Level.PAUSE, "an audit")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700 & ~os.umask(os.umask(0o22)) & 0o777
    said: dict[str, Any] = json.loads(keeper("switch", "--json")[1])
    assert said["data"] == {"level": "pause", "reason": "an audit"}
    assert keeper("switch", "stop")[0] == 2


def test_what_is_signed_ahead_is_listed_apart(journal: Journal, keeper: Keeper) -> None:
    journal.hold([flight(3)])
    code, said = keeper("journal", "ls")
    assert code == 0 and "signed ahead, and not sent" in said and "pay 3" in said
    _, said = keeper("journal", "ls", "--json")
    told = json.loads(said)["data"]
    assert [one["nonce"] for one in told["ahead"]] == [3] and [one["nonce"] for one in told["intents"]] == [2]
    assert keeper("journal", "verify")[0] == 0
    journal.hold([])
    assert "signed ahead" not in keeper("journal", "ls")[1]


def test_a_journal_of_another_schema_is_not_called_damaged(journal: Journal, keeper: Keeper) -> None:
    with closing(sqlite3.connect(journal.path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    code, said = keeper("journal", "verify")
    assert code != 0 and "schema" in said and "keeper run" in said and "damaged" not in said

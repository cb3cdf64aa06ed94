"""The decision log: one text for one run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from keeper.errors import Broken, CheckFailed, NotFound
from keeper.model import Key, Reason, Record, TxState
from keeper.observe import redact
from keeper.observe.decisions import EVENTS, DecisionLog, canonical, read
from keeper.observe.watch import Logged

SKIP = Record(7, "decision.skip", {"why": Reason.DUST, "key": Key("account", 5), "net": -(10**18), "id": b"\x01\xff"})
LINE = (
    '{"block":7,"event":"decision.skip",'
    '"fields":{"id":"0x01ff","key":["account",5],"net":"-1000000000000000000","why":"dust"}}\n'
)


def written(path: Path, *records: Record) -> Path:
    with DecisionLog(path, {"config": "ab", "chain": 1}) as log:
        for record in records:
            log.write(record)
    return path


def test_a_record_is_one_canonical_line(tmp_path: Path) -> None:
    assert written(tmp_path / "a", SKIP).read_text() == (
        f'{{"chain":1,"config":"ab","schema":"keeper.decisions/1"}}\n{LINE}'
    )


def test_two_runs_are_the_same_bytes_whatever_the_order_of_fields(tmp_path: Path) -> None:
    turned = Record(7, "decision.skip", dict(reversed(list(SKIP.fields.items()))))
    assert written(tmp_path / "a", SKIP).read_bytes() == written(tmp_path / "b", turned).read_bytes()


def test_a_line_is_in_the_file_before_the_log_is_closed(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "a", {})
    log.write(SKIP)
    assert (tmp_path / "a").read_text().endswith(LINE)
    log.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53 - 1, "9007199254740991"),
        (2**53, '"9007199254740992"'),
        (-(2**53), '"-9007199254740992"'),
        (np.int64(2**60), '"1152921504606846976"'),
        (True, "true"),
        (None, "null"),
        (0.1, "0.1"),
        ("é\u2028", '"\\u00e9\\u2028"'),
        (TxState.SIGNED, '"signed"'),
        ({2: b""}, '{"2":"0x"}'),
    ],
)
def test_a_value_has_one_text(value: Any, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical(value)


def test_an_unlisted_event_is_a_broken_promise(tmp_path: Path) -> None:
    with pytest.raises(Broken, match=r"decision\.skipped"):
        written(tmp_path / "a", Record(1, "decision.skipped", {}))


def test_every_state_of_a_transaction_has_an_event() -> None:
    assert {f"tx.{state}" for state in TxState} <= set(EVENTS)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5
)


@settings(max_examples=30)
@given(
    st.lists(
        st.builds(Record, st.integers(0, 2**40), st.sampled_from(sorted(EVENTS)), st.dictionaries(st.text(), plain))
    )
)
def test_what_was_written_is_read_and_writes_the_same(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    path = written(folder / "a", *records)
    header, again = read(path)
    assert header["chain"] == 1
    assert written(folder / "b", *again).read_bytes() == path.read_bytes()


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a", SKIP, SKIP)
    path.write_text(path.read_text()[:-5])
    assert len(list(read(path)[1])) == 1


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a", SKIP)
    path.write_text(path.read_text() + "{}}\n")
    with pytest.raises(CheckFailed, match="a:3 is not a line"):
        list(read(path)[1])


@pytest.mark.parametrize("content", [b"", b"[]\n", b"{}\n", b"\xff\xfe\n"])
def test_another_file_is_no_decision_log(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(CheckFailed):
        read(tmp_path / "a")


def test_a_missing_log_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path / "a")


def test_a_registered_secret_does_not_reach_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_registered", set())
    monkeypatch.setattr(redact, "_pattern", redact._pattern)
    redact.register("SECRETCANARY")
    path = written(tmp_path / "a", Record(1, "tx.signed", {"x": "SECRETCANARY"}))
    assert json.loads(path.read_text().splitlines()[1])["fields"] == {"x": "***"}


def test_a_disk_that_takes_no_more_ends_the_log_and_not_the_keeper(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(self: DecisionLog, record: Record) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DecisionLog, "write", full)
    with DecisionLog(tmp_path / "log", {}) as log, capture_logs() as lines:
        logged = Logged(log)
        for block in (1, 2):
            logged.effect(Record(block, "block.processed", {}))
    assert [(line["event"], line["block"]) for line in lines] == [("decisions.ended", 1)]

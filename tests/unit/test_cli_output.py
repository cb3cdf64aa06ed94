"""What people see: tables, money, colors."""

import argparse
import io
import json

import pytest

from keeper.cli import output
from keeper.errors import ChainLost

ARGS = argparse.Namespace(json=True, verb="scan")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("wad", "shown"),
    [
        (0, "$0.00"),
        (1_234_567 * 10**16, "$12,345.67"),
        (-182 * 10**17, "-$18.20"),
        (5 * 10**15, "$0.01"),
        (5 * 10**15 - 1, "$0.00"),
        (-(10**15), "$0.00"),
    ],
)
def test_dollars_are_rounded_to_cents(wad: int, shown: str) -> None:
    assert output.usd(wad) == shown


@pytest.mark.parametrize(
    ("wei", "shown"), [(1_204 * 10**15, "1.204000 ETH"), (-5 * 10**11, "-0.000001 ETH"), (1, "0.000000 ETH")]
)
def test_coins_are_rounded_to_six_decimals(wei: int, shown: str) -> None:
    assert output.eth(wei) == shown


def test_a_table_is_markdown_with_numbers_on_the_right() -> None:
    rows = [["a|b", 12, "$3.00", None], ["c\nd", 3, "-$1,234.00", "why"]]
    assert output.table(["who", "n", "net", "note"], rows) == (
        "| who  |   n |        net | note |\n"
        "| ---- | --: | ---------: | ---- |\n"
        "| a\\|b |  12 |      $3.00 |      |\n"
        "| c d  |   3 | -$1,234.00 | why  |"
    )


def test_a_table_without_rows_is_its_header() -> None:
    assert output.table(["who"], []) == "| who |\n| --- |"


def test_long_integers_survive_other_readers(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(ARGS, {"wad": 10**18, "n": 3}, "")
    assert json.loads(capsys.readouterr().out)["data"] == {"wad": "1000000000000000000", "n": 3}


def test_warnings_go_into_the_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(ARGS, None, "", ["careful"])
    assert json.loads(capsys.readouterr().out)["warnings"] == ["careful"]


def test_a_result_shows_no_url_with_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(ARGS, {"rpc": "https://node.example/v2/SECRETCANARY0123456789"}, "")
    assert json.loads(capsys.readouterr().out)["data"] == {"rpc": "https://node.example/v2/***"}


def test_a_market_id_stays_readable(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(ARGS, {"key": bytes(range(32))}, "")
    assert json.loads(capsys.readouterr().out)["data"] == {"key": "0x" + bytes(range(32)).hex()}


def test_an_error_shows_its_code_and_the_next_step() -> None:
    assert output.rendered(ChainLost("gone", help="start it")) == "error KE405: gone\n  help: start it"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colors_can_be_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.colors(Terminal())
    monkeypatch.setenv(variable, value)
    assert not output.colors(Terminal())


def test_a_file_gets_no_colors() -> None:
    assert not output.colors(io.StringIO())

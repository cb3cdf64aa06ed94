"""Logs: two formats, four levels, and no secret in any of them."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import structlog

from keeper.observe import redact
from keeper.observe.logging import LONGEST, setup
from tests.unit import logs

CANARY = "SECRETCANARY0123456789"
URL = f"https://user:pass-{CANARY}@node.example/v2/{CANARY}?key={CANARY}"
LEVELS = ["debug", "info", "warning", "error", "critical"]
FORMATS: list[Literal["console", "json"]] = ["console", "json"]

pytestmark = pytest.mark.usefixtures("fresh")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redact, "_registered", set())
    monkeypatch.setattr(redact, "_pattern", redact._pattern)
    with logs.restored():
        yield


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# ─── format and level ─────────────────────────────────────────────────────────────────────────────


def test_a_terminal_gets_text_and_a_pipe_gets_json() -> None:
    assert (setup(stream=Terminal()), setup(stream=io.StringIO())) == ("console", "json")


def test_a_line_says_what_where_and_when() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    structlog.get_logger("chain").info("block.processed", block=7, lag_s=0.5)
    (line,) = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {"event": "block.processed", "level": "info", "logger": "keeper.chain", "block": 7, "lag_s": 0.5}


def test_a_logger_without_a_name_has_that_of_its_module() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    structlog.get_logger().info("x")
    assert lines(stream)[0]["logger"] == f"keeper.{__name__}"


@pytest.mark.parametrize(
    ("level", "verbosity", "ours", "theirs"),
    [
        ("info", -1, 3, 3),
        ("debug", -1, 3, 3),
        ("info", 0, 4, 3),
        ("error", 0, 2, 3),
        ("info", 1, 5, 3),
        ("info", 2, 5, 5),
    ],
)
def test_verbosity_decides_how_many_levels_are_shown(level: str, verbosity: int, ours: int, theirs: int) -> None:
    stream = io.StringIO()
    setup("json", level, verbosity, stream=stream)
    for name in LEVELS:
        getattr(structlog.get_logger("keeper.x"), name)("ours")
        getattr(logging.getLogger("library"), name)("theirs")
    events = [line["event"] for line in lines(stream)]
    assert (events.count("ours"), events.count("theirs")) == (ours, theirs)


# ─── secrets ──────────────────────────────────────────────────────────────────────────────────────


def raise_with_canary() -> None:
    try:
        raise ValueError(f"429 for {URL}")
    except ValueError as error:
        raise RuntimeError(f"password {CANARY} refused") from error


@pytest.mark.fault("L01")
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("ours", [True, False])
def test_no_level_lets_the_canary_out(format: Literal["console", "json"], level: str, ours: bool) -> None:
    redact.register(CANARY)
    stream = io.StringIO()
    setup(format, "debug", 2, stream=stream)
    if ours:
        log = getattr(structlog.get_logger("keeper.x").bind(bound=CANARY), level)
        log(f"event {CANARY}", url=URL, nested={"list": [CANARY, {CANARY}]}, raw=CANARY.encode(), thing=Holder())
    else:
        log = getattr(logging.getLogger("library"), level)
        log("event %s %s", URL, [CANARY])
    try:
        raise_with_canary()
    except RuntimeError:
        log("failed", exc_info=True)
    shown = stream.getvalue()
    assert "node.example" in shown and "Traceback" in shown and "refused" in shown
    assert CANARY not in shown and CANARY.encode().hex() not in shown


class Holder:
    def __repr__(self) -> str:
        return f"Holder({CANARY})"


@pytest.mark.fault("L01")
def test_a_traceback_shows_no_local_variables() -> None:
    stream = io.StringIO()
    setup("json", stream=stream)
    try:
        local_secret = "".join(["un", "registered"])
        raise ValueError(len(local_secret))
    except ValueError:
        structlog.get_logger("keeper.x").exception("failed")
    assert "unregistered" not in stream.getvalue()


def in_thread() -> None:
    thread = threading.Thread(target=raise_with_canary)
    thread.start()
    thread.join()


def at_the_top() -> None:
    try:
        raise_with_canary()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)


def in_a_finalizer() -> None:
    class Final:
        def __del__(self) -> None:
            raise_with_canary()

    Final()


@pytest.mark.parametrize("fail", [in_thread, at_the_top, in_a_finalizer])
def test_an_exception_that_nobody_catches_is_logged_redacted(fail: Callable[[], None]) -> None:
    redact.register(CANARY)
    stream = io.StringIO()
    setup("json", stream=stream)
    fail()
    (line,) = lines(stream)
    assert line["event"] == "error.uncaught" and "RuntimeError: password *** refused" in line["exception"]


def test_a_warning_is_logged_redacted() -> None:
    redact.register(CANARY)
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        setup("json", stream=stream)
        warnings.warn(f"odd {CANARY}", stacklevel=1)
    assert "odd ***" in lines(stream)[0]["event"]


def test_a_broken_log_call_does_not_print_its_arguments(capfd: pytest.CaptureFixture[str]) -> None:
    setup("json", stream=io.StringIO())
    logging.getLogger("library").error("%d", CANARY)
    shown = "".join(capfd.readouterr())
    assert "a log line was lost: TypeError" in shown and CANARY not in shown


# ─── text from elsewhere ──────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("L04", "A16")
@pytest.mark.parametrize("format", FORMATS)
def test_a_contract_cannot_forge_a_line_or_move_the_cursor(format: Literal["console", "json"]) -> None:
    stream = io.StringIO()
    setup(format, stream=stream)
    structlog.get_logger("keeper.x").info("revert", reason="x\n2026-01-01 [error] forged\x1b[2J")
    shown = stream.getvalue()
    assert shown.count("\n") == 1 and "\x1b" not in shown


@pytest.mark.fault("L04", "A16")
def test_a_field_has_an_end() -> None:
    stream = io.StringIO()
    setup("json", stream=stream)
    structlog.get_logger("keeper.x").info("revert", reason="x" * (LONGEST + 5))
    assert len(lines(stream)[0]["reason"]) == LONGEST + 1

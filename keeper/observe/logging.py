"""Logs: one event per line on stderr, for people on a terminal and as JSON otherwise.

Everything goes through one handler, our own events and those of libraries alike, and redaction is the last step
before rendering: texts, fields, tracebacks. Tracebacks carry no local variables. Use ``structlog.get_logger()``,
dotted event names, and field names that end in their unit (``age_s``, ``fee_wei``, ``net_usd``).

    verbosity  -1 (-q)   0           1 (-v)   2 (-vv)
    keeper     warning   as set      debug    debug
    libraries  warning   warning     warning  debug
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import MutableMapping
from functools import partial
from typing import Any, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from keeper.observe import redact
from keeper.observe.outlet import Outlet

LONGEST = 2000  # characters of one field; what chains and nodes say has no natural end
_WHOLE = {"exception", "stack"}

Format = Literal["console", "json"]


def setup(
    format: Literal["auto", "console", "json"] = "auto",
    level: str = "info",
    verbosity: int = 0,
    *,
    stream: TextIO | None = None,
    colors: bool = False,
) -> Format:
    """Send all logging of this process to ``stream`` (stderr), redacted. Returns the format that "auto" came to."""
    stream = stream or sys.stderr
    chosen: Format = ("console" if stream.isatty() else "json") if format == "auto" else format
    handler = _Handler(stream)
    handler.rendering = chosen
    handler.setFormatter(_formatter(chosen, colors))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbosity > 1 else logging.WARNING)
    ours = _level(level, verbosity)
    logging.getLogger("keeper").setLevel(ours)
    _configure(ours)
    _catch_strays()
    return chosen


def in_use() -> Format | None:
    """The format that was chosen; None before ``setup``."""
    return next((one.rendering for one in logging.getLogger().handlers if isinstance(one, _Handler)), None)


def _level(level: str, verbosity: int) -> int:
    if verbosity < 0:
        return logging.WARNING
    return logging.DEBUG if verbosity else logging.getLevelNamesMapping()[level.upper()]


def _caught(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The exception that is meant is the one of this moment and this thread, whoever renders it later."""
    if event.get("exc_info") is True:
        event["exc_info"] = sys.exc_info()
    return event


_FIRST: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    structlog.processors.StackInfoRenderer(),
    _caught,
]


def _configure(level: int) -> None:
    structlog.configure(
        processors=[*_FIRST, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Factory(ignore_frame_names=[__name__]),
        cache_logger_on_first_use=True,
    )


class _Factory(structlog.stdlib.LoggerFactory):
    """Whoever uses structlog is one of ours, strategies included, and logs below ``keeper``."""

    def __call__(self, *args: Any) -> logging.Logger:
        name: str = args[0] if args else super().__call__().name
        return logging.getLogger(name if name.split(".")[0] == "keeper" else f"keeper.{name}")


def _formatter(chosen: Format, colors: bool) -> logging.Formatter:
    console = structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="at", pad_event_to=24)
    renderer: Processor = structlog.processors.JSONRenderer() if chosen == "json" else console
    return ProcessorFormatter(
        foreign_pre_chain=_FIRST,
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact.processor,
            _bounded,
            renderer,
        ],
    )


def _bounded(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No field is endless or moves the cursor: texts may come from a contract or a node."""
    return {name: value if name in _WHOLE else _tame(value) for name, value in event.items()}


def _tame(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    return value if value.isprintable() else value.encode("unicode_escape").decode()


class _Handler(logging.StreamHandler[TextIO]):
    rendering: Format

    def emit(self, record: logging.LogRecord) -> None:
        """An outlet renders when there is time for it."""
        if isinstance(self.stream, Outlet):
            self.stream.say(partial(self._rendered, record))
        else:
            super().emit(record)

    def _rendered(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + self.terminator
        except Exception:
            self.handleError(record)
            return ""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the library's name
        """The library would print the arguments of the failed call, unredacted."""
        kind = sys.exc_info()[0]
        print(f"a log line was lost: {kind.__name__ if kind else 'error'}", file=sys.__stderr__)


def _catch_strays() -> None:
    """Warnings and exceptions that nobody catches are logged too, instead of printed as they are."""
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: _stray("main", error)
    sys.unraisablehook = lambda stray: _stray("finalizer", stray.exc_value)
    threading.excepthook = lambda stray: _stray("thread", stray.exc_value)


def _stray(where: str, error: BaseException | None) -> None:
    structlog.get_logger("keeper").error("error.uncaught", where=where, exc_info=error or True)

"""How a process ends: the exit codes, and which error means which. Operators and systemd rely on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from keeper.errors import KeeperError, Retry, RiskHalt, Stop

CODES = {
    0: "done; also after a first SIGINT or SIGTERM",
    1: "internal error; prints an incident id",
    2: "usage",
    3: "configuration",
    4: "secret or keystore",
    5: "chain unreachable, wrong chain, or head lost",
    6: "a check failed",
    7: "halted by a risk limit; must not be restarted by a machine",
    8: "not running, or not found",
    9: "timeout",
    130: "forced by SIGINT",
    143: "forced by SIGTERM",
}


class Usage(Stop):
    """The command line makes no sense."""

    code = "KE402"
    exit_code = 2


def code_of(error: BaseException) -> int:
    """The exit code of an error that reached the top."""
    error = cause(error)
    if isinstance(error, Stop):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, Retry):  # nobody was left to try again
        return 5
    return 9 if isinstance(error, TimeoutError) else 1


def cause(error: BaseException) -> BaseException:
    """The error to speak of, when several tasks failed together: a halt first, then bugs, then the rest."""
    return min(_single(error), key=_rank)


def _single(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _single(part)
    else:
        yield error


def _rank(error: BaseException) -> int:
    if isinstance(error, RiskHalt):
        return 0
    return 2 if isinstance(error, KeeperError) else 1


def on_first_signal(stop: Callable[[], object]) -> None:
    """The first SIGINT or SIGTERM calls ``stop``, for a graceful end with 0; the second one ends the process.

    ``stop`` runs between two byte codes of the main thread: it should only set a flag, or wake a loop.
    """
    import signal

    numbers = (signal.SIGINT, signal.SIGTERM)

    def first(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # KeyboardInterrupt: 130
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends the process: 143 to a shell
        stop()

    for number in numbers:
        signal.signal(number, first)

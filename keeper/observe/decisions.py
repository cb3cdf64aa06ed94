"""The decision log: what was seen, decided and done, one canonical JSON object per line.

It is a function of the chain and the settings alone: no wall clock, no latency, no random id. So a replay of a
recorded run gives the same lines, byte for byte. The first line is a header about the run. Canonical means: sorted
keys, no spaces, ASCII, integers of 2**53 and more as decimal strings (other readers have only doubles), bytes as
0x hex, numbers finite.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from keeper.errors import Broken, CheckFailed, NotFound
from keeper.model import Record, TxState
from keeper.observe import redact

SCHEMA: Final = "keeper.decisions/1"
EXACT: Final = 2**53  # from here on a double no longer tells two integers apart

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "block.applied": "a block is in the book",
        "block.rolled_back": "blocks above this one are no longer canonical",
        "book.diverged": "accounts were found to be others on chain than in the book, and were corrected",
        "block.gap": "blocks were not delivered and are being fetched",
        "chain.fact": "something happened on chain that is remembered but no state",
        "account.unhealthy": "exact health fell below the requirement",
        "account.healthy": "and is back above it",
        "account.unvalued": "accounts that nobody can put a number on now, whenever they become others, and why",
        "account.expected": "the next publications of the oracle, as its rule asks for them, will condemn these",
        "oracle.pending": "a call that may change the market was seen before it was mined",
        "oracle.forgotten": "calls that were seen pending leave a market that nothing can be reckoned in; forgotten",
        "opportunity.seen": "something can be done",
        "opportunity.gone": "and no longer",
        "decision.liquidate": "act now, at a known price",
        "decision.bid": "buy now from an auction",
        "decision.hedge": "bring own delta or margin back",
        "decision.wait": "right, but not yet",
        "decision.skip": "no, and why not",
        **{f"tx.{state}": f"a transaction reached the state {state}" for state in TxState},
        "outcome.won": "an opportunity ended with what we wanted",
        "outcome.lost": "an opportunity ended otherwise, and why",
        "risk.halted": "a limit was reached; nothing more is sent",
        "protocol.paused": "one protocol is left alone until it is well",
        "protocol.resumed": "and is well again",
    }
)


class DecisionLog:
    """Writes one file. Each line reaches the operating system at once."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """A new file; ``header`` is about the run and must hold no wall clock either."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", buffering=1, encoding="ascii", newline="\n")
        self._line({**header, "schema": SCHEMA})

    def write(self, record: Record) -> None:
        """Raises Broken for an event that is not in the list."""
        if record.event not in EVENTS:
            raise Broken(f"no such event in the decision log: {record.event}")
        self._line({"block": record.block, "event": record.event, "fields": record.fields})

    def _line(self, content: Mapping[str, Any]) -> None:
        self._file.write(redact.exact(canonical(content)) + "\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def canonical(content: Any) -> str:
    """The one text of a value. TypeError or ValueError when it is not plain."""
    return json.dumps(plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: Any) -> Any:
    """A value as JSON can hold it without loss; numpy integers are integers."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    number = operator.index(value)  # TypeError for anything else
    return number if abs(number) < EXACT else str(number)


def read(path: Path) -> tuple[Mapping[str, Any], Iterator[Record]]:
    """Header and records; ``int(x)`` restores long integers. A last line that was cut off is left out.

    NotFound when there is no such file, CheckFailed when it is no decision log.
    """
    if not path.is_file():
        raise NotFound(f"no decision log {path}")
    lines = _lines(path)
    header = next(lines, {})
    if header.get("schema") != SCHEMA:
        raise CheckFailed(f"{path} is not a decision log of the kind {SCHEMA}")
    return header, (Record(line["block"], line["event"], line["fields"]) for line in lines)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                content = json.loads(line)
            except json.JSONDecodeError:
                content = None
            if not isinstance(content, dict):
                raise CheckFailed(f"{path}:{number} is not a line of a decision log")
            yield content

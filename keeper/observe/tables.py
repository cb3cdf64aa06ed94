"""Tables in Markdown that also read well as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[-+]?\$?[\d,]+(\.\d+)?( ?[A-Za-z%]+)?|[-–]?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table that also reads well as it is; columns of numbers are right-aligned."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    columns = list(zip(header, *cells, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    right = [any(column[1:]) and all(_NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    rule = [f"{'-' * (width - 1)}{':' if one else '-'}" for width, one in zip(widths, right, strict=True)]
    return "\n".join(_row(line, widths, right) for line in (header, rule, *cells))


def _cell(value: object) -> str:
    return _CONTROL.sub(" ", "" if value is None else str(value)).replace("|", "\\|")


def _row(line: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = [
        cell.rjust(width) if one else cell.ljust(width) for cell, width, one in zip(line, widths, right, strict=True)
    ]
    return f"| {' | '.join(cells)} |"

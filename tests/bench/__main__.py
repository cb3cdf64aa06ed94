"""``make bench``: the table of the README, measured here. JSON goes to reports/bench.json.

``make bench ARGS="turns lending"``: some stages only.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from keeper.cli.output import table
from tests.bench import measures
from tests.bench.harness import Row, shown


def main() -> int:
    stages, wanted = {measure.__name__: measure for measure in measures.ALL}, sys.argv[1:]
    if unknown := [name for name in wanted if name not in stages]:
        sys.exit(f"no stage {' '.join(unknown)}: there are {' '.join(stages)}")
    rows: list[Row] = []
    for measure in [stages[name] for name in wanted] or measures.ALL:
        print(f"measuring {measure.__name__} ...", file=sys.stderr, flush=True)
        rows += measure()
    Path("reports").mkdir(exist_ok=True)
    data = [{**asdict(row), "ratio": row.ratio, "holds": row.holds} for row in rows]
    Path("reports/bench.json").write_text(json.dumps(data, indent=1) + "\n")
    print(table(("measure", "keeper", "against", "", "ratio", "must", ""), [_cells(row) for row in rows]))
    return 0 if all(row.holds for row in rows) else 6


def _cells(row: Row) -> tuple[str, ...]:
    bound = f"{'>=' if row.faster else '<='} {row.must:g}"
    return (
        row.what,
        shown(row.ours, row.unit),
        row.other,
        shown(row.theirs, row.unit),
        f"{row.ratio:.1f}",
        bound,
        "" if row.holds else "NO",
    )


if __name__ == "__main__":
    sys.exit(main())

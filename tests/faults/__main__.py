"""``make faults``: every test that automates a row of the fault matrix, then the scorecard. 0 when all gates hold."""

import sys

import pytest

from tests.faults.scorecard import Scorecard, lines, matrix, table


def main(arguments: list[str]) -> int:
    card = Scorecard()
    code = pytest.main(["-m", "fault", *(arguments or ["tests"])], plugins=[card])
    found = lines(matrix().values(), card.holding)
    print(f"\n{table(found)}")  # noqa: T201
    return int(code) or int(not all(line.passed for line in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``keeper`` and ``python -m keeper``."""

import os
import sys


def main() -> int:
    """The exit code; see ``keeper/cli/exit.py``.

    Nothing is loaded from the folder that one happens to be in, unless it is the one that we lie in ourselves.
    """
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  nothing loaded yet
    here = os.getcwd()  # noqa: PTH109
    if here != ours:
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    from keeper.cli.app import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

"""``keeper`` and ``python -m keeper``."""

import sys

from keeper.cli.app import main as _main


def main() -> int:
    """The exit code; see ``keeper/cli/exit.py``."""
    return _main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

"""``keeper version``"""

from __future__ import annotations

import argparse
import platform

from keeper import __version__
from keeper.cli.output import emit


def run(args: argparse.Namespace) -> int:
    data = {"keeper": __version__, "python": platform.python_version(), "system": platform.platform(terse=True)}
    emit(args, data, f"keeper {__version__} (Python {data['python']}, {data['system']})")
    return 0

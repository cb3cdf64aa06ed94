"""Where recorded and published data lie: beside the repository, never in it. Tests skip, saying so, without them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FOLDER: Final = "KEEPER_SHARED"  # overrides the search


def folder(*parts: str) -> Path | None:
    """``shared/data/...`` of the first folder above this one that has it, or below $KEEPER_SHARED."""
    roots = [Path(os.environ[FOLDER])] if FOLDER in os.environ else [p / "shared" for p in Path(__file__).parents]
    found = (root.joinpath("data", *parts) for root in roots)
    return next((one for one in found if one.exists()), None)

"""What the operator decided: the only reader of configuration files and of the environment.

Precedence: ``--set a.b=value``, then ``KEEPER__A__B`` from the environment, then the later file, then the earlier
file, then the defaults. Unknown keys are errors in all of them. All problems are reported at once, each with its
place. Nothing here touches the network, and no secret is ever part of a dump, a repr or an error.

    schema.py      every option, its unit and its default
    quantities.py  "2 ETH" and back
    secrets.py     where secrets are kept; fetched only when needed
    sources.py     files, environment, command line: read and merged
    positions.py   where in a TOML text a key stands
    checks.py      what is wrong
    located.py     what an error looks like
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from keeper.settings import checks
from keeper.settings.located import Problem, Unusable
from keeper.settings.schema import (
    Chain,
    Keeper,
    Log,
    Protocol,
    Record,
    Risk,
    Settings,
    Signer,
    Strategy,
)
from keeper.settings.secrets import Endpoint, Secret
from keeper.settings.sources import gather

__all__ = [
    "Chain",
    "Endpoint",
    "Keeper",
    "Log",
    "Problem",
    "Protocol",
    "Record",
    "Risk",
    "Secret",
    "Settings",
    "Signer",
    "Strategy",
    "Unusable",
    "load",
]


def load(files: Sequence[Path], overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from files (later wins), ``key=value`` overrides and environment. Raises Unusable with all problems."""
    sources = gather(files, overrides, environ)
    problems = list(checks.of_whole(sources))
    try:
        settings = Settings(sources)
    except ValidationError as error:
        raise sources.refuse([*problems, *checks.of_values(error, sources)]) from None
    if problems:
        raise sources.refuse(problems)
    return settings

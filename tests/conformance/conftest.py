"""What the tests of Morpho Blue share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.morpho_harness import compiled


@pytest.fixture(scope="module")
def artifacts(request: pytest.FixtureRequest) -> dict[str, Any]:
    return compiled(request.config.cache.mkdir("solc"))

"""For all tests: a property test does not fail because the machine was busy; reports name the faults they prove; how
long the random walks are.
"""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("keeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keeper")


def pytest_addoption(parser: pytest.Parser) -> None:
    walks = parser.getgroup("walks", "random walks over the contracts (tests/invariants)")
    walks.addoption("--walks", type=int, default=2, help="how many (2)")
    walks.addoption("--steps", type=int, default=150, help="acts in each (150)")
    walks.addoption("--first", type=int, default=1, help="seed of the first; the others follow (1)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "walk_seed" in metafunc.fixturenames:
        first, walks = metafunc.config.getoption("--first"), metafunc.config.getoption("--walks")
        metafunc.parametrize("walk_seed", range(first, first + walks))
        metafunc.parametrize("walk_steps", [metafunc.config.getoption("--steps")])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reports carry the rows of the fault matrix that their test automates, also from another process."""
    for item in items:
        for mark in item.iter_markers("fault"):
            item.user_properties.append(("fault", " ".join(mark.args)))

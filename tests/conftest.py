"""For all tests: a property test does not fail because the machine was busy; reports name the faults they prove."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("keeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keeper")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reports carry the rows of the fault matrix that their test automates, also from another process."""
    for item in items:
        for mark in item.iter_markers("fault"):
            item.user_properties.append(("fault", " ".join(mark.args)))

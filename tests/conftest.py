"""For all tests: a property test does not fail because the machine was busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("keeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keeper")

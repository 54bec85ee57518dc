"""Settings for all tests: the same examples in every run, on machines of any speed.

A hunt for what they miss: `pytest --hypothesis-profile=hunt`, with other examples each time, and many.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]
settings.register_profile(
    "funcnet", derandomize=True, deadline=None, database=None, max_examples=150, suppress_health_check=SLOW
)
settings.register_profile("hunt", deadline=None, database=None, max_examples=5000, suppress_health_check=SLOW)
settings.load_profile("funcnet")

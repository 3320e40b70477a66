"""How hard property tests try. ``FUZZ_FACTOR=50`` makes each of them try fifty times as many examples."""

import os

from hypothesis import HealthCheck, settings


def effort(examples: int) -> settings:
    return settings(
        max_examples=examples * int(os.environ.get("FUZZ_FACTOR", "1")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )

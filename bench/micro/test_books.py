"""Choose, book and settle: once per request, under the books' lock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bench.micro.cases import Cases
    from bench.micro.conftest import Gauge

POLICIES = {"round_robin": 0, "random": 1, "least_load": 2, "session": 3}  # gdp_policy of gdp/load.h


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("workers", [4, 256])
def test_placing_and_settling(policy: str, workers: int, gauge: Gauge, cases: Cases) -> None:
    gauge(f"place_settle_{policy}_{workers}", partial(cases.place_settle, POLICIES[policy], workers))

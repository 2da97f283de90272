"""Choose, book and settle: once per request, under the books' lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.micro.cases import POLICIES

if TYPE_CHECKING:
    from bench.micro.cases import Cases
    from bench.micro.conftest import Gauge


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("workers", [4, 256])
def test_placing_and_settling(policy: str, workers: int, gauge: Gauge, cases: Cases) -> None:
    with cases.placing(policy, workers) as case:
        gauge(f"place_settle_{policy}_{workers}", case)

"""What a refusal says besides its Status."""

import pytest

from grove_dp.kube.errors import TooManyRequests
from grove_dp.metering.external.answers import refusal


@pytest.mark.parametrize(("asked_s", "told"), [(1.0, "1"), (0.2, "1"), (2.5, "3"), (None, None)])
def test_a_refusal_says_in_whole_seconds_when_to_come_again(asked_s, told):
    answer = refusal(TooManyRequests("GET /x", 429, "TooManyRequests", "later", asked_s))
    assert answer.headers.get("Retry-After") == told

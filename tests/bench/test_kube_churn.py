"""Pods that come and go under a frontend, on the real control plane."""

import pytest

from bench.kube.churn import churned

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(400)]


def test_no_chat_goes_to_a_pod_that_is_gone_and_none_is_missed():
    seen = churned(pods=60, seconds=6, per_second=10, ends_s=2.0)  # other tests take the CPUs, too
    assert seen.failed == []
    assert seen.late == [], "chats reached pods that were gone"
    assert seen.unseen == 0
    assert seen.chats > 200
    assert seen.pods == 120
    assert seen.noticed_s[len(seen.noticed_s) // 2] < 3.0

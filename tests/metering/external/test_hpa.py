"""The real HPA controller, scaling a real sub-resource by our values through the real aggregator."""

import time

import pytest

from tests.metering.external.cluster import autoscaler, autoscalers, condition, has_replicas, says
from tests.metering.external.rig import sample

pytestmark = [pytest.mark.controlplane("kube-controller-manager"), pytest.mark.timeout(400)]


def test_a_real_hpa_scales_up_and_down_by_our_values(controlplane, values, kube_namespace, deployment):
    def wish(replicas, **more):
        values.publish(
            sample(
                "grove_dp_desired_replicas",
                namespace=kube_namespace,
                value=replicas,
                wall_s=time.time(),
                pcs="chat",
                component="decode",
            ),
            **more,
        )

    path = autoscalers(kube_namespace)
    wish(4)
    controlplane.api.create(path, autoscaler("grove_dp_desired_replicas"))
    scale = f"{deployment}/scale"
    controlplane.api.until(scale, has_replicas(4), 30, "4 replicas")
    wish(7)
    controlplane.api.until(scale, has_replicas(7), 45, "7 replicas")
    wish(2, missing=("http://10.0.0.7:9090",))
    seen = controlplane.api.until(f"{path}/decode", says("picture is incomplete"), 30, "the HPA says it")
    assert condition(seen, "ScalingActive")["reason"] == "FailedGetExternalMetric"
    assert controlplane.api.get(scale)["spec"]["replicas"] == 7  # nothing is scaled in on half a picture
    wish(2)
    controlplane.api.until(scale, has_replicas(2), 45, "2 replicas")


def test_a_metric_that_does_not_exist_is_said_by_the_hpa_in_our_words(
    controlplane, values, kube_namespace, deployment
):
    path = autoscalers(kube_namespace)
    controlplane.api.create(path, autoscaler("grove_dp_nonsense"))
    said = lambda seen: condition(seen, "ScalingActive")["reason"] == "FailedGetExternalMetric"  # noqa: E731
    seen = controlplane.api.until(f"{path}/decode", said, 30, "FailedGetExternalMetric")
    ours = f"the server could not find the metric grove_dp_nonsense in namespace {kube_namespace}"
    assert ours in condition(seen, "ScalingActive")["message"]
    assert controlplane.api.get(f"{deployment}/scale")["spec"]["replicas"] == 1

"""A cluster in which the adapter is installed, and something that can be scaled there."""

import time

import pytest

from grove_dp.metering.external.registration import APISERVICE_PATH
from grove_dp.testing.frontend import free_port
from tests.metering.external.cluster import NAMESPACE, Running, installed_in
from tests.metering.external.rig import sample


@pytest.fixture(scope="module")
def adapter(controlplane):
    controlplane.namespace(NAMESPACE)
    with Running(controlplane, free_port()) as running:
        yield running
    controlplane.api.delete(APISERVICE_PATH)  # one that does not answer hinders every namespace's deletion


@pytest.fixture
def values(adapter):
    """Values of today; the aggregator has found us."""
    adapter.publish(
        sample(namespace="default", value=12.5, wall_s=time.time(), pcs="chat", component="decode")
    )

    def available(seen):
        conditions = seen.get("status", {}).get("conditions") or ()
        return any(each["type"] == "Available" and each["status"] == "True" for each in conditions)

    adapter.plane.api.until(APISERVICE_PATH, available, 40, "the APIService is available")
    return adapter


@pytest.fixture
def deployment(controlplane, kube_namespace):
    labels = {"app": kube_namespace}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "none"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    path = f"/apis/apps/v1/namespaces/{kube_namespace}/deployments"
    controlplane.api.create(path, {"metadata": {"name": "decode"}, "spec": spec})
    return f"{path}/decode"


@pytest.fixture
def installed(controlplane):
    """Everything but the adapter itself; see `Installed`."""
    yield installed_in(controlplane, "grove-dp-chain")
    controlplane.api.delete(APISERVICE_PATH)

"""Events on both API servers: what is sent is taken, and reads back as it was meant."""

import pytest

from grove_dp.kube.events import EVENTS, Recorder, Reference


@pytest.fixture
async def api(cluster):
    async with cluster.line() as (made, _):
        yield made


async def told(api, namespace, name):
    """Events about the object of that name."""
    found = await api.get(EVENTS.path(namespace), query={"limit": "500"})
    return sorted(
        (event for event in found["items"] if event["regarding"].get("name") == name),
        key=lambda event: event["eventTime"],
    )


async def test_events_are_taken_and_counted(cluster, api):
    pod = Reference(api_version="v1", kind="Pod", namespace=cluster.namespace, name="web-0", uid="u-1")
    node = Reference(api_version="v1", kind="Node", name=f"node-of-{cluster.namespace}")
    odd = Reference(api_version="rbac.authorization.k8s.io/v1", kind="ClusterRole", name="system:Odd/name")
    async with Recorder(api, "grove-dp.io/operator", "operator-0", series_s=0.05) as recorder:
        recorder.record(pod, "Scheduled", "placed on é" + "x" * 2_000, action="Binding", related=node)
        recorder.record(node, "NodeLost", "it is gone", action="Watching", kind="Warning")
        recorder.record(odd, "Seen", "", action="Watching")
        await recorder._queue.idle()
        for _ in range(4):
            recorder.record(pod, "Scheduled", "placed on é" + "x" * 2_000, action="Binding", related=node)
    assert (recorder.written, recorder.patched, dict(recorder.lost)) == (3, 1, {})
    [event] = await told(api, cluster.namespace, "web-0")
    assert event["series"]["count"] == 5
    assert event["series"]["lastObservedTime"] > event["eventTime"]
    assert len(event["note"].encode()) == 1024
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Scheduled", "Binding")
    assert (event["reportingController"], event["reportingInstance"]) == (
        "grove-dp.io/operator",
        "operator-0",
    )
    [lost] = await told(api, "default", node.name)
    assert lost["type"] == "Warning"
    assert lost["metadata"]["namespace"] == "default"
    assert await told(api, "default", "system:Odd/name")


async def test_what_is_refused_is_lost_and_counted(cluster, api):
    gone = Reference(api_version="v1", kind="Pod", namespace="there-is-none", name="web-0")
    pod = Reference(api_version="v1", kind="Pod", namespace=cluster.namespace, name="web-1")
    async with Recorder(api, "grove-dp.io/operator", "operator-0") as recorder:
        recorder.record(gone, "Scheduled", "placed", action="Binding")
        recorder.record(pod, "Scheduled", "placed", action="Binding")
    assert dict(recorder.lost) == {"NotFound": 1}
    assert len(await told(api, cluster.namespace, "web-1")) == 1

"""Sub-resources: status, scale, binding, eviction."""

from tests.conformance.cases.deletion import pod

LABELS = {"app": "a"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "m", "image": "i"}]}}
# paused, and of 0 replicas: the real one's controller is to leave it as it is
SPEC = {"replicas": 0, "paused": True, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}


def _deployments(calls, name="", sub=""):
    return calls.path("deployments", name, sub, group="apps/v1")


def _sets(calls, name="", sub=""):
    return calls.path("replicasets", name, sub, group="apps/v1")


async def a_replica_set_has_a_scale(calls):
    spec = {name: SPEC[name] for name in ("replicas", "selector", "template")}
    await calls.made(_sets(calls), {"metadata": {"name": "a", "finalizers": ["t.test/x"]}, "spec": spec})
    told = await calls.get(_sets(calls, "a", "scale"))
    assert told.document["kind"] == "Scale"
    assert told.document["status"]["selector"] == "app=a"
    assert told.document["spec"] == {}
    assert (await calls.get(_sets(calls, "none", "scale"))).why == (404, "NotFound")


async def a_scale_writes_the_object(calls):
    await calls.made(_deployments(calls), {"metadata": {"name": "a"}, "spec": SPEC})
    patch = {"spec": {"replicas": 2}}
    told = await calls.call(
        "PATCH", _deployments(calls, "a", "scale"), patch, "application/merge-patch+json", keep=False
    )
    assert told.document.get("spec") == {"replicas": 2}, told
    told = await calls.call("GET", _deployments(calls, "a"), keep=False)
    assert told.document["spec"]["replicas"] == 2
    assert told.document["metadata"]["generation"] == 2
    scale = (await calls.call("GET", _deployments(calls, "a", "scale"), keep=False)).document
    scale["spec"]["replicas"] = 1
    del scale["metadata"]["resourceVersion"]  # the real one's controller writes at the same time
    told = await calls.call("PUT", _deployments(calls, "a", "scale"), scale, keep=False)
    assert told.document["spec"]["replicas"] == 1


async def a_scale_is_not_negative(calls):
    await calls.made(_deployments(calls), {"metadata": {"name": "a"}, "spec": SPEC})
    told = await calls.merge(_deployments(calls, "a", "scale"), {"spec": {"replicas": -1}})
    assert told.why == (422, "Invalid")


async def an_old_scale_is_a_conflict(calls):
    await calls.made(_deployments(calls), {"metadata": {"name": "a"}, "spec": SPEC})
    scale = (await calls.call("GET", _deployments(calls, "a", "scale"), keep=False)).document
    scale["metadata"]["resourceVersion"] = "1"
    told = await calls.put(_deployments(calls, "a", "scale"), scale)
    assert told.why == (409, "Conflict")


async def a_binding_is_made_once_and_for_a_pod_that_is_there(calls):
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "lost-a"}}
    assert (await calls.post(calls.pods("a", "binding"), binding)).why == (404, "NotFound")
    await calls.made(calls.pods(), pod("a"))
    assert (await calls.post(calls.pods("a", "binding"), binding)).why == (409, "Conflict")


async def an_ungated_pod_is_bound_and_keeps_its_generation(calls):
    spec = {"containers": [{"name": "m", "image": "i"}], "schedulerName": "nobody"}
    made = await calls.made(calls.pods(), {"metadata": {"name": "a"}, "spec": spec})
    binding = {
        "metadata": {"name": "a", "uid": made["metadata"]["uid"], "annotations": {"t.test/b": "1"}},
        "target": {"kind": "Node", "name": "lost-a"},
    }
    told = await calls.post(calls.pods("a", "binding"), binding)
    assert told.status == 201
    assert told.document["status"] == "Success"
    found = await calls.read(calls.pods("a"))
    assert found["spec"]["nodeName"] == "lost-a"
    assert found["metadata"]["annotations"] == {"t.test/b": "1"}
    assert found["metadata"]["generation"] == 1


async def a_binding_may_be_meant_for_one_uid(calls):
    spec = {"containers": [{"name": "m", "image": "i"}], "schedulerName": "nobody"}
    await calls.made(calls.pods(), {"metadata": {"name": "a"}, "spec": spec})
    other = {"name": "a", "uid": "00000000-0000-4000-8000-000000000000"}
    told = await calls.post(calls.pods("a", "binding"), {"metadata": other, "target": {"name": "lost-a"}})
    assert told.why == (409, "Conflict")


async def an_eviction_deletes_with_grace_and_says_why(calls):
    await calls.made(calls.pods(), pod("a"))
    told = await calls.post(calls.pods("a", "eviction"), {"metadata": {"name": "a"}})
    assert told.status == 201
    found = await calls.read(calls.pods("a"))
    assert found["metadata"]["deletionGracePeriodSeconds"] == 30
    (condition,) = [one for one in found["status"]["conditions"] if one["type"] == "DisruptionTarget"]
    assert (condition["status"], condition["reason"]) == ("True", "EvictionByEvictionAPI")
    await calls.delete(calls.pods("a"), {"gracePeriodSeconds": 0})


async def an_eviction_is_of_a_pod_that_is_there(calls):
    assert (await calls.post(calls.pods("b", "eviction"), {"metadata": {"name": "b"}})).why == (
        404,
        "NotFound",
    )
    await calls.made(calls.pods(), pod("a"))
    told = await calls.post(calls.pods("a", "eviction"), {"metadata": {"name": "b"}})
    assert told.why == (400, "BadRequest")
    await calls.delete(calls.pods("a"), {"gracePeriodSeconds": 0})


async def a_status_is_written_apart(calls):
    await calls.made(_deployments(calls), {"metadata": {"name": "a"}, "spec": SPEC})
    path = _deployments(calls, "a", "status")
    patch = {"spec": {"replicas": 5}, "status": {"collisionCount": 3}}
    told = await calls.call("PATCH", path, patch, "application/merge-patch+json", keep=False)
    assert told.document["spec"]["replicas"] == 0
    assert told.document["status"]["collisionCount"] == 3
    assert told.document["metadata"]["generation"] == 1


async def a_status_can_be_read_as_the_whole_object(calls):
    await calls.made(calls.pods(), pod("a"))
    assert await calls.read(calls.pods("a", "status")) == await calls.read(calls.pods("a"))


async def what_has_no_status_has_no_such_path(calls):
    await calls.made(calls.maps(), {"metadata": {"name": "a"}})
    assert (await calls.merge(f"{calls.maps('a')}/status", {"status": {}})).status == 404
    assert (await calls.get(f"{calls.maps('a')}/scale")).status == 404

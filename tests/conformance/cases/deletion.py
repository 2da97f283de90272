"""Deletion: finalizers, grace, preconditions, collections, namespaces."""

from tests.conformance.cases.objects import config

HELD = {"finalizers": ["t.test/held"]}


def pod(name, *, grace=30, node="lost-a", **metadata):
    spec = {"containers": [{"name": "m", "image": "i"}], "terminationGracePeriodSeconds": grace}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, **metadata}, "spec": spec}


async def a_deleted_object_is_gone(calls):
    made = await calls.made(calls.maps(), config("a"))
    told = await calls.delete(calls.maps("a"))
    assert told.status == 200
    assert told.document["kind"] == "Status"
    assert told.document["status"] == "Success"
    assert told.document["details"]["uid"] == made["metadata"]["uid"]
    assert (await calls.get(calls.maps("a"))).status == 404


async def a_finalizer_holds_it(calls):
    await calls.made(calls.maps(), {"metadata": {"name": "a", **HELD}})
    told = await calls.delete(calls.maps("a"))
    assert told.status == 200
    metadata = told.document["metadata"]
    assert metadata["deletionTimestamp"]
    assert metadata["deletionGracePeriodSeconds"] == 0
    again = await calls.delete(calls.maps("a"))
    assert again.document["metadata"]["resourceVersion"] == metadata["resourceVersion"]
    told = await calls.merge(calls.maps("a"), {"metadata": {"finalizers": None}})
    assert told.status == 200
    assert (await calls.get(calls.maps("a"))).status == 404


async def a_held_object_can_still_change_but_get_no_new_finalizer(calls):
    await calls.made(calls.maps(), {"metadata": {"name": "a", "finalizers": ["t.test/a", "t.test/b"]}})
    await calls.delete(calls.maps("a"))
    assert (await calls.merge(calls.maps("a"), {"data": {"k": "v"}})).status == 200
    told = await calls.merge(calls.maps("a"), {"metadata": {"finalizers": ["t.test/a", "t.test/c"]}})
    assert told.causes == [("FieldValueForbidden", "metadata.finalizers")]
    assert (await calls.merge(calls.maps("a"), {"metadata": {"finalizers": ["t.test/b"]}})).status == 200
    assert (await calls.merge(calls.maps("a"), {"metadata": {"finalizers": []}})).status == 200
    assert (await calls.get(calls.maps("a"))).status == 404


async def a_deletion_cannot_be_taken_back(calls):
    await calls.made(calls.maps(), {"metadata": {"name": "a", **HELD}})
    await calls.delete(calls.maps("a"))
    told = await calls.merge(calls.maps("a"), {"metadata": {"deletionTimestamp": None}})
    assert told.document["metadata"]["deletionTimestamp"]
    await calls.merge(calls.maps("a"), {"metadata": {"finalizers": None}})


async def a_watch_sees_the_mark_and_the_end(calls):
    made = await calls.made(calls.maps(), {"metadata": {"name": "a", **HELD}})
    async with calls.watch(calls.maps(), resourceVersion=made["metadata"]["resourceVersion"]) as events:
        await calls.delete(calls.maps("a"))
        await calls.merge(calls.maps("a"), {"metadata": {"finalizers": None}})
        assert await events.brief(2) == [("MODIFIED", "a"), ("DELETED", "a")]


async def a_deletion_may_be_meant_for_one_uid_or_version(calls):
    made = (await calls.made(calls.maps(), config("a")))["metadata"]
    other = "00000000-0000-4000-8000-000000000000"
    assert (await calls.delete(calls.maps("a"), {"preconditions": {"uid": other}})).why == (409, "Conflict")
    told = await calls.call(
        "DELETE", calls.maps("a"), {"preconditions": {"resourceVersion": "1"}}, keep=False
    )
    assert told.why == (409, "Conflict")
    meant = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    assert (await calls.delete(calls.maps("a"), {"preconditions": meant})).status == 200


async def a_pod_on_a_node_has_grace(calls):
    await calls.made(calls.pods(), pod("a"))
    metadata = (await calls.delete(calls.pods("a"))).document["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 30
    assert metadata["generation"] == 2
    assert metadata["deletionTimestamp"] > metadata["creationTimestamp"]
    longer = await calls.delete(calls.pods("a"), {"gracePeriodSeconds": 60})
    assert longer.document["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = await calls.delete(calls.pods("a"), {"gracePeriodSeconds": 10})
    assert shorter.document["metadata"]["deletionGracePeriodSeconds"] == 10
    assert shorter.document["metadata"]["deletionTimestamp"] < metadata["deletionTimestamp"]
    assert (await calls.delete(calls.pods("a"), {"gracePeriodSeconds": 0})).status == 200
    assert (await calls.get(calls.pods("a"))).status == 404


async def a_pod_without_a_node_goes_at_once(calls):
    spec = {"containers": [{"name": "m", "image": "i"}], "schedulingGates": [{"name": "t.test/g"}]}
    await calls.made(calls.pods(), {"metadata": {"name": "a"}, "spec": spec})
    told = await calls.delete(calls.pods("a"))
    assert told.document["kind"] == "Pod"
    assert told.document["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (await calls.get(calls.pods("a"))).status == 404


async def a_watch_of_pods_sees_a_mark_even_of_those_that_go_at_once(calls):
    spec = {"containers": [{"name": "m", "image": "i"}], "schedulingGates": [{"name": "t.test/g"}]}
    made = await calls.made(calls.pods(), {"metadata": {"name": "a"}, "spec": spec})
    async with calls.watch(calls.pods(), resourceVersion=made["metadata"]["resourceVersion"]) as events:
        await calls.delete(calls.pods("a"))
        assert await events.brief(2) == [("MODIFIED", "a"), ("DELETED", "a")]


async def a_pod_without_grace_goes_at_once(calls):
    await calls.made(calls.pods(), pod("a", grace=0))
    await calls.delete(calls.pods("a"))
    assert (await calls.get(calls.pods("a"))).status == 404


async def a_pod_that_has_ended_goes_at_once(calls):
    await calls.made(calls.pods(), pod("a"))
    assert (await calls.merge(calls.pods("a", "status"), {"status": {"phase": "Failed"}})).status == 200
    await calls.delete(calls.pods("a"))
    assert (await calls.get(calls.pods("a"))).status == 404


async def a_pod_with_a_finalizer_waits_for_both(calls):
    await calls.made(calls.pods(), pod("a", **HELD))
    await calls.delete(calls.pods("a"))
    told = await calls.delete(calls.pods("a"), {"gracePeriodSeconds": 0})
    assert told.document["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (await calls.get(calls.pods("a"))).status == 200
    await calls.merge(calls.pods("a"), {"metadata": {"finalizers": None}})
    assert (await calls.get(calls.pods("a"))).status == 404


async def a_finalizer_taken_off_within_the_grace_leaves_the_pod(calls):
    await calls.made(calls.pods(), pod("a", **HELD))
    await calls.delete(calls.pods("a"))
    told = await calls.merge(calls.pods("a"), {"metadata": {"finalizers": None}})
    assert told.document["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await calls.get(calls.pods("a"))).status == 200
    await calls.delete(calls.pods("a"), {"gracePeriodSeconds": 0})


async def a_collection_is_deleted_by_selector(calls):
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await calls.made(calls.maps(), {"metadata": {"name": name, "labels": {"app": label}}})
    told = await calls.delete(calls.maps(), labelSelector="app=x")
    assert told.status == 200
    assert await calls.names(calls.maps()) == ["c"]


async def a_namespace_takes_all_with_it(calls):
    name = f"{calls.namespace}-b"
    await calls.made("/api/v1/namespaces", {"metadata": {"name": name}})
    maps = calls.path("configmaps", namespace=name)
    await calls.made(maps, {"metadata": {"name": "a", **HELD}})
    told = await calls.delete(f"/api/v1/namespaces/{name}")
    assert told.status == 200
    assert told.document["status"]["phase"] == "Terminating"
    told = await calls.call("POST", maps, config("b"), keep=False)
    assert told.why == (403, "Forbidden")
    assert told.document["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await calls.until(
        f"{maps}/a", lambda told: "deletionTimestamp" in told.document["metadata"], "it is marked"
    )
    await calls.merge(f"{maps}/a", {"metadata": {"finalizers": None}})
    await calls.gone(f"{maps}/a")

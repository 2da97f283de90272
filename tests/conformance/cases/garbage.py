"""What goes with its owner, and how."""

from tests.conformance.cases.objects import config


def _owned(name, *owners, block=False, **metadata):
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    return {"metadata": {"name": name, "ownerReferences": references, **metadata}}


async def dependents_go_with_their_owner(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    child = await calls.made(calls.maps(), _owned("child", owner))
    await calls.made(calls.maps(), _owned("grandchild", child))
    await calls.delete(calls.maps("owner"))
    await calls.gone(calls.maps("child"))
    await calls.gone(calls.maps("grandchild"))


async def in_the_background_the_owner_goes_first(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    await calls.made(calls.maps(), _owned("child", owner, finalizers=["t.test/held"]))
    await calls.delete(calls.maps("owner"), {"propagationPolicy": "Background"})
    assert (await calls.get(calls.maps("owner"))).status == 404
    await calls.until(
        calls.maps("child"), lambda told: "deletionTimestamp" in told.document["metadata"], "it is marked"
    )
    await calls.merge(calls.maps("child"), {"metadata": {"finalizers": None}})
    await calls.gone(calls.maps("child"))


async def in_the_foreground_it_goes_last(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    await calls.made(calls.maps(), _owned("child", owner, block=True, finalizers=["t.test/held"]))
    told = await calls.delete(calls.maps("owner"), {"propagationPolicy": "Foreground"})
    assert told.document["metadata"]["finalizers"] == ["foregroundDeletion"]
    await calls.until(
        calls.maps("child"), lambda told: "deletionTimestamp" in told.document["metadata"], "it is marked"
    )
    assert (await calls.get(calls.maps("owner"))).status == 200
    await calls.merge(calls.maps("child"), {"metadata": {"finalizers": None}})
    await calls.gone(calls.maps("child"))
    await calls.gone(calls.maps("owner"))


async def who_does_not_block_is_not_waited_for(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    await calls.made(calls.maps(), _owned("child", owner, finalizers=["t.test/held"]))
    await calls.delete(calls.maps("owner"), {"propagationPolicy": "Foreground"})
    await calls.gone(calls.maps("owner"))
    await calls.merge(calls.maps("child"), {"metadata": {"finalizers": None}})
    await calls.gone(calls.maps("child"))


async def orphans_stay_without_their_owner(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    await calls.made(calls.maps(), _owned("child", owner))
    told = await calls.delete(calls.maps("owner"), {"propagationPolicy": "Orphan"})
    assert told.document["metadata"]["finalizers"] == ["orphan"]
    await calls.gone(calls.maps("owner"))
    child = await calls.read(calls.maps("child"))
    assert "ownerReferences" not in child["metadata"]


async def one_owner_left_is_enough(calls):
    first = await calls.made(calls.maps(), config("first"))
    second = await calls.made(calls.maps(), config("second"))
    await calls.made(calls.maps(), _owned("child", first, second))
    await calls.delete(calls.maps("first"))
    told = await calls.until(
        calls.maps("child"),
        lambda told: len(told.document["metadata"]["ownerReferences"]) == 1,
        "one is left",
    )
    assert told.document["metadata"]["ownerReferences"][0]["name"] == "second"
    await calls.delete(calls.maps("second"))
    await calls.gone(calls.maps("child"))


async def who_names_an_owner_that_is_not_there_goes(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    await calls.delete(calls.maps("owner"))
    await calls.call("POST", calls.maps(), _owned("child", owner), keep=False)
    await calls.gone(calls.maps("child"))


async def an_owner_of_the_same_name_is_another(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    await calls.delete(calls.maps("owner"))
    await calls.made(calls.maps(), config("owner"))
    await calls.call("POST", calls.maps(), _owned("child", owner), keep=False)
    await calls.gone(calls.maps("child"))


async def pods_go_with_their_owner(calls):
    owner = await calls.made(calls.maps(), config("owner"))
    spec = {"containers": [{"name": "m", "image": "i"}], "schedulingGates": [{"name": "t.test/g"}]}
    await calls.made(calls.pods(), {**_owned("a", owner), "spec": spec})
    await calls.delete(calls.maps("owner"))
    await calls.gone(calls.pods("a"))

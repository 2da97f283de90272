"""Lists: selectors and pages."""

from tests.conformance.cases.objects import config


async def _labelled(calls):
    for name, labels in (
        ("a", {"app": "x", "tier": "front"}),
        ("b", {"app": "x", "tier": "back"}),
        ("c", {"app": "y"}),
        ("d", {}),
    ):
        await calls.made(calls.maps(), {"metadata": {"name": name, "labels": labels}})


async def labels_select(calls):
    await _labelled(calls)
    for selector, names in (
        ("app=x", "ab"),
        ("app==x,tier=back", "b"),
        ("app!=x", "cd"),
        ("tier", "ab"),
        ("!tier", "cd"),
        ("app in (x,y)", "abc"),
        ("app in (x, y),tier notin (front)", "bc"),
        ("tier notin (front)", "bcd"),
        ("app=none", ""),
        ("app=", ""),
    ):
        assert await calls.names(calls.maps(), labelSelector=selector) == list(names), selector


async def a_selector_must_be_readable(calls):
    for selector in ("a=b=c", "a in x", "=b"):
        told = await calls.call("GET", calls.maps(), keep=False, labelSelector=selector)
        assert told.why == (400, "BadRequest"), selector


async def fields_select(calls):
    await _labelled(calls)
    assert await calls.names(calls.maps(), fieldSelector="metadata.name=b") == ["b"]
    assert await calls.names(calls.maps(), fieldSelector="metadata.name!=b") == ["a", "c", "d"]
    everywhere = await calls.names(
        "/api/v1/configmaps", fieldSelector=f"metadata.namespace={calls.namespace},metadata.name=a"
    )
    assert everywhere == ["a"]


async def only_some_fields_select(calls):
    told = await calls.call("GET", calls.maps(), keep=False, fieldSelector="data.k=v")
    assert told.why == (400, "BadRequest")


async def pods_are_found_by_their_node_and_phase(calls):
    spec = {"containers": [{"name": "m", "image": "i"}]}
    await calls.made(calls.pods(), {"metadata": {"name": "a"}, "spec": {**spec, "nodeName": "lost-a"}})
    gated = {**spec, "schedulingGates": [{"name": "t.test/g"}]}
    await calls.made(calls.pods(), {"metadata": {"name": "b"}, "spec": gated})
    assert await calls.names(calls.pods(), fieldSelector="spec.nodeName=lost-a") == ["a"]
    assert await calls.names(calls.pods(), fieldSelector="spec.nodeName=") == ["b"]
    assert await calls.names(calls.pods(), fieldSelector="spec.nodeName!=") == ["a"]
    assert await calls.names(calls.pods(), fieldSelector="status.phase=Pending") == ["a", "b"]


async def a_list_comes_in_pages(calls):
    for name in "edcba":
        await calls.made(calls.maps(), config(name))
    first = await calls.read(calls.maps(), limit=2)
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    rest = (
        await calls.call("GET", calls.maps(), limit=2, **{"continue": first["metadata"]["continue"]})
    ).document
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d"]
    last = (
        await calls.call("GET", calls.maps(), limit=2, **{"continue": rest["metadata"]["continue"]})
    ).document
    assert [item["metadata"]["name"] for item in last["items"]] == ["e"]
    assert "continue" not in last["metadata"]


async def all_pages_show_the_same_world(calls):
    for name in "abcd":
        await calls.made(calls.maps(), config(name, k="1"))
    first = await calls.read(calls.maps(), limit=2)
    await calls.delete(calls.maps("c"))
    await calls.merge(calls.maps("d"), {"data": {"k": "2"}})
    await calls.made(calls.maps(), config("e"))
    rest = (
        await calls.call("GET", calls.maps(), limit=9, **{"continue": first["metadata"]["continue"]})
    ).document
    assert [(item["metadata"]["name"], item["data"]["k"]) for item in rest["items"]] == [
        ("c", "1"),
        ("d", "1"),
    ]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def a_page_of_selected_objects_is_full(calls):
    await _labelled(calls)
    first = await calls.read(calls.maps(), limit=2, labelSelector="app")
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert "remainingItemCount" not in first["metadata"]
    rest = (
        await calls.call(
            "GET", calls.maps(), limit=2, labelSelector="app", **{"continue": first["metadata"]["continue"]}
        )
    ).document
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]


async def a_page_that_holds_all_has_no_next(calls):
    await _labelled(calls)
    assert "continue" not in (await calls.read(calls.maps(), limit=4))["metadata"]


async def a_token_must_be_one(calls):
    told = await calls.call("GET", calls.maps(), keep=False, limit=2, **{"continue": "!!"})
    assert told.why == (400, "BadRequest")

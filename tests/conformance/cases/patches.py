"""Merge patches and JSON patches."""

from tests.conformance.cases.objects import config


async def a_merge_patch_adds_changes_and_takes_away(calls):
    await calls.made(calls.maps(), config("a", stays="1", changes="1", goes="1"))
    told = await calls.merge(calls.maps("a"), {"data": {"changes": "2", "goes": None, "comes": "3"}})
    assert told.document["data"] == {"stays": "1", "changes": "2", "comes": "3"}


async def a_merge_patch_of_labels_leaves_others(calls):
    await calls.made(calls.maps(), {"metadata": {"name": "a", "labels": {"x": "1", "y": "1"}}})
    told = await calls.merge(calls.maps("a"), {"metadata": {"labels": {"y": None, "z": "1"}}})
    assert told.document["metadata"]["labels"] == {"x": "1", "z": "1"}


async def the_last_label_takes_the_map_with_it(calls):
    await calls.made(calls.maps(), {"metadata": {"name": "a", "labels": {"x": "1"}}})
    told = await calls.merge(calls.maps("a"), {"metadata": {"labels": {"x": None}}})
    assert "labels" not in told.document["metadata"]


async def a_patch_with_a_version_is_conditional(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    version = made["metadata"]["resourceVersion"]
    told = await calls.merge(calls.maps("a"), {"metadata": {"resourceVersion": version}, "data": {"k": "w"}})
    assert told.status == 200
    told = await calls.merge(calls.maps("a"), {"metadata": {"resourceVersion": version}, "data": {"k": "x"}})
    assert told.why == (409, "Conflict")


async def a_patch_with_a_uid_is_conditional(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    uid = made["metadata"]["uid"]
    assert (await calls.merge(calls.maps("a"), {"metadata": {"uid": uid}, "data": {"k": "w"}})).status == 200
    other = {"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}, "data": {"k": "w"}}
    assert (await calls.merge(calls.maps("a"), other)).causes == [("FieldValueInvalid", "metadata.uid")]


async def operations_are_done_in_order(calls):
    await calls.made(calls.maps(), config("a", k="v", goes="1"))
    told = await calls.operate(
        calls.maps("a"),
        {"op": "test", "path": "/data/k", "value": "v"},
        {"op": "replace", "path": "/data/k", "value": "w"},
        {"op": "copy", "from": "/data/k", "path": "/data/copied"},
        {"op": "move", "from": "/data/goes", "path": "/data/moved"},
        {"op": "add", "path": "/metadata/labels", "value": {"x/y": "1"}},
        {"op": "add", "path": "/metadata/labels/a~1b", "value": "2"},
    )
    assert told.document["data"] == {"k": "w", "copied": "w", "moved": "1"}
    assert told.document["metadata"]["labels"] == {"x/y": "1", "a/b": "2"}


async def operations_on_lists_know_places(calls):
    await calls.made(calls.maps(), {"metadata": {"name": "a", "finalizers": ["t.test/a", "t.test/c"]}})
    told = await calls.operate(
        calls.maps("a"),
        {"op": "add", "path": "/metadata/finalizers/1", "value": "t.test/b"},
        {"op": "add", "path": "/metadata/finalizers/-", "value": "t.test/d"},
        {"op": "remove", "path": "/metadata/finalizers/0"},
    )
    assert told.document["metadata"]["finalizers"] == ["t.test/b", "t.test/c", "t.test/d"]
    await calls.merge(calls.maps("a"), {"metadata": {"finalizers": None}})


async def a_test_that_fails_changes_nothing(calls):
    await calls.made(calls.maps(), config("a", k="v"))
    told = await calls.operate(
        calls.maps("a"),
        {"op": "replace", "path": "/data/k", "value": "w"},
        {"op": "test", "path": "/data/k", "value": "v"},
    )
    assert told.why == (422, "Invalid")
    assert (await calls.read(calls.maps("a")))["data"] == {"k": "v"}


async def what_is_not_there_cannot_be_removed(calls):
    await calls.made(calls.maps(), config("a", k="v"))
    assert (await calls.operate(calls.maps("a"), {"op": "remove", "path": "/data/none"})).status == 422
    assert (
        await calls.operate(calls.maps("a"), {"op": "replace", "path": "/none/x", "value": "x"})
    ).status == 422
    assert (
        await calls.operate(calls.maps("a"), {"op": "add", "path": "/none/x", "value": "x"})
    ).status == 422


async def an_unknown_kind_of_patch_is_refused(calls):
    await calls.made(calls.maps(), config("a"))
    told = await calls.call("PATCH", calls.maps("a"), {}, "text/plain", keep=False)
    assert told.why == (415, "UnsupportedMediaType")


async def a_patch_must_be_one(calls):
    await calls.made(calls.maps(), config("a"))
    assert (
        await calls.call("PATCH", calls.maps("a"), {"op": "x"}, "application/json-patch+json", keep=False)
    ).status == 400
    told = await calls.call("PATCH", calls.maps("a"), [1], "application/merge-patch+json", keep=False)
    assert told.status == 400

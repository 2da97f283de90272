"""Objects: made, read, written again."""

import re


def config(name, **data):
    return {"metadata": {"name": name}, "data": data}


async def a_new_object_has_an_identity(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    metadata = made["metadata"]
    assert made["kind"] == "ConfigMap"
    assert made["apiVersion"] == "v1"
    assert metadata["namespace"] == calls.namespace
    assert int(metadata["resourceVersion"]) > 0
    assert len(metadata["uid"]) == 36
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert await calls.read(calls.maps("a")) == made


async def versions_only_grow(calls):
    first = await calls.made(calls.maps(), config("a"))
    second = await calls.made(calls.maps(), config("b"))
    third = (await calls.merge(calls.maps("a"), {"data": {"k": "v"}})).document
    versions = [int(made["metadata"]["resourceVersion"]) for made in (first, second, third)]
    assert versions == sorted(set(versions))
    assert int((await calls.read(calls.maps()))["metadata"]["resourceVersion"]) >= versions[-1]


async def a_name_can_be_taken_once(calls):
    await calls.made(calls.maps(), config("a"))
    assert (await calls.post(calls.maps(), config("a"))).why == (409, "AlreadyExists")


async def a_name_is_made_from_a_beginning(calls):
    names = set()
    for _ in range(3):
        told = await calls.call("POST", calls.maps(), {"metadata": {"generateName": "made-"}}, keep=False)
        assert told.document["metadata"]["generateName"] == "made-"
        names.add(told.document["metadata"]["name"])
    assert len(names) == 3
    assert all(re.fullmatch("made-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in names)


async def a_long_beginning_is_cut(calls):
    told = await calls.call("POST", calls.maps(), {"metadata": {"generateName": "m" * 70}}, keep=False)
    assert len(told.document["metadata"]["name"]) == 63


async def an_object_needs_a_name(calls):
    told = await calls.post(calls.maps(), {"metadata": {}})
    assert told.why == (422, "Invalid")
    assert told.causes == [("FieldValueRequired", "metadata.name")]


async def names_have_rules(calls):
    for name in ("Upper", "under_score", "-dash", "x" * 254):
        told = await calls.post(calls.maps(), config(name))
        assert told.why == (422, "Invalid"), name
        assert {field for _, field in told.causes} == {"metadata.name"}


async def labels_have_rules(calls):
    for labels in (
        {"a b": "c"},
        {"a": "b c"},
        {"a": "x" * 64},
        {"/a": "b"},
        {"Up_er/a": "b"},
        {"x" * 64: "b"},
    ):
        told = await calls.post(calls.maps(), {"metadata": {"name": "a", "labels": labels}})
        assert told.why == (422, "Invalid"), labels
        assert {field for _, field in told.causes} == {"metadata.labels"}


async def annotations_have_rules(calls):
    told = await calls.post(calls.maps(), {"metadata": {"name": "a", "annotations": {"a b": "c"}}})
    assert told.causes == [("FieldValueInvalid", "metadata.annotations")]
    large = {"metadata": {"name": "a", "annotations": {"a": "x" * (256 * 1024)}}}
    assert (await calls.post(calls.maps(), large)).causes == [("FieldValueTooLong", "metadata.annotations")]


async def owners_have_rules(calls):
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "", "controller": True}
    document = {"metadata": {"name": "a", "ownerReferences": [owner]}}
    told = await calls.post(calls.maps(), document)
    assert told.causes == [("FieldValueInvalid", "metadata.ownerReferences.uid")]


async def only_one_owner_controls(calls):
    owners = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "controller": True}
        for name in ("x", "y")
    ]
    told = await calls.post(calls.maps(), {"metadata": {"name": "a", "ownerReferences": owners}})
    assert ("FieldValueInvalid", "metadata.ownerReferences") in told.causes


async def what_the_server_writes_cannot_be_given(calls):
    forged = {
        "name": "a",
        "uid": "00000000-0000-0000-0000-000000000000",
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
    }
    metadata = (await calls.made(calls.maps(), {"metadata": forged}))["metadata"]
    assert metadata["uid"] != forged["uid"]
    assert not metadata["creationTimestamp"].startswith("2001")
    assert "deletionTimestamp" not in metadata


async def a_namespace_must_be_there(calls):
    told = await calls.post(calls.path("configmaps", namespace="nowhere-at-all"), config("a"))
    assert told.why == (404, "NotFound")
    assert told.document["details"]["kind"] == "namespaces"


async def the_namespace_of_path_and_document_agree(calls):
    told = await calls.post(calls.maps(), {"metadata": {"name": "a", "namespace": "default"}})
    assert told.why == (400, "BadRequest")


async def what_is_not_there_is_not_found(calls):
    for told in (
        await calls.get(calls.maps("a")),
        await calls.merge(calls.maps("a"), {"data": {}}),
        await calls.delete(calls.maps("a")),
        await calls.get("/api/v1/nodes/nowhere"),
    ):
        assert told.why == (404, "NotFound")


async def an_empty_collection_is_a_list(calls):
    listed = await calls.read(calls.maps())
    assert listed["kind"] == "ConfigMapList"
    assert listed["items"] == []


async def items_of_a_list_do_not_say_what_they_are(calls):
    await calls.made(calls.maps(), config("a"))
    (item,) = (await calls.read(calls.maps()))["items"]
    assert "kind" not in item
    assert "apiVersion" not in item


async def a_put_replaces(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    told = await calls.put(calls.maps("a"), config("a", other="w"))
    assert told.document["data"] == {"other": "w"}
    assert told.document["metadata"]["uid"] == made["metadata"]["uid"]
    assert told.document["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


async def a_put_of_an_old_version_is_a_conflict(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    await calls.merge(calls.maps("a"), {"data": {"k": "w"}})
    assert (await calls.put(calls.maps("a"), made)).why == (409, "Conflict")


async def a_put_of_another_uid_is_a_conflict(calls):
    await calls.made(calls.maps(), config("a", k="v"))
    document = {"metadata": {"name": "a", "uid": "00000000-0000-4000-8000-000000000000"}}
    assert (await calls.put(calls.maps("a"), document)).why == (409, "Conflict")


async def a_put_names_the_object_of_its_path(calls):
    await calls.made(calls.maps(), config("a"))
    assert (await calls.put(calls.maps("a"), config("b"))).why == (400, "BadRequest")


async def a_write_that_changes_nothing_is_none(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    for told in (
        await calls.put(calls.maps("a"), made),
        await calls.merge(calls.maps("a"), {"data": {"k": "v"}}),
        await calls.merge(calls.maps("a"), {"metadata": {"labels": {"none": None}}}),
    ):
        assert told.document["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def config_maps_have_no_generation(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    assert "generation" not in made["metadata"]
    assert "generation" not in (await calls.merge(calls.maps("a"), {"data": {"k": "w"}})).document["metadata"]


async def what_is_immutable_stays(calls):
    await calls.made(calls.maps(), {**config("a", k="v"), "immutable": True})
    told = await calls.merge(calls.maps("a"), {"data": {"k": "w"}})
    assert told.causes == [("FieldValueForbidden", "data")]
    assert (await calls.merge(calls.maps("a"), {"metadata": {"labels": {"a": "b"}}})).status == 200


async def identity_cannot_be_patched_away(calls):
    made = await calls.made(calls.maps(), config("a", k="v"))
    told = await calls.merge(calls.maps("a"), {"metadata": {"generation": 9, "creationTimestamp": None}})
    assert told.status == 200
    assert told.document["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert (await calls.merge(calls.maps("a"), {"metadata": {"name": "b"}})).status == 400


async def an_unknown_kind_is_not_found(calls):
    for path in ("/apis/nothing.test/v1/things", "/api/v1/things", "/apis/apps/v1/things"):
        assert (await calls.call("GET", path)).status == 404


async def some_methods_make_no_sense(calls):
    assert (await calls.post(calls.maps("a"), config("a"))).why == (405, "MethodNotAllowed")
    assert (await calls.post("/api/v1/configmaps", config("a"))).why == (405, "MethodNotAllowed")
    assert (await calls.merge(calls.maps(), config("a"))).why == (405, "MethodNotAllowed")


async def metadata_has_types(calls):
    await calls.made(calls.maps(), config("ok"))
    for metadata in (
        {"labels": {"a": 1}},
        {"annotations": {"a": True}},
        {"labels": []},
        {"finalizers": "x"},
        {"finalizers": [1]},
        {"ownerReferences": [{"name": 1}]},
        {"generateName": 5},
    ):
        told = await calls.call("POST", calls.maps(), {"metadata": {"name": "a", **metadata}}, keep=False)
        assert told.why == (400, "BadRequest"), metadata
        told = await calls.call(
            "PATCH", calls.maps("ok"), {"metadata": metadata}, "application/merge-patch+json", keep=False
        )
        assert told.why == (422, "Invalid"), metadata
        assert told.causes == [("FieldValueInvalid", "patch")]

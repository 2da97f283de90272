"""What holds whatever is done to the fake API server."""

import json
from copy import deepcopy
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.clock import ManualClock
from grove_dp.testing.kubeapi import Server
from grove_dp.testing.kubeapi.patches import json_patched, merge_patched
from grove_dp.testing.kubeapi.schema import Schema

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}
NAMES = "abcd"
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "y"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("pqr"), VALUES)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "owned", "label", "finalizer", "free", "delete", "foreground", "orphan"]),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
    ),
    max_size=40,
)


def call(server, method, path, document=None):
    body = None if document is None else msgspec.json.encode(document)
    return server.handle(method, path, MERGE, body)


def listed(server, query=""):
    items = msgspec.json.decode(server.handle("GET", f"{MAPS}{query}", {}, None).body)["items"]
    return {item["metadata"]["name"]: item for item in items}


def do(server, step):
    what, name, other = step
    owner = listed(server).get(other)
    match what:
        case "create":
            call(server, "POST", MAPS, {"metadata": {"name": name}})
        case "owned" if owner is not None and other != name:
            uid = owner["metadata"]["uid"]
            reference = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": other,
                "uid": uid,
                "blockOwnerDeletion": True,
            }
            call(server, "POST", MAPS, {"metadata": {"name": name, "ownerReferences": [reference]}})
        case "label":
            call(server, "PATCH", f"{MAPS}/{name}", {"metadata": {"labels": {"in": other}}})
        case "finalizer":
            call(server, "PATCH", f"{MAPS}/{name}", {"metadata": {"finalizers": ["t.test/x"]}})
        case "free":
            call(server, "PATCH", f"{MAPS}/{name}", {"metadata": {"finalizers": None}})
        case "delete":
            call(server, "DELETE", f"{MAPS}/{name}")
        case "foreground" | "orphan":
            call(server, "DELETE", f"{MAPS}/{name}", {"propagationPolicy": what.capitalize()})


def replay(reply, objects):
    """What a client knows that has read all of the watch."""
    last = 0
    for line in b"".join(reply.watcher.take()).splitlines():
        event = json.loads(line)
        held, name = event["object"], event["object"]["metadata"]["name"]
        version = int(held["metadata"]["resourceVersion"])
        assert version > last
        last = version
        if event["type"] == "ADDED":
            assert name not in objects
        else:
            assert objects[name]["metadata"]["uid"] == held["metadata"]["uid"]
        if event["type"] == "DELETED":
            del objects[name]
        else:
            objects[name] = {key: of for key, of in held.items() if key not in ("kind", "apiVersion")}
    return objects


@settings(deadline=None)
@given(before=STEPS, after=STEPS)
def test_a_list_and_the_watch_after_it_make_the_next_list(before, after):
    server = Server(ManualClock(), Random(1))
    for step in before:
        do(server, step)
    begins = {
        query: listed(server, f"?{query}")
        for query in ("", "labelSelector=in%3Da", "fieldSelector=metadata.name%3Db")
    }
    version = server.store.version
    live = {
        query: server.handle("GET", f"{MAPS}?watch=1&resourceVersion={version}&{query}", {}, None)
        for query in begins
    }
    for step in after:
        do(server, step)
    late = {
        query: server.handle("GET", f"{MAPS}?watch=1&resourceVersion={version}&{query}", {}, None)
        for query in begins
    }
    for query, known in begins.items():
        wanted = listed(server, f"?{query}")
        assert replay(live[query], deepcopy(known)) == wanted
        assert replay(late[query], deepcopy(known)) == wanted


@settings(deadline=None)
@given(steps=STEPS)
def test_no_object_outlives_all_its_owners(steps):
    server = Server(ManualClock(), Random(1))
    for step in steps:
        do(server, step)
    uids = {item["metadata"]["uid"] for item in listed(server).values()}
    for item in listed(server).values():
        owners = item["metadata"].get("ownerReferences", [])
        if owners and "deletionTimestamp" not in item["metadata"]:
            assert any(owner["uid"] in uids for owner in owners)


@settings(deadline=None)
@given(steps=STEPS)
def test_everything_can_be_deleted(steps):
    server = Server(ManualClock(), Random(1))
    for step in steps:
        do(server, step)
    for what in ("free", "delete", "free"):
        for name in NAMES:
            do(server, (what, name, name))
    assert listed(server) == {}
    assert server.store.dependents("none") == []


@given(document=OBJECTS, patch=OBJECTS)
def test_a_merge_patch_is_that_of_the_rfc(document, patch):
    def plain(target, change):
        if not isinstance(change, dict):
            return change
        target = dict(target) if isinstance(target, dict) else {}
        for name, value in change.items():
            if value is None:
                target.pop(name, None)
            else:
                target[name] = plain(target.get(name), value)
        return target

    before = deepcopy(document)
    assert merge_patched(document, patch) == plain(document, patch)
    assert document == before


@given(document=OBJECTS, value=VALUES, name=st.sampled_from("pqr"))
def test_what_is_added_can_be_tested_and_removed(document, value, name):
    before = deepcopy(document)
    added = json_patched(document, [{"op": "add", "path": f"/{name}", "value": value}])
    tested = json_patched(added, [{"op": "test", "path": f"/{name}", "value": value}])
    assert tested[name] == value
    left = json_patched(tested, [{"op": "remove", "path": f"/{name}"}])
    assert left == {key: of for key, of in before.items() if key != name}
    assert document == before


SCHEMA = Schema(
    {
        "type": "object",
        "properties": {
            "p": {
                "type": "object",
                "properties": {"q": {"default": 1}, "r": {"type": "array"}},
                "default": {},
            },
            "q": {"type": "array", "items": {"type": "object", "properties": {"p": {"default": "x"}}}},
        },
    }
)


@given(document=OBJECTS)
def test_a_complete_document_is_left_as_it_is(document):
    before = deepcopy(document)
    complete = SCHEMA.complete(document)
    assert document == before
    assert SCHEMA.complete(complete) is complete


@given(document=OBJECTS, patch=OBJECTS)
def test_looking_only_at_what_changed_finds_the_same(document, patch):
    old = SCHEMA.complete(document)
    new = merge_patched(old, patch)
    assert SCHEMA.complete(new, old=old) == SCHEMA.complete(deepcopy(new))
    if not list(SCHEMA.faults(old)):
        complete = SCHEMA.complete(new, old=old)
        assert bool(list(SCHEMA.faults(complete, old=old))) == bool(list(SCHEMA.faults(complete)))

"""Custom resources: served by their definition, with defaults, pruning, validation, status and scale."""

import copy
from contextlib import asynccontextmanager

MERGE = "application/merge-patch+json"
SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "replicas": {"type": "integer", "format": "int32", "default": 1},
        "ratio": {"type": "number", "exclusiveMinimum": True, "minimum": 0},
        "mode": {"type": "string", "enum": ["Fast", "Safe"], "default": "Fast"},
        "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
        "port": {"x-kubernetes-int-or-string": True},
        "enabled": {"type": "boolean", "default": True},
        "maybe": {"type": "string", "nullable": True},
        "at": {"type": "string", "format": "date-time"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "template": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "properties": {"spec": {"type": "object", "properties": {"x": {"type": "string"}}}},
        },
        "parts": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 5}},
            },
        },
        "nested": {
            "type": "object",
            "default": {},
            "properties": {"deep": {"type": "string", "default": "sea"}},
        },
    },
}
STATUS = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "selector": {"type": "string"},
        "phase": {"type": "string", "enum": ["Good", "Bad"]},
        "known": {"type": "boolean", "default": True},
    },
}


def _definition(plural, **changes):
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.mode"}],
    }
    names = {"plural": plural, "kind": plural[:-1].capitalize(), "shortNames": [plural[:3]]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.conform.test"},
        "spec": {
            "group": "conform.test",
            "scope": "Namespaced",
            "names": names,
            "versions": [{**version, **changes}],
        },
    }


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@asynccontextmanager
async def _widgets(calls):
    """The definition stays: the real server takes two seconds to serve a new one."""
    await calls.call("POST", DEFINITIONS, _definition("widgets"), keep=False)
    await calls.until(
        f"{DEFINITIONS}/widgets.conform.test",
        lambda told: any(
            condition["type"] == "Established" and condition["status"] == "True"
            for condition in told.document.get("status", {}).get("conditions") or []
        ),
        "it is served",
    )
    path = calls.path("widgets", group="conform.test/v1")
    await calls.until(path, lambda told: told.status == 200, "it can be listed")
    yield path


def _widget(name="a", **spec):
    return {
        "apiVersion": "conform.test/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 3, **spec},
    }


async def defaults_are_filled_in(calls):
    async with _widgets(calls) as path:
        made = await calls.made(path, _widget(parts=[{"name": "p"}]))
        assert made["spec"] == {
            "size": 3,
            "replicas": 1,
            "mode": "Fast",
            "enabled": True,
            "nested": {"deep": "sea"},
            "parts": [{"name": "p", "weight": 5}],
        }
        assert made["metadata"]["generation"] == 1
        assert "status" not in made


async def null_is_the_default_where_null_is_not_allowed(calls):
    async with _widgets(calls) as path:
        made = await calls.made(path, _widget(mode=None, maybe=None, code=None, nested={"deep": None}))
        assert made["spec"]["mode"] == "Fast"
        assert made["spec"]["maybe"] is None
        assert made["spec"]["nested"] == {"deep": "sea"}
        assert "code" not in made["spec"]


async def unknown_fields_are_dropped(calls):
    async with _widgets(calls) as path:
        document = _widget(unknown=1, parts=[{"name": "p", "other": 2}], free={"any": {"thing": 1}})
        document["more"] = {}
        made = await calls.made(path, document)
        assert "unknown" not in made["spec"]
        assert "more" not in made
        assert made["spec"]["parts"] == [{"name": "p", "weight": 5}]
        assert made["spec"]["free"] == {"any": {"thing": 1}}


async def unknown_fields_are_refused_on_request(calls):
    async with _widgets(calls) as path:
        told = await calls.post(path, _widget(unknown=1), fieldValidation="Strict")
        assert told.why == (400, "BadRequest")
        assert 'unknown field "spec.unknown"' in told.document["message"]
        told = await calls.post(path, _widget(parts=[{"name": "p", "other": 2}]), fieldValidation="Strict")
        assert 'unknown field "spec.parts[0].other"' in told.document["message"]
        assert (await calls.post(path, _widget(), fieldValidation="Strict")).status == 201


async def unknown_fields_of_a_patch_are_refused_on_request(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget())
        told = await calls.call(
            "PATCH", f"{path}/a", {"spec": {"unknown": 1}}, MERGE, keep=False, fieldValidation="Strict"
        )
        assert told.why == (422, "Invalid")
        assert told.causes == [("FieldValueInvalid", "patch")]
        assert 'unknown field "spec.unknown"' in told.document["message"]


async def embedded_objects_keep_what_they_are(calls):
    async with _widgets(calls) as path:
        template = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"x": "1", "y": "2"}}
        made = await calls.made(path, _widget(template=template))
        assert made["spec"]["template"] == {**template, "spec": {"x": "1"}}


async def wrong_values_are_refused(calls):
    async with _widgets(calls) as path:
        for spec, cause in (
            ({"size": 0}, ("FieldValueInvalid", "spec.size")),
            ({"size": 10}, ("FieldValueInvalid", "spec.size")),
            ({"size": "3"}, ("FieldValueTypeInvalid", "spec.size")),
            ({"size": 3.5}, ("FieldValueTypeInvalid", "spec.size")),
            ({"ratio": 0}, ("FieldValueInvalid", "spec.ratio")),
            ({"mode": "Slow"}, ("FieldValueNotSupported", "spec.mode")),
            ({"code": "ABC"}, ("FieldValueInvalid", "spec.code")),
            ({"code": "a"}, ("FieldValueInvalid", "spec.code")),
            ({"code": "abcde"}, ("FieldValueTooLong", "spec.code")),
            ({"enabled": "yes"}, ("FieldValueTypeInvalid", "spec.enabled")),
            ({"at": "tomorrow"}, ("FieldValueTypeInvalid", "spec.at")),
            ({"labels": {"a": 1}}, ("FieldValueTypeInvalid", "spec.labels.a")),
            ({"labels": {"a": "1", "b": "2", "c": "3"}}, ("FieldValueTooMany", "spec.labels")),
            ({"parts": []}, ("FieldValueInvalid", "spec.parts")),
            ({"parts": {}}, ("FieldValueTypeInvalid", "spec.parts")),
            ({"parts": [{"weight": 1}]}, ("FieldValueRequired", "spec.parts[0].name")),
            ({"parts": [{"name": "a"}, {"name": "a"}]}, ("FieldValueDuplicate", "spec.parts[1]")),
            ({"parts": [{"name": name} for name in "abcd"]}, ("FieldValueTooMany", "spec.parts")),
            ({"port": True}, ("FieldValueTypeInvalid", "spec.port")),
            ({"port": 1.5}, ("FieldValueTypeInvalid", "spec.port")),
        ):
            told = await calls.post(path, _widget(**spec))
            assert told.why == (422, "Invalid"), spec
            assert [one for one in told.causes if one[1] != "<nil>"] == [cause], (spec, told.document)


async def what_is_required_must_be_there(calls):
    async with _widgets(calls) as path:
        document = _widget()
        del document["spec"]["size"]
        assert (await calls.post(path, document)).causes == [("FieldValueRequired", "spec.size")]


async def several_faults_are_told_at_once(calls):
    async with _widgets(calls) as path:
        told = await calls.post(path, _widget(size=0, mode="Slow"))
        assert told.causes == [("FieldValueInvalid", "spec.size"), ("FieldValueNotSupported", "spec.mode")]


async def right_values_are_taken(calls):
    async with _widgets(calls) as path:
        spec = {
            "size": 9,
            "ratio": 0.5,
            "mode": "Safe",
            "code": "abc",
            "port": "http",
            "at": "2026-01-02T03:04:05Z",
            "labels": {"a": "1"},
        }
        made = await calls.made(path, _widget(**spec))
        assert spec.items() <= made["spec"].items()
        assert (await calls.made(path, _widget("b", port=80, size=1)))["spec"]["port"] == 80


async def a_change_of_the_spec_counts_and_of_metadata_does_not(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget())
        told = await calls.merge(f"{path}/a", {"metadata": {"labels": {"a": "b"}}})
        assert told.document["metadata"]["generation"] == 1
        told = await calls.merge(f"{path}/a", {"spec": {"size": 4}})
        assert told.document["metadata"]["generation"] == 2
        told = await calls.merge(f"{path}/a", {"spec": {"size": 4, "unknown": 1}})
        assert told.document["metadata"]["generation"] == 2


async def a_wrong_change_is_refused(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget())
        assert (await calls.merge(f"{path}/a", {"spec": {"size": 0}})).causes == [
            ("FieldValueInvalid", "spec.size")
        ]
        assert (await calls.merge(f"{path}/a", {"spec": {"size": None}})).causes == [
            ("FieldValueRequired", "spec.size")
        ]
        told = await calls.merge(f"{path}/a", {"spec": {"mode": None}})
        assert told.document["spec"]["mode"] == "Fast"


async def a_put_needs_a_version(calls):
    async with _widgets(calls) as path:
        made = await calls.made(path, _widget())
        told = await calls.put(f"{path}/a", _widget(size=5))
        assert told.why == (422, "Invalid")
        assert told.causes == [("FieldValueInvalid", "metadata.resourceVersion")]
        changed = copy.deepcopy(made)
        changed["spec"]["size"] = 5
        assert (await calls.put(f"{path}/a", changed)).document["spec"]["size"] == 5
        assert (await calls.put(f"{path}/a", changed)).why == (409, "Conflict")


async def the_status_is_written_only_through_its_own_path(calls):
    async with _widgets(calls) as path:
        made = await calls.made(path, {**_widget(), "status": {"phase": "Good"}})
        assert "status" not in made
        told = await calls.merge(f"{path}/a", {"status": {"phase": "Good"}})
        assert "status" not in told.document
        told = await calls.merge(
            f"{path}/a/status",
            {"metadata": {"labels": {"a": "b"}}, "spec": {"size": 7}, "status": {"phase": "Good"}},
        )
        assert told.document["status"] == {"phase": "Good", "known": True}
        assert told.document["spec"]["size"] == 3
        assert "labels" not in told.document["metadata"]
        assert told.document["metadata"]["generation"] == 1
        told = await calls.merge(f"{path}/a", {"spec": {"size": 8}, "status": None})
        assert told.document["status"] == {"phase": "Good", "known": True}


async def a_wrong_status_is_refused(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget())
        told = await calls.merge(f"{path}/a/status", {"status": {"phase": "Odd"}})
        assert told.causes == [("FieldValueNotSupported", "status.phase")]


async def the_scale_is_made_from_paths(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget(replicas=2))
        await calls.merge(f"{path}/a/status", {"status": {"replicas": 1, "selector": "app=a"}})
        told = await calls.get(f"{path}/a/scale")
        assert told.document["spec"] == {"replicas": 2}
        assert told.document["status"] == {"replicas": 1, "selector": "app=a"}
        told = await calls.merge(f"{path}/a/scale", {"spec": {"replicas": 5}})
        assert told.document["spec"] == {"replicas": 5}
        found = await calls.read(f"{path}/a")
        assert found["spec"]["replicas"] == 5
        assert found["metadata"]["generation"] == 2


async def a_scale_can_be_put_and_be_too_old(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget(replicas=2))
        scale = (await calls.get(f"{path}/a/scale")).document
        scale["spec"]["replicas"] = 3
        told = await calls.put(f"{path}/a/scale", scale)
        assert told.document["spec"] == {"replicas": 3}
        assert (await calls.put(f"{path}/a/scale", scale)).why == (409, "Conflict")
        version = told.document["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": 0}}
        told = await calls.merge(f"{path}/a/scale", patch)
        assert told.document["spec"] == {}


async def a_custom_scale_is_not_negative(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget())
        told = await calls.merge(f"{path}/a/scale", {"spec": {"replicas": -1}})
        assert told.why == (422, "Invalid")


async def items_of_a_list_say_what_they_are(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget())
        listed = await calls.read(path)
        assert listed["kind"] == "WidgetList"
        assert [(item["kind"], item["apiVersion"]) for item in listed["items"]] == [
            ("Widget", "conform.test/v1")
        ]


async def declared_fields_select(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget("a"))
        await calls.made(path, _widget("b", mode="Safe"))
        assert await calls.names(path, fieldSelector="spec.mode=Safe") == ["b"]


async def a_deleted_one_answers_with_a_status(calls):
    async with _widgets(calls) as path:
        await calls.made(path, _widget())
        told = await calls.delete(f"{path}/a")
        assert told.document["kind"] == "Status"
        assert told.document["details"]["kind"] == "widgets"


async def a_held_one_counts_its_deletion(calls):
    async with _widgets(calls) as path:
        document = _widget()
        document["metadata"]["finalizers"] = ["t.test/held"]
        await calls.made(path, document)
        told = await calls.delete(f"{path}/a")
        assert told.document["metadata"]["generation"] == 2
        told = await calls.merge(f"{path}/a", {"metadata": {"finalizers": []}})
        assert told.status == 200
        assert (await calls.get(f"{path}/a")).status == 404


async def changes_are_watched(calls):
    async with _widgets(calls) as path:
        version = (await calls.read(path))["metadata"]["resourceVersion"]
        async with calls.watch(path, resourceVersion=version) as events:
            await calls.made(path, _widget())
            await calls.merge(f"{path}/a/status", {"status": {"phase": "Bad"}})
            await calls.delete(f"{path}/a")
            assert await events.brief(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def the_wrong_kind_is_refused(calls):
    async with _widgets(calls) as path:
        assert (await calls.post(path, {**_widget(), "kind": "Gadget"})).causes == [
            ("FieldValueInvalid", "kind")
        ]
        wrong = {**_widget(), "apiVersion": "conform.test/v2"}
        assert (await calls.post(path, wrong)).why == (400, "BadRequest")


async def discovery_tells_of_it(calls):
    async with _widgets(calls):
        told = await calls.call("GET", "/apis/conform.test/v1", keep=False)
        found = {resource["name"]: resource for resource in told.document["resources"]}
        assert {"widgets", "widgets/status", "widgets/scale"} <= set(found)
        assert found["widgets"]["kind"] == "Widget"
        assert found["widgets"]["namespaced"]
        assert set(found["widgets"]["verbs"]) >= {"get", "list", "watch", "create", "patch", "delete"}


async def a_definition_that_goes_takes_its_objects_with_it(calls):
    definition = _definition("gadgets")
    definition["spec"]["scope"] = "Cluster"
    told = await calls.call("POST", DEFINITIONS, definition, keep=False)
    if told.status == 409:  # the one of another run is not gone yet
        await calls.gone(f"{DEFINITIONS}/gadgets.conform.test")
        await calls.call("POST", DEFINITIONS, definition, keep=False)
    path = "/apis/conform.test/v1/gadgets"
    await calls.until(path, lambda told: told.status == 200, "it is served")
    document = {
        "apiVersion": "conform.test/v1",
        "kind": "Gadget",
        "metadata": {"name": "a"},
        "spec": {"size": 1},
    }
    made = await calls.made(path, document)
    assert "namespace" not in made["metadata"]
    await calls.call("DELETE", f"{DEFINITIONS}/gadgets.conform.test", keep=False)
    await calls.gone(f"{DEFINITIONS}/gadgets.conform.test")
    await calls.gone(path)

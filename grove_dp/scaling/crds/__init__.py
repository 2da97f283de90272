"""The CustomResourceDefinition of TokenAutoscaler, made of the Structs in `kinds`.

    Struct ──msgspec.json.schema──► JSON schema ──► structural schema: references in place, no null, no title

The file beside this module is that definition; `python -m grove_dp.scaling.crds` writes it. Status is written
by nobody else, so its schema is a table here.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec

from grove_dp.scaling.kinds import AUTOSCALERS
from grove_dp.scaling.spec import Spec

__all__ = ["FILE", "definition", "definitions", "written"]

Schema = dict[str, Any]

FILE: Final = "grove-dp.io_tokenautoscalers.yaml"
_KEPT: Final = (
    "type",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "required",
)


def definitions() -> list[dict[str, Any]]:
    """All definitions, ready to be applied."""
    return [definition()]


def written(document: Mapping[str, Any]) -> str:
    """A definition as YAML: the same bytes each time."""
    import yaml  # 15 ms that an autoscaler need not spend

    return str(yaml.safe_dump(dict(document), sort_keys=False, width=110, allow_unicode=True))


def committed() -> str:
    """The file beside this module."""
    return files(__package__).joinpath(FILE).read_text()


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    kind = AUTOSCALERS
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [
            _column("Set", ".spec.podCliqueSet", "string"),
            _column("Mode", ".spec.mode", "string"),
            _column("Active", '.status.conditions[?(@.type=="ScalingActive")].status', "string"),
            _column("Decision", ".status.lastDecision.reason", "string"),
            _column("Said", ".status.lastDecision.message", "string") | {"priority": 1},
            _column("Age", ".metadata.creationTimestamp", "date"),
        ],
        "schema": {"openAPIV3Schema": _whole()},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": ["tka"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _column(name: str, path: str, type_: str) -> Schema:
    return {"name": name, "type": type_, "jsonPath": path}


def _whole() -> Schema:
    return _record(
        "Scales a PodCliqueSet by the tokens that its frontends measure.",
        ["spec"],
        apiVersion=_text(f"{AUTOSCALERS.api_version}."),
        kind=_text(f"{AUTOSCALERS.kind}."),
        metadata={"type": "object"},
        spec=_spec(),
        status=_status(),
    )


# ------------------------------------------------------------ spec


def _spec() -> Schema:
    (root,), parts = msgspec.json.schema_components([Spec], ref_template="{name}")
    spec = _structural(parts[root["$ref"]], parts) | {"description": "What is wanted."}
    components = spec["properties"]["components"]
    components |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    rules = [
        ("!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas", "min"),
        ("self.scaleToZero || !has(self.minReplicas) || self.minReplicas > 0", "zero"),
    ]
    says = {
        "min": "minReplicas must not be greater than maxReplicas",
        "zero": "minReplicas 0 needs scaleToZero",
    }
    components["items"]["x-kubernetes-validations"] = [
        {"rule": rule, "message": says[name]} for rule, name in rules
    ]
    spec["properties"]["setReplicas"]["x-kubernetes-validations"] = [
        {"rule": "self.min <= self.max", "message": "min must not be greater than max"}
    ]
    return spec


def _structural(source: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> Schema:
    """What an API server takes of a JSON schema."""
    if "anyOf" in source:  # a value or nothing: here, a field that may be absent
        [real] = [one for one in source["anyOf"] if one.get("type") != "null"]
        return _structural({**real, **_about(source)}, parts)
    if "$ref" in source:
        return _structural({**parts[source["$ref"]], **_about(source)}, parts)
    kept: Schema = {key: source[key] for key in _KEPT if key in source} | _about(source)
    if "enum" in source:
        kept["type"] = "string"
    if source.get("type") == "integer":
        kept["format"] = "int32"
    if "exclusiveMinimum" in source:
        kept |= {"minimum": source["exclusiveMinimum"], "exclusiveMinimum": True}
    if "properties" in source:
        kept["properties"] = {name: _structural(of, parts) for name, of in source["properties"].items()}
    if "items" in source:
        kept["items"] = _structural(source["items"], parts)
    if not kept.get("required", True):
        del kept["required"]
    return kept


def _about(source: Mapping[str, Any]) -> Schema:
    told: Schema = {"description": source["description"]} if "description" in source else {}
    default = source.get("default")
    plain = default is not None and default != [] and not isinstance(default, Mapping)
    if plain:
        told["default"] = default
    elif isinstance(default, Mapping):
        told["default"] = {}  # so that the defaults below it come in
    return told


# ------------------------------------------------------------ status


def _status() -> Schema:
    replicas = {
        "replicas": _count("As the objects ask for now."),
        "ready": _count("Of these, ready."),
        "wished": _count("What the load asks for, within bounds."),
        "desired": _count("What we make it, after budget and levels."),
    }
    return _record(
        "What was decided, and why.",
        [],
        observedGeneration={"type": "integer", "format": "int64", "description": "Of the spec decided by."},
        lastDecision=_record(
            "The last decision, whether or not anything had to be done.",
            ["time", "reason"],
            time=_moment("When it was taken first."),
            reason=_text("One word."),
            message=_text("A sentence."),
        ),
        lastScale=_record(
            "The last change that we made.",
            ["time", "kind", "name", "from", "to"],
            time=_moment("When."),
            kind=_text("Of what was scaled."),
            name=_text("Of what was scaled."),
            **{"from": _count("Replicas before.")},
            to=_count("Replicas after."),
            reason=_text("Why."),
        ),
        components=_listed(
            "By component.",
            _record(
                "One component.",
                ["name"],
                name=_text("Its name."),
                **replicas,
                load=_text("Workers that the load would fill."),
                reason=_text("One word."),
                message=_text("A sentence."),
            ),
            "name",
        ),
        draining=_listed("Pods that empty before they go.", _text("A pod's name.")),
        conditions=_listed(
            "PictureComplete, ScalingActive, ScalingLimited, Attained.",
            _record(
                "One thing that holds or does not.",
                ["type", "status", "lastTransitionTime", "reason", "message"],
                type=_text("What it is about."),
                status={"type": "string", "enum": ["True", "False", "Unknown"]},
                observedGeneration={"type": "integer", "format": "int64"},
                lastTransitionTime=_moment("When the status changed last."),
                reason=_text("One word."),
                message=_text("A sentence."),
            ),
            "type",
        ),
    )


def _record(about: str, needs: Sequence[str], /, **fields: Schema) -> Schema:
    required = {"required": list(needs)} if needs else {}
    return {"type": "object", "description": about, "properties": fields, **required}


def _listed(about: str, items: Schema, by: str = "") -> Schema:
    kind = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [by]} if by else {}
    return {"type": "array", "description": about, "items": items, **kind}


def _text(about: str) -> Schema:
    return {"type": "string", "description": about}


def _count(about: str) -> Schema:
    return {"type": "integer", "format": "int32", "description": about}


def _moment(about: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": about}

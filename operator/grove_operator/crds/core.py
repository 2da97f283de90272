"""Schemas of core/v1 and its neighbours as a CRD may hold them, so that a typo in a pod's spec is refused.

    an API server's /openapi/v3 ──cut──► core.json (what is reached from ROOTS) ──Core──► structural schemas

`cut` leaves out what a CRD must not have (references to itself excepted, which `Core` puts in place) and what
it should not have:

    descriptions   900 kB for nothing: `kubectl explain pod.spec` has them
    enums          a pod that the next Kubernetes knows must not be refused by a list of today's words
    defaults       of required fields and of whole objects: they say "zero value", and would let a container
                   without a name pass
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

import msgspec

from grove_operator.crds.schema import Schema

__all__ = ["ROOTS", "SOURCES", "Core", "cut"]

Document = Mapping[str, Any]

SOURCES: Final = ("api/v1", "apis/autoscaling/v2", "apis/resource.k8s.io/v1")
POD_SPEC: Final = "io.k8s.api.core.v1.PodSpec"
METRIC_SPEC: Final = "io.k8s.api.autoscaling.v2.MetricSpec"
CLAIM_TEMPLATE: Final = "io.k8s.api.resource.v1.ResourceClaimTemplateSpec"
ROOTS: Final = (POD_SPEC, METRIC_SPEC, CLAIM_TEMPLATE)

_QUANTITY: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_EITHER: Final[Schema] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}
_TEXT: Final[Schema] = {"type": "string"}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}
LEAVES: Final[Mapping[str, Schema]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {**_EITHER, "pattern": _QUANTITY},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _EITHER,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    },
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {  # of a template: what its maker may say
        "type": "object",
        "properties": {
            "annotations": _TEXTS,
            "finalizers": {"type": "array", "items": _TEXT, "x-kubernetes-list-type": "set"},
            "labels": _TEXTS,
            "name": _TEXT,
            "namespace": _TEXT,
        },
    },
}
_KEPT: Final = (
    "format",
    "required",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
)


# ------------------------------------------------------------ from an API server


def cut(sources: Iterable[Document]) -> dict[str, Schema]:
    """What the roots need of some OpenAPI documents, by name; one refers to another as `$ref: name`."""
    every: dict[str, Schema] = {}
    for source in sources:
        every |= source["components"]["schemas"]
    found: dict[str, Schema] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = LEAVES.get(name) or _plain(every[name])
            waiting.extend(_references(found[name]))
    return dict(sorted(found.items()))


def _plain(source: Document) -> Schema:
    if (name := _reference(source)) is not None:
        return {"$ref": name}
    plain: Schema = {key: source[key] for key in _KEPT if key in source}
    if "properties" in source:
        required = source.get("required", ())
        plain["properties"] = {
            name: _plain(of) | _default(of, name in required) for name, of in source["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in source:
            plain[key] = _plain(source[key])
    return plain


def _reference(source: Document) -> str | None:
    """What it refers to; beside a description or a default the reference stands in an allOf."""
    for part in (source, *source.get("allOf", ())):
        if "$ref" in part:
            return str(part["$ref"]).rsplit("/", 1)[1]
    return None


def _default(source: Document, required: bool) -> Schema:
    default = source.get("default")
    return {} if required or default is None or isinstance(default, dict) else {"default": default}


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(name := schema.get("$ref"), str):
            yield name
        for part in schema.values():
            yield from _references(part)


# ------------------------------------------------------------ into a CRD


class Core:
    """The schemas of pods, metrics and claims, whole; *components* as `cut` made them."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components
        self.pod_spec = self._whole(POD_SPEC)
        self.metric_spec = self._whole(METRIC_SPEC)
        self.claim_template = self._whole(CLAIM_TEMPLATE)

    @classmethod
    def committed(cls) -> "Core":
        """From the file beside this module."""
        written = files(__package__).joinpath("core.json").read_bytes()
        return cls(msgspec.json.decode(written, type=dict[str, Schema]))

    def _whole(self, name: str) -> Schema:
        return {key: self._in_place(part) for key, part in self._components[name].items()}

    def _in_place(self, part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        if isinstance(name := part.get("$ref"), str):
            return self._whole(name) | {key: value for key, value in part.items() if key != "$ref"}
        return {key: self._in_place(value) for key, value in part.items()}

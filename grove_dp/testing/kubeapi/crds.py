"""CustomResourceDefinitions: a definition that is written is served at once, each of its versions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from grove_dp.testing.kubeapi.answers import Cause, Document, invalid_value
from grove_dp.testing.kubeapi.kinds import Kind, Rules, Scale, at
from grove_dp.testing.kubeapi.schema import Schema

__all__ = ["defined"]


class CustomRules(Rules):
    """Of all custom resources."""

    unconditional = False

    def __init__(self, scale: Scale | None) -> None:
        self._scale = scale

    def create_faults(self, document: Document) -> Iterator[Cause]:
        if self._scale is None:
            return
        for path in (self._scale.spec, self._scale.status):
            found = at(document, path)
            if isinstance(found, int) and found < 0:
                yield invalid_value(path, found, "should be a non-negative integer")

    def update_faults(self, new: Document, old: Document) -> Iterator[Cause]:
        yield from self.create_faults(new)


def defined(crd: Document) -> list[Kind]:
    """The kinds that a definition makes, one for each version served."""
    spec = crd["spec"]
    return [_kind(spec, version) for version in spec["versions"] if version.get("served", True)]


def _kind(spec: Document, version: Document) -> Kind:
    names, subresources = spec["names"], version.get("subresources") or {}
    scale = _scale(subresources["scale"]) if "scale" in subresources else None
    selectable = [field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or []]
    return Kind(
        spec["group"],
        version["name"],
        names["plural"],
        names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular", ""),
        short=tuple(names.get("shortNames") or ()),
        status="status" in subresources,
        scale=scale,
        schema=_schema(version),
        rules=CustomRules(scale),
        fields=tuple(selectable),
        custom=True,
    )


def _scale(paths: Document) -> Scale:
    return Scale(paths["specReplicasPath"], paths["statusReplicasPath"], paths.get("labelSelectorPath", ""))


def _schema(version: Document) -> Schema:
    source = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return _compiled(msgspec.json.encode(source))


@lru_cache(64)
def _compiled(encoded: bytes) -> Schema:
    """PERF: one with a pod's spec in it has thousands of nodes, and each test has a server of its own."""
    source: Document = msgspec.json.decode(encoded)
    left_out = ("apiVersion", "kind", "metadata")  # the server's business, not the schema's
    every = source.get("properties") or {}
    properties = {name: of for name, of in every.items() if name not in left_out}
    required = [name for name in source.get("required") or [] if name not in left_out]
    return Schema({**source, "properties": properties, "required": required})

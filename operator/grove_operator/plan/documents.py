"""Wanted objects: a kind and a document built from templates, with the metadata that all of ours have.

Labels and annotations of others stay on our objects, so a patch may only remove a key that we once put there.
Which those are is written down on the object itself where keys come from a user's template: annotation
`grove-dp.io/from-template`, as `labels=a,b annotations=c`, present only when there are any.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.objects import Meta, Resource
from grove_operator import naming
from grove_operator.api import kind_key
from grove_operator.naming import L

__all__ = [
    "FROM_TEMPLATE",
    "Document",
    "Key",
    "Path",
    "Wanted",
    "document",
    "from_template",
    "owner_reference",
]

Document = dict[str, Any]
Key = tuple[str, str]  # kind (as `kind_key` says it) and name, within the set's namespace
Path = tuple[str, ...]  # of a field

FROM_TEMPLATE: Final = "grove-dp.io/from-template"


class Wanted(msgspec.Struct, frozen=True):
    """An object that is to be. What stands *once* is set at birth, and left alone afterwards."""

    resource: Resource
    document: Document
    once: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """Its name."""
        name: str = self.document["metadata"]["name"]
        return name

    @property
    def namespace(self) -> str:
        """Where it is."""
        namespace: str = self.document["metadata"]["namespace"]
        return namespace

    @property
    def key(self) -> Key:
        """What tells it from the others of its set."""
        return (kind_key(self.resource), self.name)

    @property
    def path(self) -> str:
        """Of the object, in the API."""
        return self.resource.path(self.namespace, self.name)

    @property
    def owner(self) -> tuple[str, str]:
        """Kind and name of the object that it is made for."""
        reference = self.document["metadata"]["ownerReferences"][0]
        return reference["kind"], reference["name"]


def owner_reference(resource: Resource, meta: Meta) -> Document:
    """Of an object that goes when *meta*'s goes."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def document(
    resource: Resource,
    name: str,
    owner: tuple[Resource, Meta],
    component: str,
    *,
    set_name: str,
    labels: Mapping[str, str] | None = None,
    template: tuple[Mapping[str, str] | None, Mapping[str, str] | None] = (None, None),
    annotations: Mapping[str, str] | None = None,
    finalizer: str | None = None,
    once: tuple[Path, ...] = (),
    **body: Any,
) -> Wanted:
    """An object of set *set_name*. *template*: the user's labels and annotations; ours win."""
    own = naming.managed(set_name) | {L.COMPONENT: component} | dict(labels or {})
    users = ({key: value for key, value in (template[0] or {}).items() if key not in own}, template[1] or {})
    notes = dict(users[1]) | dict(annotations or {}) | _origin(*users)
    metadata: Document = {"name": name, "namespace": owner[1].namespace, "labels": users[0] | own}
    if notes:
        metadata["annotations"] = notes
    metadata["ownerReferences"] = [owner_reference(*owner)]
    if finalizer:
        metadata["finalizers"] = [finalizer]
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    return Wanted(resource, head | body, once)


def _origin(labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, str]:
    named = {"labels": ",".join(sorted(labels)), "annotations": ",".join(sorted(annotations))}
    text = " ".join(f"{what}={keys}" for what, keys in named.items() if keys)
    return {FROM_TEMPLATE: text} if text else {}


def from_template(annotations: Mapping[str, str] | None) -> Mapping[str, frozenset[str]]:
    """Keys of `labels` and of `annotations` that came from a user's template, as an object says of itself."""
    words = (annotations or {}).get(FROM_TEMPLATE, "").split()
    named = {what: keys for what, _, keys in (word.partition("=") for word in words)}
    return {
        what: frozenset(filter(None, named.get(what, "").split(","))) for what in ("labels", "annotations")
    }

"""A kind: where it is served, how it is written, and in what it differs from others (`Rules`).

Two versions of a group, or two groups, may serve the same objects: `resource` says which table they are in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from grove_dp.testing.kubeapi.answers import Cause, Document
from grove_dp.testing.kubeapi.metadata import NameRule, is_subdomain
from grove_dp.testing.kubeapi.schema import Schema
from grove_dp.testing.kubeapi.store import Stored

__all__ = ["Kind", "Rules", "Scale", "at"]

Field = Callable[[Document], Any]


def at(document: Any, path: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    for name in path.lstrip(".").split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def field(path: str) -> Field:
    """For field selectors."""
    return lambda document: at(document, path)


COMMON_FIELDS: Final[Mapping[str, Field]] = {
    "metadata.name": field("metadata.name"),
    "metadata.namespace": field("metadata.namespace"),
}


class Scale(msgspec.Struct, frozen=True):
    """Where the fields of a Scale are in the object."""

    spec: str = ".spec.replicas"
    status: str = ".status.replicas"
    selector: str = ""  # a path to its text; "" without
    of_labels: bool = False  # the selector is a LabelSelector, to be put into words


class Rules:
    """What most kinds do. Documents are not to be changed in place: a hook returns the one to be stored."""

    counted = True  # metadata.generation
    unconditional = True  # a PUT needs no resourceVersion
    returned = False  # DELETE answers with the object instead of a Status

    def created(self, document: Document) -> Document:
        """Defaults, and what the server itself writes."""
        return document

    def updated(self, new: Document, old: Document) -> Document:
        """Defaults again: a PUT may lack them."""
        return new

    def create_faults(self, document: Document) -> Iterator[Cause]:
        """What is wrong with a new object."""
        yield from ()

    def update_faults(self, new: Document, old: Document) -> Iterator[Cause]:
        """What may not change."""
        yield from ()

    def status_updated(self, new: Document, old: Document) -> Document:
        """After a write to /status."""
        return new

    def grace_s(self, document: Document, asked_s: int | None) -> int | None:
        """Seconds until a deleted object should be gone by itself; None: the kind knows no such thing."""
        return None

    def ending(self, document: Document, now: str) -> Document | None:
        """A deleted object that others must empty first; None: it ends as any other."""
        return None


class Kind:
    """One kind in one version of its group."""

    def __init__(
        self,
        group: str,
        version: str,
        plural: str,
        kind: str,
        *,
        namespaced: bool = True,
        singular: str = "",
        short: tuple[str, ...] = (),
        status: bool = False,
        scale: Scale | None = None,
        schema: Schema | None = None,
        rules: Rules | None = None,
        names: NameRule = is_subdomain,
        fields: tuple[str, ...] = (),
        resource: tuple[str, str] | None = None,
        renames: Mapping[str, str] | None = None,
        custom: bool = False,
    ) -> None:
        self.group = group
        self.version = version
        self.plural = plural
        self.kind = kind
        self.namespaced = namespaced
        self.singular = singular or kind.lower()
        self.short = short
        self.status = status
        self.scale = scale
        self.schema = schema
        self.rules = rules or Rules()
        self.names = names
        self.fields = {**COMMON_FIELDS, **{path: field(path) for path in fields}}
        self.resource = resource or (group, plural)
        self.custom = custom
        self.api_version = f"{group}/{version}" if group else version
        self.list_kind = f"{kind}List"
        self.head = _head(kind, self.api_version)
        self._renames = renames or {}
        self._back = {shown: kept for kept, shown in self._renames.items()}

    @property
    def path(self) -> str:
        """Of its group and version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    def encode(self, stored: Stored) -> bytes:
        """The object as this version shows it."""
        body = _encode(self._shown(stored.document)) if self._renames else stored.body
        return self.head + body[1:]

    def encode_item(self, stored: Stored) -> bytes:
        """As an item of a list: there built-in kinds do not repeat what they are."""
        if self.custom:
            return self.encode(stored)
        return _encode(self._shown(stored.document)) if self._renames else stored.body

    def document(self, stored: Stored) -> Document:
        """The whole object."""
        return {"apiVersion": self.api_version, "kind": self.kind, **self._shown(stored.document)}

    def kept(self, document: Document) -> Document:
        """A document of this version as it is stored."""
        return {
            self._back.get(name, name): value
            for name, value in document.items()
            if name not in ("apiVersion", "kind")
        }

    def _shown(self, document: Document) -> Document:
        if not self._renames:
            return document
        return {self._renames.get(name, name): value for name, value in document.items()}


_encode = msgspec.json.Encoder().encode


def _head(kind: str, api_version: str) -> bytes:
    return b'{"kind":%s,"apiVersion":%s,' % (_encode(kind), _encode(api_version))

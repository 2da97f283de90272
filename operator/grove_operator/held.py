"""Objects as they are held: whole, because plans compare whole documents, and read as what they are.

    watch ──► Held(metadata, spec, status, …) ──┬─ .document      for `plan.diff`
                                               └─ .read(PodClique)   for everything else

Both are made once for each version of an object.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar, cast

import msgspec

from grove_dp.kube.objects import Meta

__all__ = ["Held", "same_but_status"]

T = TypeVar("T")
Document = dict[str, Any]


class Held(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, dict=True):
    """Any kind that the operator makes, or is told to make things of."""

    metadata: Meta = Meta()
    spec: Document = {}
    status: Document = {}
    rules: list[Document] | None = None
    role_ref: Document | None = None
    subjects: list[Document] | None = None
    kind_of: str | None = msgspec.field(default=None, name="type")
    automount_service_account_token: bool | None = None

    @cached_property
    def document(self) -> Document:
        """As the API server sent it, less fields that nobody here compares."""
        document: Document = msgspec.to_builtins(self)
        document["metadata"] = msgspec.to_builtins(self.metadata)
        return document

    @cached_property
    def _read(self) -> dict[type[Any], Any]:
        return {}

    def read(self, kind: type[T]) -> T:
        """The same as a Struct of its kind; fields that do not fit raise msgspec.ValidationError."""
        if kind not in self._read:
            fields: Mapping[str, Any] = {"spec": self.spec, "status": self.status}
            named = {name: value for name, value in fields.items() if value}
            made: Any = msgspec.convert(named, kind)
            self._read[kind] = msgspec.structs.replace(made, metadata=self.metadata)
        return cast(T, self._read[kind])


def same_but_status(old: Held, new: Held) -> bool:
    """Whether nothing has changed that a plan looks at."""
    before, after = old.metadata, new.metadata
    return (
        old.spec == new.spec
        and before.labels == after.labels
        and before.annotations == after.annotations
        and before.finalizers == after.finalizers
        and before.owner_references == after.owner_references
        and before.deletion_timestamp == after.deletion_timestamp
        and before.uid == after.uid
        and (old.rules, old.subjects) == (new.rules, new.subjects)
    )

"""How objects are made, changed and ended: the same for every kind, but for its `Rules`.

    create   name, uid, time ─► defaults ─► faults ─► stored
    update   (a PUT, a patch, a sub-resource: each a function of what is there)
             precondition ─► version ─► what the caller may not touch ─► defaults ─► generation ─► faults
             ─► the same as before? nothing is written
             ─► the last finalizer of a deleted object gone? it goes
    delete   as `deletion` says

A refusal leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final
from uuid import UUID

from grove_dp.clock import Clock
from grove_dp.testing.kubeapi import answers
from grove_dp.testing.kubeapi.answers import Cause, Document
from grove_dp.testing.kubeapi.deletion import DeleteOptions, ending_of, is_ripe
from grove_dp.testing.kubeapi.kinds import Kind
from grove_dp.testing.kubeapi.metadata import (
    generated_name,
    metadata_faults,
    tidy,
    timestamp,
    type_fault,
    unknown_metadata,
    update_faults,
)
from grove_dp.testing.kubeapi.store import Key, Store, Stored

__all__ = ["Registry"]

MODIFIED: Final = (
    "the object has been modified; please apply your changes to the latest version and try again"
)
SYSTEM: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
KEPT: Final = (*SYSTEM, "generation")
NAMESPACE: Final = ("", "namespaces")


class Registry:
    """Writes for all kinds."""

    def __init__(self, store: Store, clock: Clock, rng: Random) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng

    def timestamp(self) -> str:
        """The wall clock's time as documents have it."""
        return timestamp(self._clock.wall())

    def get(self, kind: Kind, key: Key) -> Stored:
        """404 if there is none."""
        found = self._store.table(kind.resource).get(key)
        if found is None:
            raise answers.not_found(kind.group, kind.plural, key[1])
        return found

    # ------------------------------------------------------------ create

    def create(self, kind: Kind, namespace: str, document: Document, strict: bool = False) -> Stored:
        """POST to a collection."""
        new = kind.kept(document if kind.custom else without_nulls(document))
        self._check_types(kind, new, patched=False)
        metadata = dict(new.get("metadata") or {})
        self._check_namespace_of(kind, metadata, namespace)
        if kind.namespaced:
            metadata["namespace"] = namespace
        generated = not metadata.get("name") and bool(metadata.get("generateName"))
        if generated:
            metadata["name"] = generated_name(metadata["generateName"], self._rng)
        for name in (*SYSTEM, "resourceVersion", "managedFields"):
            metadata.pop(name, None)
        metadata["uid"] = str(UUID(int=self._rng.getrandbits(128), version=4))
        metadata["creationTimestamp"] = self.timestamp()
        if kind.rules.counted:
            metadata["generation"] = 1
        if kind.custom and kind.status:
            new.pop("status", None)
        new = self._completed(kind, {**new, "metadata": metadata}, strict)
        if metadata.get("name"):
            new = kind.rules.created(new)
        self._check_new(kind, new)
        if kind.namespaced:
            self._check_namespace(kind, namespace, new["metadata"]["name"])
        key = (namespace if kind.namespaced else "", new["metadata"]["name"])
        if self._store.table(kind.resource).get(key) is not None:
            raise answers.already_exists(kind.group, kind.plural, key[1], generated)
        return self._store.put(kind.resource, tidy(new), None)

    def _check_types(self, kind: Kind, document: Document, *, patched: bool) -> None:
        if why := type_fault(document.get("metadata") or {}):
            raise _undecodable(kind, document, why, patched)

    def _check_namespace_of(self, kind: Kind, metadata: Document, namespace: str) -> None:
        said = metadata.get("namespace")
        if kind.namespaced and said and said != namespace:
            words = "the namespace of the provided object does not match the namespace sent on the request"
            raise answers.bad_request(words)
        if not kind.namespaced:
            metadata.pop("namespace", None)

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        found = self._store.table(NAMESPACE).get(("", namespace))
        if found is None:
            raise answers.not_found("", "namespaces", namespace)
        if "deletionTimestamp" in found.metadata:
            words = f"namespace {namespace} is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": words, "field": "metadata.namespace"}
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise answers.forbidden(kind.group, kind.plural, name, why, [cause])

    def _check_new(self, kind: Kind, new: Document) -> None:
        faults = list(metadata_faults(new["metadata"], kind.names, kind.namespaced))
        faults += kind.rules.create_faults(new)
        self._refuse(kind, new, faults)

    def _completed(
        self, kind: Kind, document: Document, strict: bool, old: Document | None = None, patched: bool = False
    ) -> Document:
        """Without fields that nobody knows, and with the defaults of the schema."""
        unknown = [f"metadata.{name}" for name in unknown_metadata(document["metadata"])]
        if unknown:
            known = {n: v for n, v in document["metadata"].items() if f"metadata.{n}" not in unknown}
            document = {**document, "metadata": known}
        if kind.schema is not None:
            metadata = document["metadata"]
            rest = {name: value for name, value in document.items() if name != "metadata"}
            document = {"metadata": metadata, **kind.schema.complete(rest, "", unknown, old)}
        if unknown and strict:
            told = ", ".join(f'unknown field "{path}"' for path in sorted(unknown))
            raise _undecodable(kind, document, f"strict decoding error: {told}", patched)
        return document

    def _refuse(
        self, kind: Kind, document: Document, faults: list[Cause], old: Document | None = None
    ) -> None:
        if kind.schema is not None:
            rest = {name: value for name, value in document.items() if name != "metadata"}
            faults += kind.schema.faults(rest, "", old)
        if faults:
            name = document["metadata"].get("name", "")
            raise answers.invalid(kind.group, kind.kind, name, faults)

    # ------------------------------------------------------------ update

    def update(
        self,
        kind: Kind,
        key: Key,
        change: Callable[[Document], Document],
        *,
        sub: str = "",
        put: bool = False,
        strict: bool = False,
    ) -> Stored:
        """What *change* makes of the object; *sub* is "status" or "". *put*: it is a whole document."""
        old = self.get(kind, key)
        new = change(kind.document(old))
        if put and not kind.custom:
            new = without_nulls(new)
        self._check_types(kind, new, patched=not put)
        metadata = dict(new.get("metadata") or {})
        self._check_same(kind, old, new, metadata, put)
        self._check_version(kind, old, metadata, put)
        metadata = {**metadata, **{name: old.metadata[name] for name in KEPT if name in old.metadata}}
        for name in set(KEPT) - set(old.metadata) | {"managedFields"}:
            metadata.pop(name, None)
        if kind.namespaced:
            metadata.setdefault("namespace", key[0])
        new = {**kind.kept(new), "metadata": metadata}
        new = self._merged(kind, new, old.document, sub)
        new = self._completed(kind, new, strict, old.document, patched=not put)
        new = self._by_rules(kind, new, old.document, sub)
        return self._store_changed(kind, old, new)

    def _check_same(self, kind: Kind, old: Stored, new: Document, metadata: Document, put: bool) -> None:
        """It must be the object that the path names."""
        said = new.get("apiVersion", kind.api_version), new.get("kind", kind.kind)
        if said[0] != kind.api_version:
            words = (
                f"the API version in the data ({said[0]}) does not match the expected API version "
                f"({kind.api_version})"
            )
            raise answers.bad_request(words)
        name, path_name = metadata.setdefault("name", old.key[1]), old.key[1]
        if name != path_name:
            words = f"the name of the object ({name}) does not match the name on the URL ({path_name})"
            raise answers.bad_request(words)
        namespace = metadata.get("namespace") or old.key[0]
        if kind.namespaced and namespace != old.key[0]:
            words = (
                f"the namespace of the object ({namespace}) does not match the namespace on the request "
                f"({old.key[0]})"
            )
            raise answers.bad_request(words)
        uid = metadata.get("uid") or old.uid
        if uid != old.uid:
            if put:
                raise answers.other_uid(kind.group, kind.plural, old.key, uid, old.uid)
            cause = answers.invalid_value("metadata.uid", uid, "field is immutable")
            raise answers.invalid(kind.group, kind.kind, old.key[1], [cause])

    def _check_version(self, kind: Kind, old: Stored, metadata: Document, put: bool) -> None:
        version = metadata.get("resourceVersion")
        if version is None or version == "":
            if put and not kind.rules.unconditional:
                words = "must be specified for an update"
                cause = answers.invalid_value("metadata.resourceVersion", 0, words)
                raise answers.invalid(kind.group, kind.plural, old.key[1], [cause])
        elif version != old.metadata["resourceVersion"]:
            raise answers.conflict(kind.group, kind.plural, old.key[1], MODIFIED)

    def _merged(self, kind: Kind, new: Document, old: Document, sub: str) -> Document:
        """The part that this way of writing may change, over the rest as it was."""
        if sub == "status":
            kept = {name: value for name, value in old.items() if name != "status"}
            if "status" in new:
                kept["status"] = new["status"]
            return {**kept, "metadata": new["metadata"]} if not kind.custom else kept
        if kind.status:
            new = {name: value for name, value in new.items() if name != "status"}
            if "status" in old:
                new["status"] = old["status"]
        return new

    def _by_rules(self, kind: Kind, new: Document, old: Document, sub: str) -> Document:
        faults: list[Cause] = list(update_faults(new["metadata"], old["metadata"]))
        if sub == "status":
            new = kind.rules.status_updated(new, old)
        else:
            new = kind.rules.updated(new, old)
            if kind.rules.counted and _content(new, kind.status) != _content(old, kind.status):
                generation = old["metadata"].get("generation", 0) + 1
                new = {**new, "metadata": {**new["metadata"], "generation": generation}}
            faults += kind.rules.update_faults(new, old)
        self._refuse(kind, new, faults, old)
        return new

    def _store_changed(self, kind: Kind, old: Stored, new: Document) -> Stored:
        metadata = new["metadata"]
        if "deletionTimestamp" in metadata and is_ripe(metadata):
            self._store.remove(kind.resource, old)
            return Stored(tidy(new), old.version)
        metadata = {**metadata, "resourceVersion": old.metadata["resourceVersion"]}
        if tidy({**new, "metadata": metadata}) == old.document:
            return old
        return self._store.put(kind.resource, tidy(new), old)

    def overwrite(self, kind: Kind, old: Stored, document: Document) -> Stored:
        """Write what no caller may: a pod's node, a condition of the server's own."""
        return self._store.put(kind.resource, tidy(document), old)

    # ------------------------------------------------------------ delete

    def delete(self, kind: Kind, key: Key, options: DeleteOptions) -> tuple[Stored, bool]:
        """The object as it then is, or last was, and whether it is gone."""
        old = self.get(kind, key)
        ending = ending_of(kind, old, options, self._clock.wall())
        if ending.document is not None:
            old = self._store.put(kind.resource, ending.document, old)
        return (self._store.remove(kind.resource, old), True) if ending.gone else (old, False)


def _undecodable(kind: Kind, document: Document, why: str, patched: bool) -> answers.Refusal:
    if not patched:
        what = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        return answers.bad_request(f"{what}: {why}")
    whole = {"apiVersion": kind.api_version, "kind": kind.kind, **document}
    return answers.invalid("", "", "", [answers.invalid_value("patch", answers.shown(whole), why)])


def without_nulls(value: Any) -> Any:
    """To a kind whose fields have types, null is as good as nothing."""
    if type(value) is dict:
        return {
            name: without_nulls(of) if type(of) in (dict, list) else of
            for name, of in value.items()
            if of is not None
        }
    return [without_nulls(item) for item in value] if type(value) is list else value


def _content(document: Document, has_status: bool) -> Document:
    left_out = ("metadata", "status") if has_status else ("metadata",)
    return {name: value for name, value in document.items() if name not in left_out}

"""`metadata`: what the server writes into it, and what it refuses there.

Names, labels and owners have rules of their own, and a controller that makes names meets them first: a name
that is one character too long must fail here as it will in a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from random import Random
from typing import Any, Final

import msgspec

from grove_dp.testing.kubeapi.answers import Cause, Document, forbidden_value, invalid_value, required

__all__ = [
    "FINALIZER_FOREGROUND",
    "FINALIZER_ORPHAN",
    "METADATA",
    "NameRule",
    "generated_name",
    "is_label",
    "is_service",
    "is_subdomain",
    "metadata_faults",
    "path_segment",
    "tidy",
    "timestamp",
    "type_fault",
    "unknown_metadata",
    "update_faults",
]

NameRule = Callable[[str], Iterable[str]]
FINALIZER_FOREGROUND: Final = "foregroundDeletion"
FINALIZER_ORPHAN: Final = "orphan"
METADATA: Final = frozenset(
    "annotations creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName "
    "generation labels "
    "managedFields name namespace ownerReferences resourceVersion selfLink uid".split()
)
EMPTIED: Final = ("labels", "annotations", "finalizers", "ownerReferences")
OWNER: Final = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
ANNOTATIONS_BYTES: Final = 256 * 1024
NAME_CHARACTERS: Final = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words
GENERATED: Final = 5
CACHED: Final = 10_000  # PERF: the same few keys and values come with every object
LONGEST_BASE: Final = 63 - GENERATED

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SERVICE = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_is_label, _is_subdomain, _is_service, _is_qualified, _is_value = (
    re.compile(pattern).fullmatch for pattern in (_LABEL, _SUBDOMAIN, _SERVICE, _QUALIFIED, _VALUE)
)


def generated_name(base: str, rng: Random) -> str:
    """*base* and five characters that are no word."""
    return base[:LONGEST_BASE] + "".join(rng.choices(NAME_CHARACTERS, k=GENERATED))


class _Owner(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class _Typed(msgspec.Struct, rename="camel"):
    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[_Owner] | None = None


def type_fault(metadata: object) -> str:
    """What is of the wrong type, such as a label that is a number; empty if nothing is."""
    try:
        msgspec.convert(metadata, _Typed)
    except msgspec.ValidationError as error:
        return f"json: cannot unmarshal metadata: {error}"
    return ""


# ------------------------------------------------------------ names


def is_subdomain(name: str) -> Iterator[str]:
    """Names of most kinds."""
    yield from _too_long(name, 253, "characters")
    if not _is_subdomain(name):
        yield (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
            "'.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation "
            f"is '{_SUBDOMAIN}')"
        )


def is_label(name: str) -> Iterator[str]:
    """Names of namespaces."""
    yield from _too_long(name, 63, "characters")
    if "." in name:
        yield "must not contain dots"
    elif not _is_label(name):
        yield (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
            "must start and end "
            "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            f"'{_LABEL}')"
        )


def is_service(name: str) -> Iterator[str]:
    """Names of Services: they become names of hosts."""
    yield from _too_long(name, 63, "characters")
    if "." in name:
        yield "must not contain dots"
    elif not _is_service(name):
        yield (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
            "alphabetic character, "
            "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
            "validation is "
            f"'{_SERVICE}')"
        )


def path_segment(name: str) -> Iterator[str]:
    """Names that only have to fit into a path: roles and their bindings."""
    if name in (".", ".."):
        yield f"may not be '{name}'"
    yield from (f"may not contain '{character}'" for character in "/%" if character in name)


def _too_long(text: str, limit: int, unit: str = "bytes") -> Iterator[str]:
    if len(text) > limit:
        yield f"must be no more than {limit} {unit}"


# ------------------------------------------------------------ what is refused


def metadata_faults(metadata: Document, rule: NameRule, namespaced: bool) -> Iterator[Cause]:
    """Of a new object."""
    name = metadata.get("name")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from (invalid_value("metadata.name", name, why) for why in rule(name))
    if namespaced and not metadata.get("namespace"):
        yield required("metadata.namespace")
    yield from _own_faults(metadata)


def update_faults(new: Document, old: Document) -> Iterator[Cause]:
    """Of a changed one. What the server itself keeps (times, generation) is not looked at."""
    if "deletionTimestamp" in old:
        added = [name for name in new.get("finalizers") or [] if name not in (old.get("finalizers") or [])]
        if added:
            words = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"{_go(added)}"
            )
            yield forbidden_value("metadata.finalizers", words)
    yield from _own_faults(new)


def _own_faults(metadata: Document) -> Iterator[Cause]:
    if labels := metadata.get("labels"):
        yield from _label_faults(labels)
    if annotations := metadata.get("annotations"):
        yield from _annotation_faults(annotations)
    if owners := metadata.get("ownerReferences"):
        yield from _owner_faults(owners)
    if finalizers := metadata.get("finalizers"):
        for name in finalizers:
            yield from (invalid_value("metadata.finalizers", name, why) for why in _key_faults(name))
        if FINALIZER_FOREGROUND in finalizers and FINALIZER_ORPHAN in finalizers:
            words = f"finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set"
            yield invalid_value("metadata.finalizers", finalizers, words)


def _label_faults(labels: Mapping[str, str]) -> Iterator[Cause]:
    for key, value in labels.items():
        yield from (invalid_value("metadata.labels", key, why) for why in _key_faults(key))
        yield from (invalid_value("metadata.labels", value, why) for why in _value_faults(value))


@lru_cache(CACHED)
def _value_faults(value: str) -> tuple[str, ...]:
    return tuple(_about_value(value))


def _about_value(value: str) -> Iterator[str]:
    yield from _too_long(value, 63)
    if not _is_value(value):
        yield (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start "
            "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex "
            "used for validation "
            "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )


@lru_cache(CACHED)
def _key_faults(key: str) -> tuple[str, ...]:
    return tuple(_about_key(key))


def _about_key(key: str) -> Iterator[str]:
    prefix, slash, name = key.rpartition("/")
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif slash:
        yield from (f"prefix part {why}" for why in is_subdomain(prefix))
    if not name:
        yield "name part must be non-empty"
    yield from (f"name part {why}" for why in _too_long(name, 63))
    if not _is_qualified(name):
        yield (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
            "with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
            "validation is "
            f"'{_QUALIFIED}')"
        )


def _annotation_faults(annotations: Mapping[str, str]) -> Iterator[Cause]:
    for key in annotations:
        yield from (invalid_value("metadata.annotations", key, why) for why in _key_faults(key.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_BYTES:
        words = f"Too long: may not be more than {ANNOTATIONS_BYTES} bytes"
        yield Cause("FieldValueTooLong", "metadata.annotations", words)


def _owner_faults(owners: list[Document]) -> Iterator[Cause]:
    path, controller = "metadata.ownerReferences", ""
    for owner in owners:
        if not owner.get("apiVersion"):
            yield invalid_value(f"{path}.apiVersion", "", "version must not be empty")
        for name in ("kind", "name", "uid"):
            if not owner.get(name):
                yield invalid_value(f"{path}.{name}", "", "must not be empty")
        if owner.get("controller"):
            this = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                words = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {this}"
                )
                yield invalid_value(path, [_in_order(owner) for owner in owners], words)
            controller = this


def _in_order(owner: Document) -> Document:
    return {name: owner[name] for name in OWNER if name in owner}


def _go(values: list[str]) -> str:
    quoted = ", ".join(f'"{value}"' for value in values)
    return f"[]string{{{quoted}}}"


def unknown_metadata(metadata: Mapping[str, Any]) -> list[str]:
    """Fields that no object has."""
    return [name for name in metadata if name not in METADATA]


# ------------------------------------------------------------ what the server writes


@lru_cache(1_000)
def _written(wall_s: int) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp(wall_s: float) -> str:
    """A time as documents have it, in whole seconds."""
    return _written(int(wall_s))


def tidy(document: Document) -> Document:
    """Empty maps and lists in metadata are as good as absent, and are not shown."""
    metadata: Document = document["metadata"]
    empty = [name for name in EMPTIED if name in metadata and not metadata[name]]
    if not empty:
        return document
    return {**document, "metadata": {name: value for name, value in metadata.items() if name not in empty}}

"""Something that happened to an object, and the Event (events.k8s.io/v1) that tells of it.

What the API server insists on: a MicroTime, who reports, what about, all words set, words of no more than
128 bytes and a note of no more than 1,024, the Event in the namespace of its object, and of objects without
one in `default`. All but `series` can never be changed afterwards.
"""

import re
from collections.abc import Mapping
from random import Random
from typing import Any, Final, Literal, Self

import msgspec

from grove_dp.kube.objects import Meta, Resource
from grove_dp.kube.stamps import micro_time

__all__ = [
    "EVENTS",
    "Kind",
    "Occurrence",
    "Reference",
    "cut",
    "event_name",
    "occurrence",
    "reporting",
    "series",
]

EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
CLUSTER_SCOPED: Final = "default"
NOTE_BYTES: Final = 1024
WORD_BYTES: Final = 128
NAME_MAX: Final = 253
NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NOT_A_NAME: Final = re.compile(r"[^a-z0-9]+")

Kind = Literal["Normal", "Warning"]


class Reference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An object that an Event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""

    @classmethod
    def to(cls, resource: Resource, meta: Meta) -> Self:
        """The object of this kind with this metadata."""
        return cls(
            api_version=resource.api_version,
            kind=resource.kind,
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
        )


class Occurrence(msgspec.Struct, frozen=True):
    """What happened. Two that are equal are one Event that happened twice."""

    regarding: Reference
    kind: Kind
    reason: str
    action: str
    note: str
    related: Reference | None = None

    @property
    def namespace(self) -> str:
        """Where its Event stands."""
        return self.regarding.namespace or CLUSTER_SCOPED

    def document(self, name: str, wall: float, reporting: Mapping[str, str]) -> dict[str, Any]:
        """The Event of that name as it is made when this happens first."""
        document: dict[str, Any] = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "eventTime": micro_time(wall),
            "type": self.kind,
            "reason": self.reason,
            "action": self.action,
            "note": self.note,
            "regarding": self.regarding,
            **reporting,
        }
        if self.related is not None:
            document["related"] = self.related
        return document


def occurrence(
    regarding: Reference, kind: Kind, reason: str, action: str, note: str, related: Reference | None
) -> Occurrence:
    """With words and note no longer than the API takes them."""
    return Occurrence(
        regarding, kind, cut(reason, WORD_BYTES), cut(action, WORD_BYTES), cut(note, NOTE_BYTES), related
    )


def reporting(controller: str, instance: str) -> dict[str, str]:
    """Who says so: fields of every Event."""
    return {"reportingController": controller, "reportingInstance": cut(instance, WORD_BYTES)}


def series(count: int, wall: float) -> dict[str, Any]:
    """What an Event says that happened more than once, the last time at *wall*."""
    return {"count": count, "lastObservedTime": micro_time(wall)}


def event_name(regarding: str, rng: Random) -> str:
    """A name nobody else has, with the object's in front, as far as it can be a name."""
    known = regarding if NAME.fullmatch(regarding) else NOT_A_NAME.sub("-", regarding.lower()).strip("-")
    return f"{known[: NAME_MAX - 17].rstrip('.-') or 'object'}.{rng.getrandbits(64):016x}"


def cut(text: str, limit: int) -> str:
    """*text*, in no more than so many bytes of UTF-8, and nothing in it that has none."""
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "…"

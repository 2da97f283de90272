"""Who wrote what, as the API server saw it: its audit log, without the reads.

What a program counts of itself it may count wrongly; this is the other side's book. The server writes a line
before it answers, so whoever has had an answer finds it here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from grove_dp.testing.controlplane.api import Document

__all__ = ["POLICY", "Write", "writes"]

READS = ("get", "list", "watch")
POLICY: Document = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted", "Panic"],
    "rules": [{"level": "None", "verbs": list(READS)}, {"level": "Metadata"}],
}


class Write(msgspec.Struct, frozen=True):
    """One call that was to change something."""

    user: str
    verb: str  # create, update, patch, delete, deletecollection
    resource: str  # plural, with its sub-resource: pods/status
    namespace: str
    name: str
    code: int

    @property
    def done(self) -> bool:
        """Whether it was accepted."""
        return self.code < 300


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _Object(msgspec.Struct, frozen=True):
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class _Answer(msgspec.Struct, frozen=True):
    code: int = 0


class _Line(msgspec.Struct, frozen=True, rename="camel"):
    verb: str
    user: _User = _User()
    object_ref: _Object = _Object()
    response_status: _Answer = _Answer()


def writes(log: Path) -> Iterator[Write]:
    """All of them, in the order in which they were answered."""
    with log.open("rb") as lines:
        for text in lines:
            line = msgspec.json.decode(text, type=_Line)
            of = line.object_ref
            resource = f"{of.resource}/{of.subresource}" if of.subresource else of.resource
            code = line.response_status.code
            yield Write(line.user.username, line.verb, resource, of.namespace, of.name, code)

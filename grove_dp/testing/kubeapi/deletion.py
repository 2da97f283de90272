"""What a DELETE makes of an object: nothing is done here, only said.

    precondition ─► grace (pods) ─► finalizers, with the garbage collector's own ─► marked, or gone

A deletion can be shortened but not taken back. What has finalizers is marked and stays until they are gone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from grove_dp.testing.kubeapi import answers
from grove_dp.testing.kubeapi.answers import Cause, Document
from grove_dp.testing.kubeapi.kinds import Kind
from grove_dp.testing.kubeapi.metadata import FINALIZER_FOREGROUND, FINALIZER_ORPHAN, tidy, timestamp
from grove_dp.testing.kubeapi.store import Stored

__all__ = ["DeleteOptions", "Ending", "check_preconditions", "ending_of", "is_ripe"]

OWN: Final = {"Orphan": FINALIZER_ORPHAN, "Foreground": FINALIZER_FOREGROUND, "Background": ""}


class Preconditions(msgspec.Struct, frozen=True, rename="camel"):
    """What must be true of the object to be deleted."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a DELETE."""

    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    preconditions: Preconditions | None = None


class Ending(msgspec.Struct, frozen=True):
    """What to do: write *document*, if there is one, and then remove the object if it is to be *gone*."""

    document: Document | None
    gone: bool


AS_IT_IS: Final = Ending(None, gone=False)
AT_ONCE: Final = Ending(None, gone=True)


def check_preconditions(kind: Kind, old: Stored, wanted: Preconditions | None) -> None:
    """409 if it is not the object that was meant."""
    if wanted is None:
        return
    known = old.metadata["resourceVersion"]
    if wanted.uid is not None and wanted.uid != old.uid:
        why = (
            f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({old.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise answers.conflict(kind.group, kind.kind, old.key[1], why)
    if wanted.resource_version is not None and wanted.resource_version != known:
        why = (
            f"the ResourceVersion in the precondition ({wanted.resource_version}) does not match the "
            f"ResourceVersion in record ({known}). The object might have been modified"
        )
        raise answers.conflict(kind.group, kind.kind, old.key[1], why)


def ending_of(kind: Kind, old: Stored, options: DeleteOptions, wall_s: float) -> Ending:
    """Of the object *old*, if it is deleted now."""
    check_preconditions(kind, old, options.preconditions)
    by_rule = kind.rules.ending(old.document, timestamp(wall_s))
    if by_rule is not None:
        return AS_IT_IS if by_rule == old.document else Ending(by_rule, gone=False)
    metadata = dict(old.metadata)
    graceful, pending = _grace(kind, old, metadata, options, wall_s)
    if pending:
        return AS_IT_IS
    finalizers = _finalizers(metadata.get("finalizers") or [], options.propagation_policy)
    metadata["finalizers"] = finalizers
    if not graceful and not finalizers:
        return AT_ONCE
    if not graceful:
        _mark(metadata, timestamp(wall_s))
    document = tidy({**old.document, "metadata": metadata})
    if document == old.document:
        return AS_IT_IS
    return Ending(document, gone=is_ripe(metadata))


def is_ripe(metadata: Document) -> bool:
    """A deleted object that nothing keeps any more."""
    return not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds")


def _grace(
    kind: Kind, old: Stored, metadata: Document, options: DeleteOptions, wall_s: float
) -> tuple[bool, bool]:
    """Mark *metadata* for an end in some seconds; whether it was marked, and whether it was before."""
    asked = options.grace_period_seconds
    asked = 1 if asked is not None and asked < 0 else asked
    period = kind.rules.grace_s(old.document, asked)
    if period is None:
        return False, False
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = timestamp(wall_s + period)
        metadata["deletionGracePeriodSeconds"] = period
        _count(metadata)
        return True, False
    left: int | None = metadata.get("deletionGracePeriodSeconds")
    if not left:
        return False, False
    if asked is None or asked >= left:
        return False, True
    began = datetime.fromisoformat(metadata["deletionTimestamp"]).timestamp() - left
    metadata["deletionTimestamp"] = timestamp(max(began + asked, wall_s))
    metadata["deletionGracePeriodSeconds"] = asked
    return True, False


def _mark(metadata: Document, now: str) -> None:
    """Deleted, but for its finalizers."""
    if "deletionTimestamp" not in metadata:
        _count(metadata)
    metadata["deletionTimestamp"] = min(metadata.get("deletionTimestamp", now), now)
    metadata["deletionGracePeriodSeconds"] = 0


def _count(metadata: Document) -> None:
    if metadata.get("generation"):
        metadata["generation"] += 1


def _finalizers(old: list[str], policy: str | None) -> list[str]:
    """Those that are there, and the garbage collector's own as the propagation policy says."""
    if policy is None:
        return old
    if policy not in OWN:
        words = ", ".join(f'"{name}"' for name in sorted(OWN))
        message = f'Unsupported value: "{policy}": supported values: {words}'
        cause = Cause("FieldValueNotSupported", "propagationPolicy", message)
        raise answers.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
    others = [name for name in old if name not in (FINALIZER_ORPHAN, FINALIZER_FOREGROUND)]
    return [*others, OWN[policy]] if OWN[policy] else others

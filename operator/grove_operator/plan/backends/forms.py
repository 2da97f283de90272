"""What the PodGroups of all schedulers have in common, and marks on objects that are planned."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator.api import SETS, PodCliqueSet
from grove_operator.naming import Component, L
from grove_operator.plan.documents import Document, Path, Wanted, document

__all__ = ["Marks", "marked", "minimum", "named_marks", "pod_group", "pod_groups"]

Marks = Mapping[str, str]


def pod_groups(gang: Wanted) -> list[Document]:
    """The cliques of a PodGang, each with its minimum."""
    found: list[Document] = gang.document["spec"]["podgroups"]
    return found


def minimum(gang: Wanted) -> int:
    """Pods that a PodGang needs in all. Schedulers take no 0: one that needs none has one."""
    return sum(int(group["minReplicas"]) for group in pod_groups(gang)) or 1


def pod_group(
    groups: Resource,
    owner: PodCliqueSet,
    gang: Wanted,
    spec: Document,
    *,
    once: tuple[Path, ...] = (),
    labels: Marks | None = None,
) -> Wanted:
    """The PodGroup beside *gang*: of its name, where it stands."""
    held = gang.document["metadata"]["labels"]
    place = {key: held[key] for key in (L.SET_REPLICA, L.BASE_GANG) if key in held}
    return document(
        groups,
        gang.name,
        (SETS, owner.metadata),
        Component.GANG,
        set_name=owner.metadata.name,
        labels={**(labels or {}), **place, L.GANG: gang.name},
        once=once,
        spec=spec,
    )


def marked(
    wanted: Wanted, *, labels: Marks | None = None, annotations: Marks | None = None, **spec: Any
) -> Wanted:
    """The same with these marks, and these fields of its spec."""
    made = dict(wanted.document)
    meta = dict(made["metadata"])
    for what, more in (("labels", labels), ("annotations", annotations)):
        if more:
            meta[what] = {**(meta.get(what) or {}), **more}
    made["metadata"] = meta
    if spec:
        made["spec"] = {**made["spec"], **spec}
    return msgspec.structs.replace(wanted, document=made)


def named_marks(owner: PodCliqueSet) -> Iterator[Marks]:
    """Labels, then annotations: of the set, then of its cliques."""
    template = owner.spec.template
    yield owner.metadata.labels or {}
    yield owner.metadata.annotations or {}
    for clique in template.cliques:
        yield clique.labels or {}
        yield clique.annotations or {}

"""Pods of a clique: names and indices of those that are missing, and their documents.

A name is the clique's and five characters drawn from a seed that the caller gives, so a gang can be written,
complete, before its pods are; a plan that is made again from the same seed comes to the same names. An index
is the lowest that is free, for host names are `<clique>-<index>` and a leader is always 0.

What a pod is made of comes from the PodClique as it stands, not from the set: while an update goes from one
replica to the next, a pod that dies elsewhere comes back as it was.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import count, islice
from typing import Any, Final

import msgspec

from grove_dp.kube.objects import PODS
from grove_operator import naming
from grove_operator.api import CLIQUES, PodClique, PodCliqueSet
from grove_operator.naming import GATE, Component, L
from grove_operator.plan.cliques import place, pods_before
from grove_operator.plan.documents import FROM_TEMPLATE, Document, Wanted, document, from_template
from grove_operator.plan.environment import pod_environment, with_environment
from grove_operator.plan.order import Parent
from grove_operator.plan.tree import Unit
from grove_operator.pods import Pod

__all__ = ["FORMER_NODE", "PodRules", "free_indices", "lost_marks", "pod", "pod_names"]

LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes draws them: no vowels, no words
SUFFIX: Final = 5

FORMER_NODE: Final = "grove-dp.io/former-node"  # of the pod before it: images and caches are there

INIT_NAME: Final = "grove-initc"
TOKEN_VOLUME: Final = "sa-token-secret-vol"
TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
INFO_VOLUME: Final = "pod-info-vol"
INFO_PATH: Final = "/var/grove/pod-info"


class PodRules(msgspec.Struct, frozen=True):
    """What an operator's settings and its scheduler ask of pods."""

    scheduler: str = ""  # where the template names none; empty: left to the API server
    instead: str = ""  # in place of any; empty: the template's
    init_image: str = ""  # orders the start by an init container; empty: by gates
    init_command: tuple[str, ...] = ()  # empty: the image's own
    gated: bool = True
    priority: bool = True  # the set's priority class on the pods, where no gang scheduler reads it


def pod_names(clique: str, number: int, seed: bytes, taken: Collection[str] = ()) -> tuple[str, ...]:
    """*number* names that are not *taken*."""
    drawn = (naming.pod_prefix(clique) + _letters(seed, clique, at) for at in count())
    fresh: dict[str, None] = {}
    for name in drawn:
        if len(fresh) == number:
            break
        if name not in taken:
            fresh[name] = None
    return tuple(fresh)


def _letters(seed: bytes, clique: str, at: int) -> str:
    drawn = int.from_bytes(blake2b(b"%b/%b/%d" % (seed, clique.encode(), at), digest_size=8).digest())
    letters = []
    for _ in range(SUFFIX):
        drawn, letter = divmod(drawn, len(LETTERS))
        letters.append(LETTERS[letter])
    return "".join(letters)


def free_indices(used: Iterable[int], number: int) -> tuple[int, ...]:
    """The lowest *number* indices that no pod has."""
    held = frozenset(used)
    return tuple(islice((index for index in count() if index not in held), number))


def pod(
    owner: PodCliqueSet,
    unit: Unit,
    clique: PodClique,
    name: str,
    index: int,
    rules: PodRules,
    waits_for: Sequence[Parent] = (),
    former: str = "",
) -> Wanted:
    """Pod *index* of *clique*, which stands in the set where *unit* says; *former*: where it last was."""
    labels, annotations = _template_marks(unit, clique)
    if former:
        annotations[FORMER_NODE] = former
    marks = {
        L.CLIQUE: unit.name,
        L.POD_INDEX: str(index),
        L.TEMPLATE_HASH: clique.metadata.label(L.TEMPLATE_HASH) or unit.hash,
    }
    if unit.group is not None:
        marks[L.GROUP_POD_INDEX] = str(pods_before(owner, unit) + index)
    return document(
        PODS,
        name,
        (CLIQUES, clique.metadata),
        Component.CLIQUE if unit.group is None else Component.GROUP_CLIQUE,
        set_name=owner.metadata.name,
        labels=labels | naming.managed(owner.metadata.name) | place(owner, unit) | marks,
        annotations=annotations,
        once=(("spec",),),
        spec=_spec(owner, unit, clique, index, rules, waits_for),
    )


def lost_marks(
    owner: PodCliqueSet, unit: Unit, pods: Iterable[Pod]
) -> Iterator[tuple[Pod, Mapping[str, str]]]:
    """Labels of ours that pods of a clique have no more; by them Services, gangs and we find a pod."""
    component = Component.CLIQUE if unit.group is None else Component.GROUP_CLIQUE
    marks = {
        **naming.managed(owner.metadata.name),
        **place(owner, unit),
        L.CLIQUE: unit.name,
        L.COMPONENT: component,
    }
    for one in pods:
        held = one.metadata.labels or {}
        index = one.index
        wanted = marks if index is None else {**marks, L.POD_INDEX: str(index)}
        if unit.group is not None and index is not None and L.GROUP_POD_INDEX not in held:
            wanted = {**wanted, L.GROUP_POD_INDEX: str(pods_before(owner, unit) + index)}
        if one.living and not wanted.items() <= held.items():
            yield one, {key: value for key, value in wanted.items() if held.get(key) != value}


def _template_marks(unit: Unit, clique: PodClique) -> tuple[dict[str, str], dict[str, str]]:
    """The template's labels and annotations, as far as others have not put theirs beside them."""
    meta = clique.metadata
    named = from_template(meta.annotations)
    if FROM_TEMPLATE not in (meta.annotations or {}):  # another operator's: it has left no note
        template = unit.template
        named = {
            "labels": frozenset(template.labels or ()),
            "annotations": frozenset(template.annotations or ()),
        }
    return (
        {key: value for key, value in (meta.labels or {}).items() if key in named["labels"]},
        {
            key: value
            for key, value in (meta.annotations or {}).items()
            if key in named["annotations"] and key != FROM_TEMPLATE
        },
    )


def _spec(
    owner: PodCliqueSet,
    unit: Unit,
    clique: PodClique,
    index: int,
    rules: PodRules,
    waits_for: Sequence[Parent],
) -> Document:
    name, namespace = owner.metadata.name, owner.metadata.namespace
    template = clique.spec.pod_spec
    spec = with_environment(template, pod_environment(name, unit.replica, unit.name, namespace))
    spec |= {"hostname": naming.host_name(unit.name, index), "subdomain": naming.service(name, unit.replica)}
    if rules.gated:
        gates = [gate for gate in template.get("schedulingGates") or () if gate.get("name") != GATE]
        spec["schedulingGates"] = [*gates, {"name": GATE}]
    if scheduler := rules.instead or ("" if template.get("schedulerName") else rules.scheduler):
        spec["schedulerName"] = scheduler
    priority = owner.spec.template.priority_class_name
    if rules.priority and priority and not template.get("priorityClassName"):
        spec["priorityClassName"] = priority
    return _ordered(spec, name, rules, waits_for) if rules.init_image and waits_for else spec


def _ordered(
    spec: Mapping[str, Any], set_name: str, rules: PodRules, waits_for: Sequence[Parent]
) -> Document:
    """*spec* with the init container, last of all, that ends when every parent has its minimum Ready."""
    container = {
        "name": INIT_NAME,
        "image": rules.init_image,
        "args": [f"--podcliques={parent.name}:{parent.minimum}" for parent in waits_for],
        "volumeMounts": [
            {"name": INFO_VOLUME, "readOnly": True, "mountPath": INFO_PATH},
            {"name": TOKEN_VOLUME, "readOnly": True, "mountPath": TOKEN_PATH},
        ],
    }
    if rules.init_command:
        container["command"] = list(rules.init_command)
    return {
        **spec,
        "initContainers": [*(spec.get("initContainers") or ()), container],
        "volumes": [*(spec.get("volumes") or ()), *_volumes(set_name)],
    }


def _volumes(set_name: str) -> list[Document]:
    def item(path: str, field: str) -> Document:
        return {"path": path, "fieldRef": {"fieldPath": field}}

    files = [item("namespace", "metadata.namespace"), item("podgangname", f"metadata.labels['{L.GANG}']")]
    return [
        {
            "name": TOKEN_VOLUME,
            "secret": {"secretName": naming.token_secret(set_name), "defaultMode": 0o644},
        },
        {"name": INFO_VOLUME, "downwardAPI": {"items": files}},
    ]

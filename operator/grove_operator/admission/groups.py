"""Scaling groups: which cliques belong together, how many of the whole, how many at least."""

from collections.abc import Iterator
from typing import Final

from grove_operator.admission.faults import Fault, duplicate, invalid, not_found, required
from grove_operator.admission.grammar import bad_key
from grove_operator.admission.subject import Rule, Subject

__all__ = ["RULES"]


def groups_have_members(subject: Subject) -> Iterator[Fault]:
    for path, group in subject.groups():
        if not group.clique_names:
            yield required(f"{path}.cliqueNames", "name the cliques that are scaled together")


def members_are_cliques(subject: Subject) -> Iterator[Fault]:
    for path, group in subject.groups():
        for index, name in enumerate(group.clique_names):
            if name not in subject.clique_named:
                yield not_found(
                    f"{path}.cliqueNames[{index}]", name, "name a clique of this set, or remove it here"
                )


def members_belong_to_one_group(subject: Subject) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for path, group in subject.groups():
        for index, name in enumerate(group.clique_names):
            if name in seen:
                yield duplicate(
                    f"{path}.cliqueNames[{index}]",
                    name,
                    f"a clique belongs to one group, once; it is in group {seen[name]!r}",
                )
            seen.setdefault(name, group.name)


def group_replicas_are_positive(subject: Subject) -> Iterator[Fault]:
    for path, group in subject.groups():
        if group.replicas is not None and group.replicas <= 0:
            yield invalid(
                f"{path}.replicas",
                group.replicas,
                "must be greater than 0; to run none, scale the PodCliqueScalingGroup itself to 0",
            )


def group_min_available_fits(subject: Subject) -> Iterator[Fault]:
    for path, group in subject.groups():
        at_least, replicas = group.min_available, group.replicas
        path = f"{path}.minAvailable"
        if at_least is None:
            continue
        if at_least <= 0:
            yield invalid(path, at_least, "must be greater than 0")
        elif replicas is not None and at_least > replicas:
            yield invalid(path, at_least, f"must not be greater than replicas, which are {replicas}")


def group_autoscaling_fits(subject: Subject) -> Iterator[Fault]:
    """minAvailable <= minReplicas <= maxReplicas."""
    for path, group in subject.groups():
        scale = group.scale_config
        if scale is None:
            continue
        path = f"{path}.scaleConfig"
        low, high, at_least = scale.min_replicas, scale.max_replicas, group.min_available
        if low is None:
            yield required(f"{path}.minReplicas", "say how few replicas of the group there may be")
        elif at_least is not None and low < at_least:
            yield invalid(f"{path}.minReplicas", low, f"must be at least minAvailable, which is {at_least}")
        if high is None:
            yield required(f"{path}.maxReplicas", "say how many replicas of the group there may be")
        elif low is not None and high < low:
            yield invalid(f"{path}.maxReplicas", high, f"must be at least minReplicas, which are {low}")


def group_annotations_are_annotations(subject: Subject) -> Iterator[Fault]:
    for path, group in subject.groups():
        for key in group.annotations:
            if why := bad_key(key.lower()):
                yield invalid(f"{path}.annotations", key, why)


RULES: Final[tuple[Rule, ...]] = (
    groups_have_members,
    members_are_cliques,
    members_belong_to_one_group,
    group_replicas_are_positive,
    group_min_available_fits,
    group_autoscaling_fits,
    group_annotations_are_annotations,
)

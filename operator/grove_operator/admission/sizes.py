"""How large a set may be: what a typing error asks for must not keep the operator from everybody else's sets.

    set        100,000 replicas
    replica     10,000 pods: a PodGang names each pod of its own, and etcd takes no object beyond 1.5 MiB

Counted by multiplication, before anything is expanded.
"""

from collections.abc import Iterator
from typing import Final

from grove_operator.admission.faults import Fault, invalid
from grove_operator.admission.subject import Rule, Subject

__all__ = ["PODS_MOST", "REPLICAS_MOST", "RULES"]

REPLICAS_MOST: Final = 100_000  # of a set
PODS_MOST: Final = 10_000  # of a replica of it


def set_replicas_are_bounded(subject: Subject) -> Iterator[Fault]:
    replicas = subject.set.spec.replicas or 0
    if replicas > REPLICAS_MOST:
        yield invalid(
            "spec.replicas", replicas, f"must be at most {REPLICAS_MOST}: make several sets of so many"
        )


def pods_of_a_replica_are_bounded(subject: Subject) -> Iterator[Fault]:
    """Told at the clique that has most of them."""
    pods: dict[str, int] = {}
    for path, clique in subject.cliques():
        group = subject.group_of.get(clique.name)
        times = 1 if group is None or group.replicas is None else group.replicas
        pods[path] = (clique.spec.replicas or 0) * times
    total = sum(pods.values())
    if total > PODS_MOST:
        path = max(pods, key=lambda each: pods[each])
        yield invalid(
            f"{path}.spec.replicas",
            pods[path],
            f"a replica of the set would have {total} pods, at most are {PODS_MOST}: lower the replicas of"
            " cliques or groups, and raise those of the set",
        )


RULES: Final[tuple[Rule, ...]] = (set_replicas_are_bounded, pods_of_a_replica_are_bounded)

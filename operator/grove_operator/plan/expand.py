"""From a set to all objects that it wants, but for pods: `pods.py` makes those, clique by clique.

    common(set)                        ServiceAccount, Role, RoleBinding, Secret
    replica_objects(set, replica r)    Service, groups, gangs, cliques, autoscalers, in this order

Replicas are independent of each other, so each can be brought about on its own: the first is Ready while the
last is still being made. A gang stands before the pods that it names, a group before its cliques.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator.api import PodCliqueSet
from grove_operator.plan.access import access
from grove_operator.plan.autoscalers import autoscalers
from grove_operator.plan.backends import DEFAULT_SCHEDULER, Backend
from grove_operator.plan.cliques import cliques
from grove_operator.plan.documents import Wanted
from grove_operator.plan.gangs import gangs
from grove_operator.plan.groups import groups
from grove_operator.plan.order import template_parents
from grove_operator.plan.pods import PodRules
from grove_operator.plan.services import service
from grove_operator.plan.topology import Topologies
from grove_operator.plan.tree import Live, NamesCollide, Replica, tree

__all__ = ["Rules", "common", "expand", "replica_objects", "unordered"]


class Rules(msgspec.Struct, frozen=True):
    """What settings and the cluster add to a set."""

    pods: PodRules = PodRules()
    topologies: Topologies = {}
    backend: Backend | None = None  # a scheduler that knows gangs
    absent: Resource | None = None  # what such a scheduler is told with, where nobody serves that


def expand(
    owner: PodCliqueSet,
    live: Live,
    rules: Rules,
    pods: Mapping[str, Sequence[str]] | None = None,
    held: Collection[str] = (),
) -> tuple[Wanted, ...]:
    """All of a set. *pods*: names by clique; *held*: cliques that an update has yet to reach."""
    replicas = tree(owner, live)
    parts = (replica_objects(owner, live, replica, rules, pods, held) for replica in replicas)
    return (*common(owner, rules), *(wanted for part in parts for wanted in part))


def common(owner: PodCliqueSet, rules: Rules) -> tuple[Wanted, ...]:
    """What all replicas share."""
    return tuple(access(owner, token=bool(rules.pods.init_image) and _ordered(owner)))


def unordered(owner: PodCliqueSet, rules: Rules) -> bool:
    """Whether it has a start order that neither gates nor an init container keep."""
    return not rules.pods.gated and not rules.pods.init_image and _ordered(owner)


def _ordered(owner: PodCliqueSet) -> bool:
    return any(template_parents(owner.spec.template).values())


def replica_objects(
    owner: PodCliqueSet,
    live: Live,
    replica: Replica,
    rules: Rules,
    pods: Mapping[str, Sequence[str]] | None = None,
    held: Collection[str] = (),
) -> tuple[Wanted, ...]:
    """Of one replica."""
    wanted = tuple(_objects(owner, live, replica, rules, pods or {}, held))
    times = Counter(one.key for one in wanted)
    if twice := [key for key, number in times.items() if number > 1]:
        kind, name = twice[0]
        raise NamesCollide(
            f"PodCliqueSet {owner.metadata.name}: two of {kind} would be called {name}; "
            "rename a clique or a group"
        )
    return wanted


def _objects(
    owner: PodCliqueSet,
    live: Live,
    replica: Replica,
    rules: Rules,
    pods: Mapping[str, Sequence[str]],
    held: Collection[str],
) -> Iterator[Wanted]:
    yield service(owner, replica.index)
    yield from groups(owner, replica)
    scheduler = rules.pods.scheduler or DEFAULT_SCHEDULER
    for gang in gangs(owner, replica, pods, scheduler, rules.topologies):
        yield from (gang,) if rules.backend is None else rules.backend.gang(owner, gang)
    yield from cliques(owner, live, replica, held)
    yield from autoscalers(owner, replica)

"""KAI, from 0.15: a PodGroup with a sub-group for each clique, below one for each packed group replica.

    PodGroup  minMember = sum of minimums, queue, priority, topology
      ├─ sub-group  group replica with a topology of its own    minSubGroup = its cliques
      │    └─ sub-group  clique                                 minMember = its minimum
      └─ sub-group  clique

KAI has a pod-grouper that would make PodGroups of PodGangs, too: a mark tells it to leave ours alone. KAI may
move a group to another queue, and notes on it when it backs off: the queue is set at birth, the rest is not
named here, so both stay.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator.api import KAI_GROUPS, PodCliqueSet
from grove_operator.naming import TOPOLOGY_NAME, L
from grove_operator.plan.backends.forms import marked, minimum, named_marks, pod_group, pod_groups
from grove_operator.plan.documents import Document, Wanted
from grove_operator.pods import Pod

__all__ = ["Kai"]

QUEUE: Final = "kai.scheduler/queue"
DEFAULT_QUEUE: Final = "default-queue"
GROUP: Final = "pod-group-name"
SUB_GROUP: Final = "kai.scheduler/subgroup-name"
ONCE: Final = (("spec", "queue"), ("metadata", "labels", QUEUE))
SKIP: Final[Mapping[str, str]] = {"kai.scheduler/skip-podgrouper": "true"}


class Kai(msgspec.Struct, frozen=True):
    """*topologies*: KAI's name of a ClusterTopologyBinding, where it is not the same."""

    SCHEDULER: ClassVar[str] = "kai-scheduler"

    topologies: Mapping[str, str] = {}

    @property
    def groups(self) -> Resource:
        """Where its PodGroups are."""
        return KAI_GROUPS

    def gang(self, owner: PodCliqueSet, gang: Wanted) -> Iterator[Wanted]:
        """Both."""
        yield marked(gang, annotations=SKIP)
        spec = gang.document["spec"]
        queue = next((marks[QUEUE] for marks in named_marks(owner) if marks.get(QUEUE)), DEFAULT_QUEUE)
        made: Document = {
            "minMember": minimum(gang),
            "queue": queue,
            "subGroups": list(self._sub_groups(gang)),
            **self._constraint(gang, spec),
        }
        if name := spec.get("priorityClassName"):
            made["priorityClassName"] = name
        yield pod_group(self.groups, owner, gang, made, once=ONCE, labels={QUEUE: queue})

    def pod(self, pod: Wanted) -> Wanted:
        """Told its group and sub-group."""
        labels = pod.document["metadata"]["labels"]
        return marked(
            pod,
            labels={SUB_GROUP: labels[L.CLIQUE]},
            annotations={**SKIP, GROUP: labels[L.GANG]},
            schedulerName=self.SCHEDULER,
        )

    def alone(self, pod: Wanted) -> Wanted:
        """Told nothing: KAI then makes a group of it alone."""
        return marked(pod, schedulerName=self.SCHEDULER)

    def counts(self, pod: Pod) -> bool:
        """By the annotation."""
        return pod.metadata.annotation(GROUP) == pod.metadata.label(L.GANG)

    def _sub_groups(self, gang: Wanted) -> Iterator[Document]:
        parents: dict[str, str] = {}
        for config in gang.document["spec"].get("topologyConstraintGroupConfigs") or ():
            names = config["podGroupNames"]
            parents |= dict.fromkeys(names, config["name"])
            yield {"name": config["name"], "minSubGroup": len(names), **self._constraint(gang, config)}
        for group in pod_groups(gang):
            name = group["name"]
            made = {"name": name, "minMember": group["minReplicas"], **self._constraint(gang, group)}
            yield made | ({"parent": parents[name]} if name in parents else {})

    def _constraint(self, gang: Wanted, part: Document) -> Document:
        pack = (part.get("topologyConstraint") or {}).get("packConstraint")
        if not pack:
            return {}
        binding = (gang.document["metadata"].get("annotations") or {}).get(TOPOLOGY_NAME, "")
        levels = {f"{how}TopologyLevel": pack[how] for how in ("required", "preferred") if how in pack}
        return {"topologyConstraint": {"topology": self.topologies.get(binding, binding), **levels}}

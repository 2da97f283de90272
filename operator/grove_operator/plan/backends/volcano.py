"""Volcano: a PodGroup, from 1.14 with sub-group policies that keep each clique's minimum together.

A policy finds its pods by the label of their clique; one sub-group of it is wanted, of the clique's minimum.
Before, the minimum is that of all cliques together, so one may have its surplus before another its minimum.
Topology constraints are refused for this scheduler, so there are none to translate.
"""

from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator.api import VOLCANO_GROUPS, PodCliqueSet
from grove_operator.naming import L
from grove_operator.plan.backends.forms import marked, minimum, named_marks, pod_group, pod_groups
from grove_operator.plan.documents import Document, Wanted
from grove_operator.pods import Pod

__all__ = ["Volcano"]

QUEUE: Final = "scheduling.grove.io/volcano-queue"
DEFAULT_QUEUE: Final = "default"
GROUP_NAMES: Final = ("scheduling.volcano.sh/group-name", "scheduling.k8s.io/group-name")


class Volcano(msgspec.Struct, frozen=True):
    """*policies*: whether its PodGroups have them."""

    SCHEDULER: ClassVar[str] = "volcano"

    policies: bool = True

    @property
    def groups(self) -> Resource:
        """Where its PodGroups are."""
        return VOLCANO_GROUPS

    def gang(self, owner: PodCliqueSet, gang: Wanted) -> Iterator[Wanted]:
        """Both."""
        yield gang
        queues = (marks[QUEUE].strip() for marks in named_marks(owner) if marks.get(QUEUE, "").strip())
        made: Document = {
            "minMember": minimum(gang),
            "queue": next(queues, DEFAULT_QUEUE),
        }
        if self.policies:
            made["subGroupPolicy"] = [_policy(group) for group in pod_groups(gang)]
        if name := gang.document["spec"].get("priorityClassName"):
            made["priorityClassName"] = name
        yield pod_group(self.groups, owner, gang, made)

    def pod(self, pod: Wanted) -> Wanted:
        """Told its group; its clique's label says the rest."""
        gang = pod.document["metadata"]["labels"][L.GANG]
        return marked(pod, annotations=dict.fromkeys(GROUP_NAMES, gang), schedulerName=self.SCHEDULER)

    def alone(self, pod: Wanted) -> Wanted:
        """Told nothing: Volcano then makes a group of it alone."""
        return marked(pod, schedulerName=self.SCHEDULER)

    def counts(self, pod: Pod) -> bool:
        """By the annotation."""
        return pod.metadata.annotation(GROUP_NAMES[0]) == pod.metadata.label(L.GANG)


def _policy(group: Document) -> Document:
    return {
        "name": group["name"],
        "labelSelector": {"matchLabels": {L.CLIQUE: group["name"]}},
        "matchLabelKeys": [L.CLIQUE],
        "subGroupSize": group["minReplicas"] or 1,
        "minSubGroups": 1,
    }

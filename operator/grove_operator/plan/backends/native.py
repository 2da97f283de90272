"""Kubernetes' own gangs: a PodGroup of scheduling.k8s.io, which kube-scheduler places in one cycle, or not.

It is flat: the minimum is that of all cliques together, and nobody sees to it that each has its own. So a
clique with pods beyond its minimum can take the place of another's; minimums that equal the replicas are
exact. In v1alpha2 nothing of a PodGroup can be changed, in v1beta1 its minimum can.

A pod names its group for good, and a group counts only pods that name it.
"""

from collections.abc import Collection, Iterator

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator.api import NATIVE_GROUPS, PodCliqueSet
from grove_operator.naming import L
from grove_operator.plan.backends.forms import marked, minimum, pod_group
from grove_operator.plan.documents import Document, Wanted
from grove_operator.pods import Pod

__all__ = ["Native", "native_groups"]


def native_groups(served: Collection[Resource]) -> Resource | None:
    """The newest version that is *served*."""
    return next((groups for groups in NATIVE_GROUPS if groups in served), None)


class Native(msgspec.Struct, frozen=True):
    """By PodGroups of this version."""

    groups: Resource

    def gang(self, owner: PodCliqueSet, gang: Wanted) -> Iterator[Wanted]:
        """Both."""
        yield gang
        made: Document = {"schedulingPolicy": {"gang": {"minCount": minimum(gang)}}}
        once = (("spec",),) if self.groups.version == "v1alpha2" else ()
        yield pod_group(self.groups, owner, gang, made, once=once)

    def pod(self, pod: Wanted) -> Wanted:
        """Told its group; the scheduler is whichever the template names."""
        gang = pod.document["metadata"]["labels"][L.GANG]
        return marked(pod, schedulingGroup={"podGroupName": gang})

    def alone(self, pod: Wanted) -> Wanted:
        """As it is."""
        return pod

    def counts(self, pod: Pod) -> bool:
        """By its spec."""
        named = pod.spec.scheduling_group or {}
        return named.get("podGroupName") == pod.metadata.label(L.GANG)

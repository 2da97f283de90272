"""The objects that scaling reads: TokenAutoscaler, and of Grove's objects and HPAs what it looks at."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.objects import Meta, Resource
from grove_dp.scaling.spec import Spec

__all__ = [
    "AUTOSCALERS",
    "CLIQUES",
    "GROUPS",
    "HPAS",
    "SETS",
    "Autoscaler",
    "Clique",
    "CliqueSet",
    "Group",
    "Hpa",
    "Scale",
    "TokenAutoscaler",
]

GROVE: Final = "grove.io"
AUTOSCALERS: Final = Resource("grove-dp.io", "v1alpha1", "tokenautoscalers", "TokenAutoscaler")
SETS: Final = Resource(GROVE, "v1alpha1", "podcliquesets", "PodCliqueSet")
CLIQUES: Final = Resource(GROVE, "v1alpha1", "podcliques", "PodClique")
GROUPS: Final = Resource(GROVE, "v1alpha1", "podcliquescalinggroups", "PodCliqueScalingGroup")
HPAS: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")

# ------------------------------------------------------------ ours


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What we read back of our own status: conditions, to change them."""

    conditions: tuple[dict[str, Any], ...] | None = None


class TokenAutoscaler(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As it comes from the cluster. *spec* stays undecoded: a wrong one must not stop the watch."""

    metadata: Meta = Meta()
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: Status = Status()


class Autoscaler(msgspec.Struct, frozen=True, kw_only=True):
    """One autoscaler, from the cluster or from the file."""

    namespace: str
    name: str
    spec: Spec
    generation: int = 0
    stored: bool = False  # it is an object of the cluster and has a status

    @property
    def key(self) -> str:
        """What people call it."""
        return f"{self.namespace}/{self.name}"


# ------------------------------------------------------------ Grove


class _Partial(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of what others write: every field has a default."""


class Bounds(_Partial, frozen=True):
    """Of `autoScalingConfig` and `scaleConfig`."""

    min_replicas: int | None = None
    max_replicas: int | None = None


class Progress(_Partial, frozen=True):
    """Of an update."""

    update_started_at: str | None = None
    update_ended_at: str | None = None

    @property
    def going_on(self) -> bool:
        """It has begun and not ended."""
        return bool(self.update_started_at) and not self.update_ended_at


class CliqueSpec(_Partial, frozen=True):
    """Of a PodClique, and of its template."""

    replicas: int = 1
    min_available: int | None = None
    auto_scaling_config: Bounds | None = None
    pod_spec: dict[str, Any] = msgspec.field(default_factory=dict)


class CliqueTemplate(_Partial, frozen=True):
    """One of `template.cliques`."""

    name: str = ""
    spec: CliqueSpec = CliqueSpec()


class GroupTemplate(_Partial, frozen=True):
    """One of `template.podCliqueScalingGroups`."""

    name: str = ""
    clique_names: tuple[str, ...] = ()
    replicas: int | None = None
    scale_config: Bounds | None = None


class SetTemplate(_Partial, frozen=True):
    """What a replica of a set is made of."""

    cliques: tuple[CliqueTemplate, ...] = ()
    pod_clique_scaling_groups: tuple[GroupTemplate, ...] | None = None


class SetSpec(_Partial, frozen=True):
    """Of a PodCliqueSet."""

    replicas: int = 0
    template: SetTemplate = SetTemplate()


class Counts(_Partial, frozen=True):
    """The status of any of the three: only some of the counts stand in each."""

    observed_generation: int | None = None
    replicas: int = 0
    ready_replicas: int | None = None
    available_replicas: int | None = None
    scheduled_replicas: int | None = None
    update_progress: Progress | None = None


class CliqueSet(_Partial, frozen=True):
    """PodCliqueSet."""

    metadata: Meta = Meta()
    spec: SetSpec = SetSpec()
    status: Counts = Counts()


class Clique(_Partial, frozen=True):
    """PodClique."""

    metadata: Meta = Meta()
    spec: CliqueSpec = CliqueSpec()
    status: Counts = Counts()


class GroupSpec(_Partial, frozen=True):
    """Of a PodCliqueScalingGroup."""

    replicas: int = 1
    min_available: int = 1


class Group(_Partial, frozen=True):
    """PodCliqueScalingGroup."""

    metadata: Meta = Meta()
    spec: GroupSpec = GroupSpec()
    status: Counts = Counts()


# ------------------------------------------------------------ Kubernetes


class ScaleTarget(_Partial, frozen=True):
    """What an HPA scales."""

    api_version: str = ""
    kind: str = ""
    name: str = ""


class HpaSpec(_Partial, frozen=True):
    """Of an HPA."""

    scale_target_ref: ScaleTarget = ScaleTarget()


class Hpa(_Partial, frozen=True):
    """HorizontalPodAutoscaler."""

    metadata: Meta = Meta()
    spec: HpaSpec = HpaSpec()


class ScaleSpec(_Partial, frozen=True):
    """Of a Scale; an absent count is 0."""

    replicas: int = 0


class Scale(_Partial, frozen=True):
    """The sub-resource by which all three are scaled."""

    metadata: Meta = Meta()
    spec: ScaleSpec = ScaleSpec()

    def patch(self, replicas: int) -> Mapping[str, Any]:
        """To *replicas*, if nothing has changed since this was read."""
        version = {"resourceVersion": self.metadata.resource_version}
        return {"metadata": version, "spec": {"replicas": replicas}}

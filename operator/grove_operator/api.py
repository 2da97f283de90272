"""The kinds that the operator works with: Grove's, as far as it reads them, and where all of them stand.

Partial Structs, as in `grove_dp.kube.objects`: every field has a default, unknown ones are skipped. What
belongs to Kubernetes – pod specs, metrics, claim specs – stays a plain document, so that nothing of it is
lost on its way from a template to an object. None of these is ever written back: plans build documents from
templates, and patches from what differs.

A set that was stored before webhooks set defaults is read as if they had: `minimum` and `count`
say what counts.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.objects import LEASES, NODES, PODS, Meta, Resource

__all__ = [
    "ANY_ORDER",
    "AUTOSCALERS",
    "BINDINGS",
    "CLAIMS",
    "CLIQUES",
    "EVENTS",
    "EXPLICIT",
    "GANGS",
    "GROUPS",
    "IN_ORDER",
    "KAI_GROUPS",
    "KINDS",
    "LEASES",
    "NATIVE_GROUPS",
    "NODES",
    "PODS",
    "PODS_MOST",
    "POD_GROUPS",
    "REPLICAS_MOST",
    "ROLES",
    "ROLE_BINDINGS",
    "SECRETS",
    "SERVICES",
    "SERVICE_ACCOUNTS",
    "SETS",
    "VOLCANO_GROUPS",
    "CliqueProgress",
    "CliqueRecovery",
    "CliqueSpec",
    "CliqueStatus",
    "CliqueTemplate",
    "ClusterTopologyBinding",
    "GangSpec",
    "GangStatus",
    "GroupSpec",
    "GroupStatus",
    "GroupTemplate",
    "PodClique",
    "PodCliqueScalingGroup",
    "PodCliqueSet",
    "PodGang",
    "PodGroup",
    "RollingUpdate",
    "ScaleConfig",
    "SetSpec",
    "SetStatus",
    "SetTemplate",
    "Sharing",
    "TopologyConstraint",
    "kind_key",
]

GROVE: Final = "grove.io"
SETS: Final = Resource(GROVE, "v1alpha1", "podcliquesets", "PodCliqueSet")
CLIQUES: Final = Resource(GROVE, "v1alpha1", "podcliques", "PodClique")
GROUPS: Final = Resource(GROVE, "v1alpha1", "podcliquescalinggroups", "PodCliqueScalingGroup")
BINDINGS: Final = Resource(GROVE, "v1alpha1", "clustertopologybindings", "ClusterTopologyBinding", False)
GANGS: Final = Resource("scheduler.grove.io", "v1alpha1", "podgangs", "PodGang")
SERVICES: Final = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
EVENTS: Final = Resource("", "v1", "events", "Event")
ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
AUTOSCALERS: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
CLAIMS: Final = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")

KINDS: Final[Mapping[str, Resource]] = {
    kind.kind: kind
    for kind in (
        SETS,
        CLIQUES,
        GROUPS,
        BINDINGS,
        GANGS,
        SERVICES,
        SERVICE_ACCOUNTS,
        SECRETS,
        EVENTS,
        ROLES,
        ROLE_BINDINGS,
        AUTOSCALERS,
        CLAIMS,
        PODS,
        NODES,
        LEASES,
    )
}

# What schedulers that know gangs call one; each of the natives is tried in this order.
NATIVE_GROUPS: Final = tuple(
    Resource("scheduling.k8s.io", version, "podgroups", "PodGroup") for version in ("v1beta1", "v1alpha2")
)
KAI_GROUPS: Final = Resource("scheduling.run.ai", "v2alpha2", "podgroups", "PodGroup")
VOLCANO_GROUPS: Final = Resource("scheduling.volcano.sh", "v1beta1", "podgroups", "PodGroup")
POD_GROUPS: Final = (*NATIVE_GROUPS, KAI_GROUPS, VOLCANO_GROUPS)


def kind_key(resource: Resource) -> str:
    """What tells a kind from all others: its name, and its API where several have one of that name."""
    if resource.kind != "PodGroup":
        return resource.kind
    return f"{resource.kind}.{resource.version}.{resource.group}"


# What a typing error asks for must not keep the operator from everybody else's sets; and a PodGang names
# each of its pods, and etcd takes no object beyond 1.5 MiB.
REPLICAS_MOST: Final = 100_000  # of a set
PODS_MOST: Final = 10_000  # of a replica of it

ANY_ORDER: Final = "CliqueStartupTypeAnyOrder"
IN_ORDER: Final = "CliqueStartupTypeInOrder"
EXPLICIT: Final = "CliqueStartupTypeExplicit"

Document = dict[str, Any]
Conditions = tuple[Document, ...] | None  # as documents: `grove_dp.kube.conditions` works on those


class _Partial(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a kind."""


# ------------------------------------------------------------ parts of templates


class Pack(_Partial, frozen=True):
    """Domains that pods are to share; names of levels in a set, node label keys in a PodGang."""

    required: str | None = None
    preferred: str | None = None


class TopologyConstraint(_Partial, frozen=True):
    """Of a set, a group or a clique. `packDomain` is the old spelling of `pack.required`."""

    topology_name: str | None = None
    pack: Pack | None = None
    pack_domain: str | None = None

    @property
    def required(self) -> str | None:
        """The domain that must hold all pods."""
        return (self.pack.required if self.pack else None) or self.pack_domain or None

    @property
    def preferred(self) -> str | None:
        """The domain that had better hold them."""
        return (self.pack.preferred if self.pack else None) or None


class ScaleConfig(_Partial, frozen=True):
    """Bounds and metrics of an autoscaler."""

    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: tuple[Document, ...] | None = None


class SharingFilter(_Partial, frozen=True):
    """Which children share; all of them without."""

    child_clique_names: tuple[str, ...] | None = None
    child_scaling_group_names: tuple[str, ...] | None = None


class Sharing(_Partial, frozen=True):
    """A claim that pods share: one for all replicas of its level, or one for each."""

    name: str = ""
    namespace: str | None = None
    scope: str = "AllReplicas"
    filter: SharingFilter | None = None


class ClaimTemplate(_Partial, frozen=True):
    """Of `resourceClaimTemplates`."""

    name: str = ""
    template_spec: Document = msgspec.field(default_factory=dict)


class RollingUpdate(_Partial, frozen=True):
    """How many units an update takes at once: pods of a clique, replicas of a group."""

    max_unavailable: int | None = None
    max_surge: int | None = None


class CliqueSpec(_Partial, frozen=True):
    """Of a template and of a PodClique; `startsAfter` holds template names there, object names here."""

    role_name: str = ""
    pod_spec: Document = msgspec.field(default_factory=dict)
    replicas: int = 1
    min_available: int | None = None
    starts_after: tuple[str, ...] | None = None
    auto_scaling_config: ScaleConfig | None = None


class CliqueTemplate(_Partial, frozen=True):
    """One of `template.cliques`."""

    name: str = ""
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    topology_constraint: TopologyConstraint | None = None
    resource_sharing: tuple[Sharing, ...] | None = None
    rolling_update: RollingUpdate | None = None
    spec: CliqueSpec = CliqueSpec()

    @property
    def count(self) -> int:
        """`replicas`, at first; 0 is read as 1, as defaults do: only a live clique is scaled to 0."""
        return self.spec.replicas or 1


class GroupTemplate(_Partial, frozen=True):
    """One of `template.podCliqueScalingGroups`."""

    name: str = ""
    clique_names: tuple[str, ...] = ()
    annotations: Mapping[str, str] | None = None
    replicas: int | None = None
    min_available: int | None = None
    scale_config: ScaleConfig | None = None
    rolling_update: RollingUpdate | None = None
    resource_sharing: tuple[Sharing, ...] | None = None
    topology_constraint: TopologyConstraint | None = None

    @property
    def count(self) -> int:
        """`replicas`; one unless it says otherwise."""
        return 1 if self.replicas is None else self.replicas

    @property
    def minimum(self) -> int:
        """`minAvailable`; one unless it says otherwise."""
        return 1 if self.min_available is None else self.min_available


class HeadlessServiceConfig(_Partial, frozen=True):
    """Of the Services of a set."""

    publish_not_ready_addresses: bool = True


class SetTemplate(_Partial, frozen=True):
    """What one replica of a set is made of."""

    cliques: tuple[CliqueTemplate, ...] = ()
    clique_startup_type: str | None = None
    priority_class_name: str = ""
    headless_service_config: HeadlessServiceConfig | None = None
    topology_constraint: TopologyConstraint | None = None
    termination_delay: str | None = None
    resource_claim_templates: tuple[ClaimTemplate, ...] | None = None
    resource_sharing: tuple[Sharing, ...] | None = None
    pod_clique_scaling_groups: tuple[GroupTemplate, ...] | None = None

    @property
    def groups(self) -> tuple[GroupTemplate, ...]:
        """The scaling groups."""
        return self.pod_clique_scaling_groups or ()

    @property
    def order(self) -> str:
        """How cliques start; in any order unless it says otherwise."""
        return self.clique_startup_type or ANY_ORDER

    def clique(self, name: str) -> CliqueTemplate | None:
        """The clique of that very name."""
        return next((clique for clique in self.cliques if clique.name == name), None)

    def group_of(self, clique: str) -> GroupTemplate | None:
        """The group that a clique is a member of."""
        return next((group for group in self.groups if clique in group.clique_names), None)


# ------------------------------------------------------------ PodCliqueSet


class UpdateStrategy(_Partial, frozen=True):
    """How a new template reaches the pods."""

    type: str = "RollingRecreate"


class SetSpec(_Partial, frozen=True):
    """Of a PodCliqueSet."""

    replicas: int = 0
    update_strategy: UpdateStrategy | None = None
    template: SetTemplate = SetTemplate()


class ReplicaProgress(_Partial, frozen=True):
    """A set replica that is being updated."""

    replica_index: int = 0
    update_started_at: str | None = None
    update_ended_at: str | None = None


class SetProgress(_Partial, frozen=True):
    """How far an update of a set is."""

    update_started_at: str | None = None
    update_ended_at: str | None = None
    updated_pod_cliques_count: int = 0
    total_pod_cliques_count: int = 0
    updated_pod_clique_scaling_groups_count: int = 0
    total_pod_clique_scaling_groups_count: int = 0
    currently_updating: tuple[ReplicaProgress, ...] | None = None


class SetStatus(_Partial, frozen=True):
    """Of a PodCliqueSet."""

    observed_generation: int | None = None
    conditions: Conditions = None
    last_errors: tuple[Document, ...] | None = None
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    hpa_pod_selector: str | None = None
    current_generation_hash: str | None = None
    update_progress: SetProgress | None = None


class PodCliqueSet(_Partial, frozen=True):
    """What a user applies."""

    metadata: Meta = Meta()
    spec: SetSpec = SetSpec()
    status: SetStatus = SetStatus()


# ------------------------------------------------------------ PodClique


class SelectedPods(_Partial, frozen=True):
    """Which pod is being replaced, and which were."""

    current: str | None = None
    completed: tuple[str, ...] | None = None


class CliqueProgress(_Partial, frozen=True):
    """How far an update of a clique is."""

    update_started_at: str | None = None
    update_ended_at: str | None = None
    pod_clique_set_generation_hash: str | None = None
    pod_template_hash: str | None = None
    ready_pods_selected_to_update: SelectedPods | None = None


class CliqueRecovery(_Partial, frozen=True):
    """What gang termination knows of a clique; `plan.recovery` tells how it is used."""

    healthy: bool = False
    terminations: int = 0
    last_terminated_at: str | None = None


class CliqueStatus(_Partial, frozen=True):
    """Of a PodClique."""

    observed_generation: int | None = None
    last_errors: tuple[Document, ...] | None = None
    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    schedule_gated_replicas: int = 0
    scheduled_replicas: int = 0
    hpa_pod_selector: str | None = None
    conditions: Conditions = None
    current_pod_clique_set_generation_hash: str | None = None
    current_pod_template_hash: str | None = None
    update_progress: CliqueProgress | None = None
    recovery: CliqueRecovery | None = None


class PodClique(_Partial, frozen=True):
    """Pods of one template."""

    metadata: Meta = Meta()
    spec: CliqueSpec = CliqueSpec()
    status: CliqueStatus = CliqueStatus()


# ------------------------------------------------------------ PodCliqueScalingGroup


class GroupSpec(_Partial, frozen=True):
    """Of a PodCliqueScalingGroup."""

    replicas: int = 1
    min_available: int = 1
    clique_names: tuple[str, ...] = ()


class SelectedReplicas(_Partial, frozen=True):
    """Which group replica is being replaced, and which were."""

    current: int | None = None
    completed: tuple[int, ...] | None = None


class GroupProgress(_Partial, frozen=True):
    """How far an update of a group is."""

    update_started_at: str | None = None
    update_ended_at: str | None = None
    pod_clique_set_generation_hash: str | None = None
    ready_replica_indices_selected_to_update: SelectedReplicas | None = None
    updated_pod_cliques_count: int = 0
    total_pod_cliques_count: int = 0


class GroupStatus(_Partial, frozen=True):
    """Of a PodCliqueScalingGroup."""

    observed_generation: int | None = None
    last_errors: tuple[Document, ...] | None = None
    replicas: int = 0
    scheduled_replicas: int = 0
    available_replicas: int = 0
    updated_replicas: int = 0
    selector: str | None = None
    conditions: Conditions = None
    current_pod_clique_set_generation_hash: str | None = None
    update_progress: GroupProgress | None = None


class PodCliqueScalingGroup(_Partial, frozen=True):
    """Cliques that scale together."""

    metadata: Meta = Meta()
    spec: GroupSpec = GroupSpec()
    status: GroupStatus = GroupStatus()


# ------------------------------------------------------------ PodGang


class PackConstraint(_Partial, frozen=True):
    """Of a PodGang: its domains are node label keys."""

    pack_constraint: Pack | None = None


class PodReference(_Partial, frozen=True):
    """A pod by its name."""

    namespace: str = ""
    name: str = ""


class PodGroup(_Partial, frozen=True):
    """A clique's pods within a gang."""

    name: str = ""
    pod_references: tuple[PodReference, ...] | None = None
    min_replicas: int = 0
    topology_constraint: PackConstraint | None = None


class GroupConstraint(_Partial, frozen=True):
    """Pod groups that share a domain."""

    name: str = ""
    pod_group_names: tuple[str, ...] = ()
    topology_constraint: PackConstraint | None = None


class GangSpec(_Partial, frozen=True):
    """Of a PodGang. Its word for the groups is `podgroups`, all lower case."""

    podgroups: tuple[PodGroup, ...] = ()
    topology_constraint: PackConstraint | None = None
    topology_constraint_group_configs: tuple[GroupConstraint, ...] | None = None
    priority_class_name: str = ""


class GangStatus(_Partial, frozen=True):
    """Of a PodGang."""

    phase: str = ""
    conditions: Conditions = None
    placement_score: float | None = None


class PodGang(_Partial, frozen=True):
    """Pods that run all or not at all."""

    metadata: Meta = Meta()
    spec: GangSpec = GangSpec()
    status: GangStatus = GangStatus()


# ------------------------------------------------------------ ClusterTopologyBinding


class TopologyLevel(_Partial, frozen=True):
    """A domain's name, and the node label that tells one from another."""

    domain: str = ""
    key: str = ""


class BindingSpec(_Partial, frozen=True):
    """Levels from broad to narrow."""

    levels: tuple[TopologyLevel, ...] = ()
    scheduler_topology_bindings: tuple[Document, ...] | None = None


class ClusterTopologyBinding(_Partial, frozen=True):
    """What domains there are."""

    metadata: Meta = Meta()
    spec: BindingSpec = BindingSpec()

    @property
    def keys(self) -> Mapping[str, str]:
        """Node label keys by domain."""
        return {level.domain: level.key for level in self.spec.levels}

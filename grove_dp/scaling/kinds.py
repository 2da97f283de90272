"""TokenAutoscaler, ours to the last field; and of Grove's objects and HPAs what scaling reads.

A field's annotation is its whole documentation: the CustomResourceDefinition is made of it (see `crds`), and
the YAML file of the command takes the same Structs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta as Told

from grove_dp.kube.objects import Meta, Resource

__all__ = [
    "AUTOSCALERS",
    "CLIQUES",
    "GROUPS",
    "HPAS",
    "SETS",
    "Autoscaler",
    "Behavior",
    "Clique",
    "CliqueSet",
    "ComponentSpec",
    "Group",
    "Hpa",
    "Scale",
    "Slo",
    "Span",
    "Spec",
    "TokenAutoscaler",
]

GROVE: Final = "grove.io"
AUTOSCALERS: Final = Resource("grove-dp.io", "v1alpha1", "tokenautoscalers", "TokenAutoscaler")
SETS: Final = Resource(GROVE, "v1alpha1", "podcliquesets", "PodCliqueSet")
CLIQUES: Final = Resource(GROVE, "v1alpha1", "podcliques", "PodClique")
GROUPS: Final = Resource(GROVE, "v1alpha1", "podcliquescalinggroups", "PodCliqueScalingGroup")
HPAS: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")

Name = Annotated[str, Told(min_length=1, max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Frontend = Annotated[str, Told(min_length=3, max_length=512)]
Model = Annotated[str, Told(min_length=1, max_length=512)]
Role = Literal["aggregated", "prefill", "decode"]
Mode = Literal["direct", "advisory", "off"]


class _Part(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A part of a TokenAutoscaler; what we do not know is refused in the file, and pruned in the cluster."""


# ------------------------------------------------------------ TokenAutoscaler


class ComponentSpec(_Part, frozen=True):
    """What is scaled together: a clique or a scaling group, in all replicas of the set."""

    name: Annotated[Name, Told(description="Of a clique or a scaling group in the set's template.")]
    role: Annotated[Role, Told(description="What its workers do for a request.")] = "aggregated"
    level: Annotated[
        Literal["component", "set"],
        Told(description="What moves for it: its own replicas, or only replicas of the whole set."),
    ] = "component"
    min_replicas: (
        Annotated[
            int,
            Told(ge=0, le=100_000, description="Of all replicas of the set together; unset: what must run."),
        ]
        | None
    ) = None
    max_replicas: (
        Annotated[int, Told(ge=1, le=100_000, description="Of all replicas of the set together.")] | None
    ) = None
    scale_to_zero: Annotated[bool, Told(description="Nothing at all may run of it without traffic.")] = False
    workers_per_replica: Annotated[
        int, Told(ge=1, le=1024, description="Endpoints that one replica is: data-parallel ranks, mostly.")
    ] = 1
    gpus_per_replica: (
        Annotated[int, Told(ge=0, le=100_000, description="Unset: as its pods ask for.")] | None
    ) = None
    prefill_tokens_per_second: (
        Annotated[float, Told(gt=0, description="Of one worker, instead of what is measured.")] | None
    ) = None
    decode_tokens_per_second: (
        Annotated[
            float,
            Told(gt=0, description="Of one worker that keeps its promise, instead of what is measured."),
        ]
        | None
    ) = None


class Slo(_Part, frozen=True):
    """What is promised to clients."""

    itl_seconds: (
        Annotated[float, Told(gt=0, le=60, description="Between tokens; unset: as the frontends promise.")]
        | None
    ) = None
    attainment: Annotated[
        float, Told(gt=0, le=1, description="Share of streams that are to keep their promises.")
    ] = 0.95


class Span(_Part, frozen=True):
    """How many there may be."""

    min: Annotated[int, Told(ge=0, le=10_000, description="At least.")] = 1
    max: Annotated[int, Told(ge=1, le=10_000, description="At most.")] = 1


class Behavior(_Part, frozen=True):
    """How quickly and how carefully."""

    headroom: Annotated[
        float, Told(ge=0, le=10, description="More than is needed now: 0.25 is a worker used to 80 %.")
    ] = 0.25
    margin: Annotated[
        float,
        Told(ge=0, le=10, description="Head-room beyond that, which must be left after scaling in."),
    ] = 0.15
    hold_seconds: Annotated[
        float, Told(ge=0, le=86_400, description="Nothing goes that was wished for so recently.")
    ] = 300.0
    queue_drain_seconds: Annotated[
        float, Told(gt=0, le=3600, description="In which what waits now is to be served.")
    ] = 20.0
    drain_seconds: Annotated[
        float, Told(ge=0, le=86_400, description="That a replica may take to end its requests.")
    ] = 600.0
    startup_seconds: Annotated[
        float,
        Told(gt=0, le=86_400, description="From a new replica to its first request, until it is measured."),
    ] = 180.0
    pending_seconds: Annotated[
        float,
        Told(gt=0, le=86_400, description="After which a replica that finds no place counts no more."),
    ] = 120.0
    set_after_seconds: Annotated[
        float,
        Told(ge=0, le=86_400, description="How long components must lack room before the set grows."),
    ] = 60.0


class Spec(_Part, frozen=True):
    """What is wanted."""

    pod_clique_set: Annotated[Name, Told(description="The set that is scaled, in the same namespace.")]
    components: Annotated[
        tuple[ComponentSpec, ...], Told(min_length=1, max_length=16, description="What of it is scaled.")
    ]
    mode: Annotated[
        Mode,
        Told(description="direct: we scale; advisory: we say what we would do; off: nothing."),
    ] = "direct"
    slo: Annotated[Slo, Told(description="What is promised to clients.")] = Slo()
    gpu_budget: (
        Annotated[int, Told(ge=1, le=10_000_000, description="GPUs of all components together, at most.")]
        | None
    ) = None
    set_replicas: (
        Annotated[Span, Told(description="Replicas of the whole set; unset: not ours to change.")] | None
    ) = None
    models: Annotated[
        tuple[Model, ...],
        Told(max_length=64, description="Served models, so that they can come back from zero."),
    ] = ()
    frontends: Annotated[
        tuple[Frontend, ...],
        Told(
            max_length=64,
            description="Admin ports to ask: http://HOST:PORT, or HOST:PORT whose addresses are frontends;"
            " unset: those of the autoscaler's own settings.",
        ),
    ] = ()
    behavior: Annotated[Behavior, Told(description="How quickly and how carefully.")] = Behavior()


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

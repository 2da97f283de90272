"""The spec of a TokenAutoscaler: what people write, in the cluster or in the file of the command.

A field's annotation is its whole documentation: the CustomResourceDefinition is made of it (see `crds`), and
the YAML file takes the same Structs.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta as Told

__all__ = [
    "Behavior",
    "ComponentSpec",
    "Frontend",
    "Mode",
    "Model",
    "Name",
    "Role",
    "Slo",
    "Span",
    "Spec",
]

# Only the API server judges by it: whoever reads the file says more (`frontend_url`).
ADDRESS: Final = r"^(http://)?[^/\s]+:[0-9]{1,5}/?$"

Name = Annotated[str, Told(min_length=1, max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Frontend = Annotated[str, Told(max_length=512, extra_json_schema={"pattern": ADDRESS})]
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

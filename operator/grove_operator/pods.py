"""Pods as the operator reads them: more fields than in `grove_dp.kube.objects`, and what they say.

    gated ──► released ──► bound ──► started ──► ready        terminating, lost: from any of these

*gated*: our own gate is on it. A user's gate beside it is not ours to take off, so a pod without our gate may
still wait. *released*: our gate is off, and no node is known yet; it may be *pinned* to one.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from grove_dp.kube.objects import Condition, Meta
from grove_operator.naming import GATE, L

__all__ = ["ContainerStatus", "Gate", "Pod", "PodSpec", "PodStatus"]

Document = dict[str, Any]


class _Partial(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a pod."""


class Gate(_Partial, frozen=True):
    """Of `spec.schedulingGates`."""

    name: str = ""


class Resources(_Partial, frozen=True):
    """Of a container; quantities as they travel."""

    requests: Mapping[str, str | int | float] | None = None
    limits: Mapping[str, str | int | float] | None = None


class Port(_Partial, frozen=True):
    """Of a container."""

    container_port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"


class Container(_Partial, frozen=True):
    """What a container asks of its node."""

    name: str = ""
    resources: Resources = Resources()
    ports: tuple[Port, ...] | None = None
    restart_policy: str = ""  # Always: a sidecar among the init containers


class PodSpec(_Partial, frozen=True):
    """Of a pod; what only some pods have stays a document."""

    node_name: str = ""
    hostname: str = ""
    scheduler_name: str = ""
    scheduling_gates: tuple[Gate, ...] | None = None
    containers: tuple[Container, ...] | None = None  # null in a bookmark
    init_containers: tuple[Container, ...] | None = None
    overhead: Mapping[str, str | int | float] | None = None
    resources: Resources | None = None  # of the pod as a whole
    node_selector: Mapping[str, str] | None = None
    affinity: Document | None = None
    tolerations: tuple[Document, ...] | None = None
    topology_spread_constraints: tuple[Document, ...] | None = None
    resource_claims: tuple[Document, ...] | None = None
    volumes: tuple[Document, ...] | None = None
    priority: int | None = None
    preemption_policy: str = ""  # Never: it ends nobody for its own sake
    host_network: bool = False
    scheduling_group: Mapping[str, str] | None = None  # Kubernetes' own PodGroup that counts it


class Terminated(_Partial, frozen=True):
    """How a container ended."""

    exit_code: int = 0
    finished_at: str | None = None


class State(_Partial, frozen=True):
    """Of a container, now or before."""

    terminated: Terminated | None = None


class ContainerStatus(_Partial, frozen=True):
    """Of `status.containerStatuses`."""

    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: State | None = None
    last_state: State | None = None


class PodStatus(_Partial, frozen=True):
    """Of a pod."""

    phase: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(_Partial, frozen=True, dict=True):
    """A pod."""

    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type."""
        return next((one for one in self.status.conditions or () if one.type == type_), None)

    def _holds(self, type_: str) -> bool:
        held = self.condition(type_)
        return held is not None and held.status == "True"

    @property
    def ready(self) -> bool:
        """Its condition Ready is True, and it is not on its way out."""
        return self.metadata.deletion_timestamp is None and self._holds("Ready")

    @property
    def gated(self) -> bool:
        """Our gate holds it."""
        return any(gate.name == GATE for gate in self.spec.scheduling_gates or ())

    @property
    def bound(self) -> bool:
        """It has a node."""
        return bool(self.spec.node_name)

    @property
    def unschedulable(self) -> bool:
        """The scheduler has looked, and found no node."""
        held = self.condition("PodScheduled")
        return held is not None and held.status == "False" and held.reason == "Unschedulable"

    @property
    def terminating(self) -> bool:
        """It is on its way out."""
        return self.metadata.deletion_timestamp is not None

    @property
    def over(self) -> bool:
        """It has ended, and will not run again."""
        return self.status.phase in ("Failed", "Succeeded")

    @property
    def living(self) -> bool:
        """It is neither ended nor on its way out."""
        return not self.terminating and not self.over

    @property
    def clique(self) -> str:
        """The name of its PodClique."""
        return self.metadata.label(L.CLIQUE) or ""

    @property
    def gang(self) -> str:
        """The name of its PodGang."""
        return self.metadata.label(L.GANG) or ""

    @property
    def index(self) -> int | None:
        """Its place in its clique: as its host name says, which nobody can change, else as its label does."""
        _, _, number = self.spec.hostname.rpartition("-")
        label = number if number.isdecimal() else self.metadata.label(L.POD_INDEX) or ""
        return int(label) if label.isdecimal() else None

    @property
    def hash(self) -> str:
        """Of the template that it was made of."""
        return self.metadata.label(L.TEMPLATE_HASH) or ""

    @property
    def pinned(self) -> str:
        """The node that its affinity insists on by name; empty without."""
        affinity = (self.spec.affinity or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        terms = required.get("nodeSelectorTerms") or ()
        named = {_named(term) for term in terms}
        return next(iter(named)) if len(named) == 1 else ""


def _named(term: Mapping[str, Any]) -> str:
    fields: list[Document] = term.get("matchFields") or []
    for field in fields:
        values: list[str] = field.get("values") or []
        if field.get("key") == "metadata.name" and field.get("operator") == "In" and len(values) == 1:
            return values[0]
    return ""

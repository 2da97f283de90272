"""The parts of a document that rules look at, read without ever raising.

A document may be anything: `cliques: 7`, a number where a name should be. The API server's schema refuses
most of it, but not in objects stored before the schema was, and not where somebody calls us without it. So
documents are read leniently: what has the right type is taken, everything else becomes a fault and counts as
absent. Rules then see typed values alone, and each list keeps its length, so that an index in a path is the
index in the document.

Fields that no rule looks at are not here, and pass.
"""

import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_origin

from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from grove_operator.admission.faults import Fault, invalid

__all__ = [
    "Binding",
    "BindingLevel",
    "Clique",
    "CliqueSpec",
    "Container",
    "Devices",
    "Filter",
    "Group",
    "Meta",
    "Pack",
    "PodCliqueSet",
    "PodSpec",
    "RollingUpdate",
    "Scale",
    "SchedulerBinding",
    "Sharing",
    "Template",
    "Topology",
    "read",
]

T = TypeVar("T", bound=Struct)
INT32: Final = range(-(2**31), 2**31)


class _Draft(Struct, frozen=True, rename="camel"):
    """Everything may be absent."""


class Meta(_Draft, frozen=True):
    name: str = ""
    generate_name: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Pack(_Draft, frozen=True):
    required: str = ""
    preferred: str = ""


class Topology(_Draft, frozen=True):
    topology_name: str = ""
    pack: Pack | None = None
    pack_domain: str = ""


class Scale(_Draft, frozen=True):
    min_replicas: int | None = None
    max_replicas: int | None = None


class Filter(_Draft, frozen=True):
    child_clique_names: list[str] = []
    child_scaling_group_names: list[str] = []


class Sharing(_Draft, frozen=True):
    name: str = ""
    namespace: str = ""
    scope: str = ""
    filter: Filter | None = None


class Devices(_Draft, frozen=True):
    requests: list[Any] = []


class ClaimSpec(_Draft, frozen=True):
    devices: Devices = Devices()


class ClaimTemplateSpec(_Draft, frozen=True):
    spec: ClaimSpec = ClaimSpec()


class ClaimTemplate(_Draft, frozen=True):
    name: str = ""
    template_spec: ClaimTemplateSpec = ClaimTemplateSpec()


class EnvVar(_Draft, frozen=True):
    name: str = ""


class Container(_Draft, frozen=True):
    name: str = ""
    image: str = ""
    env: list[EnvVar] = []


class PodSpec(_Draft, frozen=True):
    restart_policy: str = ""
    node_name: str = ""
    scheduler_name: str = ""
    topology_spread_constraints: list[Any] = []
    containers: list[Container] = []
    init_containers: list[Container] = []


class CliqueSpec(_Draft, frozen=True):
    role_name: str = ""
    pod_spec: PodSpec = PodSpec()
    replicas: int | None = None
    min_available: int | None = None
    starts_after: list[str] = []
    auto_scaling_config: Scale | None = None


class RollingUpdate(_Draft, frozen=True):
    max_unavailable: int | None = None
    max_surge: int | None = None


class Clique(_Draft, frozen=True):
    name: str = ""
    rolling_update: RollingUpdate | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    topology_constraint: Topology | None = None
    resource_sharing: list[Sharing] = []
    spec: CliqueSpec = CliqueSpec()


class Group(_Draft, frozen=True):
    name: str = ""
    clique_names: list[str] = []
    annotations: dict[str, str] = {}
    replicas: int | None = None
    min_available: int | None = None
    scale_config: Scale | None = None
    rolling_update: RollingUpdate | None = None
    topology_constraint: Topology | None = None
    resource_sharing: list[Sharing] = []


class Template(_Draft, frozen=True):
    cliques: list[Clique] = []
    clique_startup_type: str = ""
    termination_delay: str = ""
    topology_constraint: Topology | None = None
    resource_claim_templates: list[ClaimTemplate] = []
    resource_sharing: list[Sharing] = []
    pod_clique_scaling_groups: list[Group] = []


class UpdateStrategy(_Draft, frozen=True):
    type: str = ""


class SetSpec(_Draft, frozen=True):
    replicas: int | None = None
    update_strategy: UpdateStrategy | None = None
    template: Template = Template()


class PodCliqueSet(_Draft, frozen=True):
    metadata: Meta = Meta()
    spec: SetSpec = SetSpec()


class BindingLevel(_Draft, frozen=True):
    domain: str = ""
    key: str = ""


class SchedulerBinding(_Draft, frozen=True):
    scheduler_name: str = ""
    topology_reference: str = ""


class BindingSpec(_Draft, frozen=True):
    levels: list[BindingLevel] = []
    scheduler_topology_bindings: list[SchedulerBinding] = []


class Binding(_Draft, frozen=True):
    """A ClusterTopologyBinding."""

    metadata: Meta = Meta()
    spec: BindingSpec = BindingSpec()


def read(into: type[T], document: object, path: str = "") -> tuple[T, list[Fault]]:
    """What of *document* has the right type, and a fault for everything else."""
    faults: list[Fault] = []
    found = _struct(into, document, path, faults)
    return found, faults


def _struct(into: type[T], value: object, path: str, faults: list[Fault]) -> T:
    if not isinstance(value, Mapping):
        faults.append(_wrong(path or into.__name__, value, "an object"))
        return into()
    taken: dict[str, Any] = {}
    for field in _fields(into):
        given = value.get(field.encode_name)
        if given is None:
            continue  # null is absent, as for the API server
        found = _value(field.type, given, f"{path}.{field.encode_name}".lstrip("."), faults)
        if found is not None:
            taken[field.name] = found
    return into(**taken)


def _value(kind: Any, value: object, path: str, faults: list[Fault]) -> Any:
    """None if it has another type."""
    kind = _without_none(kind)
    if kind is Any:
        return value
    if get_origin(kind) is list:
        return _list(get_args(kind)[0], value, path, faults)
    if get_origin(kind) is dict:
        return _words(value, path, faults)
    if issubclass(kind, Struct):
        return _struct(kind, value, path, faults)
    if kind is int:
        return value if _fits(value, path, faults) else None
    if isinstance(value, str):
        return value
    faults.append(_wrong(path, value, "a string"))
    return None


def _list(kind: Any, value: object, path: str, faults: list[Fault]) -> list[Any] | None:
    if not isinstance(value, list):
        faults.append(_wrong(path, value, "a list"))
        return None
    found = [_value(kind, each, f"{path}[{index}]", faults) for index, each in enumerate(value)]
    return [_absent(kind) if each is None else each for each in found]


def _words(value: object, path: str, faults: list[Fault]) -> dict[str, str] | None:
    if not isinstance(value, Mapping):
        faults.append(_wrong(path, value, "an object"))
        return None
    wrong = [key for key, each in value.items() if not (isinstance(key, str) and isinstance(each, str))]
    faults.extend(_wrong(f"{path}[{key}]", value[key], "a string") for key in wrong)
    return {key: each for key, each in value.items() if key not in wrong}


def _fits(value: object, path: str, faults: list[Fault]) -> bool:
    if type(value) is int and value in INT32:  # True is an int to Python, but not to anybody else
        return True
    faults.append(_wrong(path, value, "a whole number of 32 bits"))
    return False


def _absent(kind: Any) -> Any:
    """Keeps the place of an element that has no value of its type."""
    return kind() if isinstance(kind, type) else None


def _wrong(path: str, value: object, wanted: str) -> Fault:
    return invalid(path, value, f"must be {wanted}")


@cache
def _fields(into: type[Struct]) -> tuple[FieldInfo, ...]:
    return fields(into)


def _without_none(kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        return next(each for each in get_args(kind) if each is not types.NoneType)
    return kind

"""What a pod asks of its node, as kube-scheduler counts it; and what of it we cannot judge.

    effective request = max(largest init step, containers + sidecars) + overhead
    init step i       = init container i + the sidecars that stand before it

A pod's own resources (of the pod as a whole) replace the sum for what they name. Amounts are integers,
rounded up: thousandths of a CPU, and units or bytes of everything else. Equal needs are one
object, so that the 200 pods of a gang are told to be of one kind by an address.
"""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import msgspec

from grove_operator.plan.quantities import quantity
from grove_operator.pods import Container, Pod, Resources

__all__ = ["PODS", "Needs", "Port", "Requirement", "Toleration", "Where", "amount", "needs", "unmodelled"]

PODS: Final = "pods"  # a place on a node, counted like any resource
MOST: Final = 2**53  # sums of a thousand fit 64 bits, and one is exact as a float
OF_PODS: Final = ("cpu", "memory", "hugepages-")  # what a pod as a whole may ask for
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
ANY_ADDRESS: Final = ("", "0.0.0.0", "::")

Amounts = dict[str, int]
Quantities = Mapping[str, str | int | float]


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """Of a node selector's term; *field*: on the node's name, not on a label."""

    key: str
    operator: str
    values: tuple[str, ...] = ()
    field: bool = False


class Toleration(msgspec.Struct, frozen=True, gc=False):
    """Of a pod."""

    key: str = ""
    operator: str = ""  # Equal when empty
    value: str = ""
    effect: str = ""  # any when empty

    def tolerates(self, key: str, value: str, effect: str) -> bool:
        """Whether it bears with such a taint."""
        if self.effect not in ("", effect) or self.key not in ("", key):
            return False
        return self.operator == "Exists" or (self.operator in ("", "Equal") and self.value == value)


class Where(msgspec.Struct, frozen=True, gc=False):
    """Which nodes a pod may be on, full or not. *terms*: one must hold; None: there are none."""

    selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[Requirement, ...], ...] | None = None
    tolerations: tuple[Toleration, ...] = ()


class Port(msgspec.Struct, frozen=True, gc=False):
    """Of the host."""

    number: int
    protocol: str = "TCP"
    address: str = ""  # empty: all

    def clashes(self, other: "Port") -> bool:
        """Whether one node cannot give both."""
        if (self.number, self.protocol) != (other.number, other.protocol):
            return False
        return self.address == other.address or not (self.address and other.address)


class Needs(msgspec.Struct, frozen=True, gc=False):
    """Of one pod. *requests* by resource, in order, none of them 0; a place of `pods` among them."""

    requests: tuple[tuple[str, int], ...] = ((PODS, 1),)
    ports: tuple[Port, ...] = ()
    where: Where = Where()


def needs(pod: Pod) -> Needs:
    """Of *pod*; kept with it."""
    held: Needs | None = pod.__dict__.get("needs")
    if held is None:
        held = pod.__dict__["needs"] = _shared(Needs(_requests(pod), tuple(_ports(pod)), _where(pod)))
    return held


@lru_cache(4096)
def _shared(found: Needs) -> Needs:
    return found


@lru_cache(4096)
def amount(resource: str, value: str | float, up: bool = True) -> int:
    """Of *resource* in whole units; *up*: rounded up, as of requests. What is no quantity counts as 0."""
    try:
        exact = Fraction(quantity(value))
    except (ValueError, TypeError):
        return 0
    if resource == "cpu":
        exact *= 1000
    return max(0, min(-(-exact.numerator // exact.denominator) if up else int(exact), MOST))


def _asked(resources: Resources | None) -> Amounts:
    """A limit counts where there is no request."""
    if resources is None:
        return {}
    asked: Quantities = {**(resources.limits or {}), **(resources.requests or {})}
    return {name: amount(name, value) for name, value in asked.items()}


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _widen(total: Amounts, other: Mapping[str, int]) -> None:
    for name, value in other.items():
        total[name] = max(total.get(name, 0), value)


def _requests(pod: Pod) -> tuple[tuple[str, int], ...]:
    spec = pod.spec
    total: Amounts = {}
    for container in spec.containers or ():
        _add(total, _asked(container.resources))
    if spec.init_containers:
        _initialize(total, spec.init_containers)
    if spec.resources is not None:
        _replace(total, spec.resources)
    if spec.overhead:
        _add(total, {name: amount(name, value) for name, value in spec.overhead.items()})
    total[PODS] = 1
    return tuple(sorted((name, min(value, MOST)) for name, value in total.items() if value))


def _initialize(total: Amounts, containers: Iterable[Container]) -> None:
    """Sidecars stay; each other init container runs beside those that were started before it."""
    beside: Amounts = {}
    largest: Amounts = {}
    for container in containers:
        asked = _asked(container.resources)
        if container.restart_policy == "Always":
            _add(total, asked)
            _add(beside, asked)
            _widen(largest, beside)
        else:
            _add(asked, beside)
            _widen(largest, asked)
    _widen(total, largest)


def _replace(total: Amounts, whole: Resources) -> None:
    """The pod's own figures: requests always; a limit where no container says anything."""
    for name, value in (whole.requests or {}).items():
        if name.startswith(OF_PODS):
            total[name] = amount(name, value)
    for name, value in (whole.limits or {}).items():
        if name.startswith(OF_PODS) and name not in (whole.requests or {}):
            total.setdefault(name, amount(name, value))


def _ports(pod: Pod) -> Iterator[Port]:
    sidecars = (one for one in pod.spec.init_containers or () if one.restart_policy == "Always")
    for container in (*(pod.spec.containers or ()), *sidecars):
        for port in container.ports or ():
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                yield Port(number, port.protocol, "" if port.host_ip in ANY_ADDRESS else port.host_ip)


def _where(pod: Pod) -> Where:
    spec = pod.spec
    return Where(
        tuple(sorted((spec.node_selector or {}).items())),
        _terms(spec.affinity) if spec.affinity else None,
        tuple(_toleration(one) for one in spec.tolerations or ()),
    )


def _terms(affinity: Mapping[str, Any]) -> tuple[tuple[Requirement, ...], ...] | None:
    required = (affinity.get("nodeAffinity") or {}).get(REQUIRED)
    if required is None:
        return None
    return tuple(tuple(_requirements(term)) for term in required.get("nodeSelectorTerms") or ())


def _requirements(term: Mapping[str, Any]) -> Iterator[Requirement]:
    for part, field in (("matchExpressions", False), ("matchFields", True)):
        for one in term.get(part) or ():
            values = tuple(map(str, one.get("values") or ()))
            yield Requirement(one.get("key", ""), one.get("operator", ""), values, field)


def _toleration(one: Mapping[str, Any]) -> Toleration:
    return Toleration(
        one.get("key") or "", one.get("operator") or "", one.get("value") or "", one.get("effect") or ""
    )


def unmodelled(pod: Pod) -> str | None:
    """A sentence on what of *pod* depends on more than nodes and room; None where we can judge it all."""
    spec = pod.spec
    if spec.resource_claims:
        return "It claims devices (resourceClaims)."
    for volume in spec.volumes or ():
        if "persistentVolumeClaim" in volume or "ephemeral" in volume:
            return f"Its volume {volume.get('name', '')} may be bound to some nodes."
    for kind in ("podAffinity", "podAntiAffinity"):
        if ((spec.affinity or {}).get(kind) or {}).get(REQUIRED):
            return f"Its place depends on other pods ({kind})."
    for constraint in spec.topology_spread_constraints or ():
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule":
            return f"It must be spread over {constraint.get('topologyKey', 'a topology')}."
    return None

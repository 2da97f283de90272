"""ClusterTopologyBindings: levels from broad to narrow, each by a label of nodes, and who else has them.

Grove's faults name `spec.schedulerTopologyReferences`, a field that there is not; here it is the real one.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from grove_operator.admission.drafts import Binding, read
from grove_operator.admission.faults import Fault, duplicate, invalid, required, too_long
from grove_operator.admission.grammar import bad_key
from grove_operator.admission.subject import World

__all__ = ["binding_faults", "binding_warnings"]

LEVELS: Final = "spec.levels"
BINDINGS: Final = "spec.schedulerTopologyBindings"
DOMAIN_MAX: Final = 63
WELL_KNOWN: Final = (
    "region",
    "zone",
    "datacenter",
    "block",
    "rack",
    "host",
    "numa",
)  # Grove's, broad to narrow
_DOMAIN: Final = re.compile(r"[a-z][a-z0-9-]*")


def binding_faults(document: object, world: World, old: object = None) -> list[Fault]:
    """What is wrong with a ClusterTopologyBinding, and was not before."""
    binding, faults = read(Binding, document)
    if not faults:
        faults = [*levels_are_levels(binding), *schedulers_know_topology(binding, world)]
    stood = {str(fault) for fault in binding_faults(old, world)} if old is not None else set()
    return [fault for fault in faults if str(fault) not in stood]


def binding_warnings(document: object) -> tuple[str, ...]:
    """What surprises: constraints take the first level for the broadest, whatever it is called."""
    binding, faults = read(Binding, document)
    if faults:
        return ()
    known = [
        (index, level.domain) for index, level in enumerate(binding.spec.levels) if level.domain in WELL_KNOWN
    ]
    return tuple(
        f"{LEVELS}[{index}].domain: {domain!r} is listed after {before!r}, which is narrower as a rule:"
        " list the broadest level first"
        for (_, before), (index, domain) in pairwise(known)
        if WELL_KNOWN.index(domain) < WELL_KNOWN.index(before)
    )


def levels_are_levels(binding: Binding) -> Iterator[Fault]:
    """One at least; every domain and every key once."""
    if not binding.spec.levels:
        yield required(LEVELS, "name at least one level, the broadest first")
    domains: set[str] = set()
    keys: set[str] = set()
    for index, level in enumerate(binding.spec.levels):
        path = f"{LEVELS}[{index}]"
        yield from _domain(f"{path}.domain", level.domain, domains)
        yield from _key(f"{path}.key", level.key, keys)
        domains.add(level.domain)
        keys.add(level.key)


def schedulers_know_topology(binding: Binding, world: World) -> Iterator[Fault]:
    """Each once, enabled, able, and with the name of its own topology."""
    seen: set[str] = set()
    for index, each in enumerate(binding.spec.scheduler_topology_bindings):
        path = f"{BINDINGS}[{index}]"
        name = each.scheduler_name
        at = f"{path}.schedulerName"
        if not name:
            yield required(at, "name a scheduler")
        elif name in seen:
            yield duplicate(at, name, "each scheduler has one topology")
        elif name not in world.schedulers:
            yield invalid(
                at,
                name,
                f"no scheduler of this name is enabled; enabled are {_listed(world.schedulers)}:"
                " leave the entry out, or enable it in the operator's setting scheduler.names",
            )
        elif name not in world.topology_aware:
            yield invalid(at, name, f"it knows no topology; these do: {_listed(world.topology_aware)}")
        seen.add(name)
        if not each.topology_reference:
            yield required(f"{path}.topologyReference", "name the scheduler's own topology object")


def _domain(path: str, domain: str, seen: set[str]) -> Iterator[Fault]:
    if not domain:
        yield required(path, "name the level, such as zone, rack or host")
    elif len(domain) > DOMAIN_MAX:
        yield too_long(path, f"may not be more than {DOMAIN_MAX} characters")
    elif not _DOMAIN.fullmatch(domain):
        yield invalid(path, domain, "must be lower-case letters, digits and '-', and begin with a letter")
    elif domain in seen:
        yield duplicate(path, domain, "each domain is one level")


def _key(path: str, key: str, seen: set[str]) -> Iterator[Fault]:
    if not key:
        yield required(path, "name the label of nodes, such as topology.kubernetes.io/zone")
    elif why := bad_key(key):
        yield invalid(path, key, why)
    elif key in seen:
        yield duplicate(path, key, "each label is one level")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"

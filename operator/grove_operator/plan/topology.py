"""Topology constraints in the words of nodes: domains of a set become label keys of a PodGang.

A domain that the binding does not know is left out, and named by `missing`, for the set's condition: pods run
without the constraint rather than not at all.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from grove_operator.api import SetTemplate, TopologyConstraint

__all__ = ["Topologies", "constraints", "missing", "packing", "topology_name"]

Topologies = Mapping[str, Mapping[str, str]]  # by binding, node label keys by domain


def packing(
    constraint: TopologyConstraint | None, topologies: Topologies, name: str | None
) -> dict[str, Any] | None:
    """Of a PodGang, or a part of it; None where nothing holds. *name*: the set's topology."""
    if constraint is None:
        return None
    keys = topologies.get(constraint.topology_name or name or "", {})
    wanted = {"required": constraint.required or "", "preferred": constraint.preferred or ""}
    packed = {how: keys[domain] for how, domain in wanted.items() if domain in keys}
    return {"packConstraint": packed} if packed else None


def constraints(template: SetTemplate) -> Iterator[TopologyConstraint]:
    """All of a set: its own, its groups', its cliques'."""
    groups = (group.topology_constraint for group in template.groups)
    cliques = (clique.topology_constraint for clique in template.cliques)
    yield from (held for held in (template.topology_constraint, *groups, *cliques) if held is not None)


def topology_name(template: SetTemplate) -> str | None:
    """The binding that a set refers to; all of its constraints name the same."""
    return next((held.topology_name for held in constraints(template) if held.topology_name), None)


def missing(template: SetTemplate, topologies: Topologies) -> tuple[str, ...]:
    """Domains that a set asks for and its binding does not have, in order."""
    name = topology_name(template)
    asked = {
        domain: held.topology_name or name or ""
        for held in constraints(template)
        for domain in (held.required, held.preferred)
        if domain
    }
    return tuple(
        sorted(domain for domain, binding in asked.items() if domain not in topologies.get(binding, {}))
    )

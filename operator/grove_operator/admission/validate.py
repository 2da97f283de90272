"""Every rule that a PodCliqueSet must keep, and which of them hold for a change.

    new document            all rules
    changed document        all rules, less what was wrong before and still is; and what may not change
    one that is going       none: nothing may stand in the way of a finalizer

The second line is how the API server treats its own schemas: a set stored before a rule was, or before its
topology was deleted, can still be changed and healed, step by step. What stays wrong is a warning.

| subject    | rules                                                                                    |
|------------|------------------------------------------------------------------------------------------|
| names      | of set, cliques, groups: DNS labels*, unique, 45 characters together, host names of 63   |
|            | with the digits of indices*; no two objects of one name*                                 |
| cliques    | one at least; roles unique; labels, annotations; replicas > 0; minAvailable 1..replicas; |
|            | minAvailable <= minReplicas <= maxReplicas >= replicas, not for members of groups;       |
|            | containers*, no nodeName, no topologySpreadConstraints; startup and update type; delay   |
| sizes      | at most 100,000 replicas, 10,000 pods in each*                                           |
| order      | startsAfter under Explicit: named, known, once, not itself, no circle                    |
| groups     | members known, of one group; replicas, minAvailable, scaleConfig as for cliques          |
| rollout    | an update can go on: maxUnavailable or maxSurge > 0*; for groups, not for their members  |
| resources  | claim templates named, unique, with a device; sharing of a known scope, filters known    |
| schedulers | one, enabled; KAI: one queue; Volcano: one open queue; no topology there and with LPX    |
| topology   | enabled; pack given, no packDomain; one topology, that exists and has the domains;       |
|            | parents not narrower than children                                                       |
| updates    | unchangeable: startup type; cliques and groups as sets, and in order where order counts; |
|            | role, minAvailable, startsAfter, scheduler, members, claims, constraints                 |

* not in Grove, where such a set is stored and then fails.
"""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from grove_operator.admission import (
    cliques,
    groups,
    names,
    order,
    resources,
    rollout,
    schedulers,
    sizes,
    topology,
    updates,
)
from grove_operator.admission.defaults import defaulted
from grove_operator.admission.drafts import PodCliqueSet, read
from grove_operator.admission.faults import Fault
from grove_operator.admission.subject import Rule, Subject, World

__all__ = ["RULES", "WARNINGS", "Verdict", "validate"]

RULES: Final[tuple[Rule, ...]] = (
    *names.RULES,
    *cliques.RULES,
    *sizes.RULES,
    *order.RULES,
    *groups.RULES,
    *rollout.RULES,
    *resources.RULES,
    *schedulers.RULES,
    *topology.RULES,
)
WARNINGS: Final[tuple[Callable[[Subject], Iterable[str]], ...]] = (
    *names.WARNINGS,
    *cliques.WARNINGS,
    *order.WARNINGS,
    *rollout.WARNINGS,
    *resources.WARNINGS,
    *topology.WARNINGS,
)


class Verdict(Struct, frozen=True):
    """Stored if there are no faults; warnings are shown either way."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()


def validate(document: object, old: object = None, world: World | None = None) -> Verdict:
    """What is wrong with a PodCliqueSet, defaults filled in; *old* is what an update would replace."""
    around = world or World()
    new, shapeless = _subject(document, old, around)
    if old is None:
        return Verdict(tuple(shapeless)) if shapeless else Verdict(tuple(_broken(new)), _warnings(new))
    before, once_shapeless = _subject(old, None, around)
    if before.meta.deletion_timestamp:
        return Verdict()
    stood = {str(fault) for fault in (*once_shapeless, *_broken(before))}
    if fresh := tuple(fault for fault in shapeless if str(fault) not in stood):
        return Verdict(fresh)
    broken = _broken(new)
    found = [fault for fault in broken if str(fault) not in stood]
    found += [fault for rule in updates.RULES for fault in rule(new, before)]
    standing = [f"{fault} (so it was before)" for fault in broken if str(fault) in stood]
    return Verdict(tuple(found), (*standing, *_warnings(new)))


def _subject(document: object, old: object, world: World) -> tuple[Subject, list[Fault]]:
    read_as, faults = read(PodCliqueSet, defaulted(document, old))
    return Subject(read_as, world), faults


def _broken(subject: Subject) -> list[Fault]:
    return [fault for rule in RULES for fault in rule(subject)]


def _warnings(subject: Subject) -> tuple[str, ...]:
    return tuple(warning for rule in WARNINGS for warning in rule(subject))

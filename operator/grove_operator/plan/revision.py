"""Of which template a clique and its pods are, measured by the one that its set has now.

    hash label of the PodClique     its pod spec       it is      of its pods are up to date
    the template's                                     there      those with the template's hash
    another, but ours                                  behind     the same; it has few, if any
    another operator's, or none     means the same     adopted    those with its own label as well
    another operator's, or none     means another      behind     those with the template's hash

*Adopted*: made by Grove, say, whose hashes cannot be compared with ours. Nothing rolls because we take over,
so such a clique keeps its label for as long as it has pods of that label; later pods are labelled like them.
Where it has no label either, any pod that is not labelled by us is taken to be as the clique is. Ours are 16
hex digits; Grove's are 19 or 20 of the same characters, but for one of two thousand, whose clique rolls once.
"""

import re
from typing import Final

import msgspec

from grove_operator.api import CliqueRecovery, PodClique
from grove_operator.naming import L
from grove_operator.plan.documents import from_template
from grove_operator.plan.environment import group_environment, with_environment
from grove_operator.plan.hashing import same_pods
from grove_operator.plan.picture import CliqueSeen
from grove_operator.plan.tree import Unit
from grove_operator.pods import Pod

__all__ = ["Revision", "is_ours", "revision"]

KEPT: Final = "revision"
OURS: Final = re.compile(r"[0-9a-f]{16}")


class Revision(msgspec.Struct, frozen=True):
    """How far a clique is. Pods that have ended, or are on their way out, are in neither list."""

    seen: CliqueSeen
    behind: bool  # it describes other pods than the template
    adopted: bool  # it describes the same ones, under a hash that is not ours, and keeps that
    old: tuple[Pod, ...]
    new: tuple[Pod, ...]

    @property
    def settled(self) -> bool:
        """Nothing of it is of another template."""
        return not self.behind and not self.old

    @property
    def begun(self) -> bool:
        """It describes the pods of the template, and has others yet."""
        return not self.behind and bool(self.old)

    @property
    def ready(self) -> int:
        """How many of its pods are."""
        return sum(pod.ready for pod in (*self.old, *self.new))

    @property
    def served(self) -> bool:
        """As many are ready as must be."""
        return self.ready >= self.seen.minimum

    @property
    def lost(self) -> bool:
        """Fewer are ready than must be, and once there were enough.

        Who has never served is not waited for: there may be no room for it. The same holds for a clique that
        was ended as a gang, if since then none of its pods has found a node.
        """
        held = self.seen.held
        if held is None or self.served:
            return False
        memory = held.status.recovery or CliqueRecovery()
        return memory.healthy or (memory.terminations > 0 and any(pod.bound for pod in self.seen.living))


def revision(seen: CliqueSeen) -> Revision:
    """Of a clique. One that is not made yet will be born up to date.

    PERF: read once for each look at the cluster; a pass over a replica asks five times.
    """
    kept: dict[str, Revision] = seen.__dict__
    if KEPT not in kept:
        kept[KEPT] = _read(seen)
    return kept[KEPT]


def _read(seen: CliqueSeen) -> Revision:
    unit, held = seen.unit, seen.held
    living = seen.living
    label = held.metadata.label(L.TEMPLATE_HASH) or "" if held is not None else unit.hash
    alike = label == unit.hash
    foreign = held is not None and not alike and not is_ours(label) and _means_the_same(held, unit)
    new = tuple(pod for pod in living if pod.hash == unit.hash or (foreign and _labelled(pod, label)))
    kept = {pod.metadata.name for pod in new}
    old = tuple(pod for pod in living if pod.metadata.name not in kept)
    adopted = foreign and any(pod.hash != unit.hash for pod in new)
    return Revision(seen, not alike and not foreign, adopted, old, new)


def is_ours(hash_: str) -> bool:
    """Whether it looks like a hash of `hashing`."""
    return OURS.fullmatch(hash_) is not None


def _labelled(pod: Pod, label: str) -> bool:
    return pod.hash in (label, "") if label else not is_ours(pod.hash)


def _means_the_same(held: PodClique, unit: Unit) -> bool:
    """Whether a PodClique describes the pods of a template. Variables of groups count on neither side."""
    template, meta = unit.template, held.metadata
    named = from_template(meta.annotations)
    for ours, theirs, former in (
        (template.labels, meta.labels, named["labels"]),
        (template.annotations, meta.annotations, named["annotations"]),
    ):
        wanted, there = ours or {}, theirs or {}
        if not wanted.items() <= there.items() or not set(former) <= set(wanted):
            return False
    variables = group_environment(0) if unit.group is not None else []
    return same_pods(
        with_environment(held.spec.pod_spec, variables), with_environment(template.spec.pod_spec, variables)
    )

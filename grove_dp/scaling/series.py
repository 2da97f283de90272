"""The metrics of an autoscaler, read from its last decision when somebody asks.

    by object     namespace, pcs, component, role, kind, name     replicas, ready, desired
    by component  namespace, pcs, component, role                 wished
    by set        namespace, pcs                                  reason, incomplete, changes

`grove_dp_desired_replicas` is by object, for an HPA scales one object. What only a mode or an owner objects
to is in it, so that advice can be followed by whoever owns the object. While the picture is incomplete
nothing is wished for or desired: a series that is missing leaves a count as it is, a made-up one would not.
A process that stands by has no series at all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from grove_dp.scaling.decision import Decision
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.tree import Target

__all__ = ["Led", "Series"]

_SET: Final = ("namespace", "pcs")
_COMPONENT: Final = (*_SET, "component", "role")
_OBJECT: Final = (*_COMPONENT, "kind", "name")


class Led(NamedTuple):
    """One set that this process scales."""

    one: Autoscaler
    decision: Decision
    changes: Mapping[str, int]  # of replicas, by reason


class Series(Collector):
    """Of all sets that *led* tells of."""

    def __init__(self, led: Callable[[], Iterable[Led]]) -> None:
        self._led = led

    def collect(self) -> Iterator[Metric]:
        led = tuple(self._led())
        yield from _by_object(led)
        yield from _by_component(led)
        yield from _by_set(led)


def _by_object(led: Iterable[Led]) -> Iterator[Metric]:
    asked = GaugeMetricFamily("grove_dp_scaling_replicas", "Replicas that an object asks for", labels=_OBJECT)
    ready = GaugeMetricFamily("grove_dp_scaling_ready_replicas", "Of these, ready", labels=_OBJECT)
    desired = GaugeMetricFamily(
        "grove_dp_desired_replicas",
        "Replicas that an object is to have; for an HPA or KEDA with AverageValue 1",
        labels=_OBJECT,
    )
    for each in led:
        wanted = {step.move.target.key: step.desired for step in each.decision.steps}
        for labels, target in _objects(each):
            asked.add_metric(labels, target.replicas)
            ready.add_metric(labels, target.ready)
            if not each.decision.seen.missing:
                desired.add_metric(labels, wanted.get(target.key, target.replicas))
    yield from (asked, ready, desired)


def _objects(led: Led) -> Iterator[tuple[tuple[str, ...], Target]]:
    """All that it scales, with the labels of each."""
    tree, spec = led.decision.tree, led.one.spec
    if tree is None:
        return
    found: list[tuple[str, str, Target]] = [
        (one.spec.name, one.spec.role, target) for one in tree.components for target in one.targets
    ]
    if spec.set_replicas is not None:
        found.append(("", "", tree.top))
    for name, role, target in found:
        labels = (led.one.namespace, spec.pod_clique_set, name, role)
        yield (*labels, target.resource.kind, target.name), target


def _by_component(led: Iterable[Led]) -> Iterator[Metric]:
    wished = GaugeMetricFamily(
        "grove_dp_scaling_wished_replicas",
        "Replicas that the load asks for, before budget and levels",
        labels=_COMPONENT,
    )
    for each in led:
        if each.decision.seen.missing:
            continue
        for component in each.one.spec.components:
            if component.name in each.decision.wishes:
                labels = (each.one.namespace, each.one.spec.pod_clique_set, component.name, component.role)
                wished.add_metric(labels, each.decision.wishes[component.name].grow_to)
    yield wished


def _by_set(led: Iterable[Led]) -> Iterator[Metric]:
    reason = GaugeMetricFamily(
        "grove_dp_scaling_reason", "1 for the word of the last decision", labels=(*_SET, "reason")
    )
    incomplete = GaugeMetricFamily(
        "grove_dp_scaling_incomplete", "1 while something of the picture is missing", labels=_SET
    )
    changes = CounterMetricFamily("grove_dp_scaling_changes", "Changes of replicas", labels=(*_SET, "reason"))
    for each in led:
        labels = (each.one.namespace, each.one.spec.pod_clique_set)
        reason.add_metric((*labels, each.decision.reason), 1)
        incomplete.add_metric(labels, bool(each.decision.seen.missing))
        for word, count in each.changes.items():
            changes.add_metric((*labels, word), count)
    yield from (reason, incomplete, changes)

"""The operator's figures on a real control plane: how soon pods run, and what that costs.

Anchors are figures of Grove's own operator for the same work on the same kind of rig (two cores, API server,
scheduler, controller manager and a kubelet that is always ready beside it), measured once; of its figures for
a pod that comes back, a range, the upper end stands here. What is measured now shares its cores with all of
that, so bounds are on values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median

from grove_operator.api import GROUPS, SETS

from bench import results
from bench.operator.rig import NAMESPACE, Figures, Rig, a_set, clique, group, rig
from bench.results import Row

__all__ = ["measured"]

REPLICAS = 500
NODES = 100
WITHIN_S = 120.0
_numbers = count(1)


def measured(turns: int, replicas: int = REPLICAS) -> Iterator[Row]:
    """All rows; *turns* of what is small, of *replicas* replicas where it is large."""
    yield from large(replicas)
    yield from two_cliques(replicas)
    yield from small(turns)
    yield from whole_gang(turns)


def _row(name: str, value: float, unit: str, grove: float | None, must: float | None) -> Row:
    return results.row(
        name,
        value,
        unit,
        anchor=None if grove is None else "Grove",
        anchor_value=grove,
        must=None if must is None else f"value <= {must:g}",
    )


# ------------------------------------------------------------ large sets


def large(replicas: int) -> Iterator[Row]:
    """Replicas of one clique of two pods, from nothing to nothing."""
    pods = 2 * replicas
    with rig(NODES) as found:
        began = found.apply(a_set("web", clique("a", 2), count=replicas))
        found.until(lambda: len(found.ready()) == pods, WITHIN_S, f"{pods} pods are ready")
        times = sorted(seen.ready - began for seen in found.ready())
        found.calm()
        gone_s = found.remove("web")
        events = found.events()
        time.sleep(1)
    used = _used(found)
    writes = sum(used.writes.values()) / pods
    yield _row(f"{replicas} x 2 pods: first ready", times[0], "s", 35, 1)
    yield _row(f"{replicas} x 2 pods: all ready", times[-1], "s", 51.5, 25)
    yield _row("writes per pod, from create to delete", writes, "", 11.5, 6)
    yield _row("Events per gang", events / replicas, "", None, 1)
    yield _row("CPU of the operator", used.cpu_s - used.start_cpu_s, "s", 21, 21)
    yield _row("its peak memory", used.peak_mib, "MiB", None, 250)
    yield _row(f"{pods:,} pods deleted", gone_s, "s", 17.9, 15)


def two_cliques(replicas: int) -> Iterator[Row]:
    """Replicas of two cliques of one pod: twice as many objects to each pod."""
    pods = 2 * replicas
    with rig(NODES) as found:
        began = found.apply(a_set("web", clique("a", 1), clique("b", 1), count=replicas))
        found.until(lambda: len(found.ready()) == pods, WITHIN_S, f"{pods} pods are ready")
        ready_s = max(seen.ready for seen in found.ready()) - began
        found.calm()
        time.sleep(1)
    writes = sum(_used(found).writes.values()) / pods
    yield _row(f"{replicas} x 2 cliques of a pod: all ready", ready_s, "s", 98, 35)
    yield _row("writes per pod, two cliques", writes, "", 15.5, 8)


def _used(found: Rig) -> Figures:
    assert found.figures is not None
    return found.figures


# ------------------------------------------------------------ small ones


def small(turns: int) -> Iterator[Row]:
    """What a user waits for, the cluster idle otherwise."""
    with rig(4) as found:
        yield _row("new set of 4 pods ready", _median(turns, lambda: _new_set(found)), "s", 5.16, 0.3)
        yield _row("set with a scaled gang ready", _median(turns, lambda: _scaled(found)), "s", 10.5, 0.5)
        yield _row("group from 2 to 4 ready", _median(turns, lambda: _group(found)), "s", 0.4, 0.3)
        yield _row("pod back after its end", _median(turns, lambda: _recovery(found)), "s", 0.14, 0.15)
        yield _row("8 pods rolled", _median(turns, lambda: _roll(found)), "s", 0.9, 1)


def _median(turns: int, once: Callable[[], float]) -> float:
    return median(once() for _ in range(turns))


def _name() -> str:
    return f"s{next(_numbers)}"


def _all_ready(found: Rig, name: str, pods: int) -> float:
    """When the last of so many was."""
    prefix = f"{name}-"
    found.until(lambda: len(found.ready(prefix)) == pods == len(found.of(prefix)), 60, f"{pods} pods ready")
    return max(seen.ready for seen in found.ready(prefix))


def _new_set(found: Rig) -> float:
    name = _name()
    began = found.apply(a_set(name, clique("a", 4)))
    ready = _all_ready(found, name, 4)
    found.calm()
    found.remove(name)
    return ready - began


def _scaled(found: Rig) -> float:
    name = _name()
    began = found.apply(_with_group(name))
    ready = _all_ready(found, name, 8)
    found.calm()
    found.remove(name)
    return ready - began


def _with_group(name: str) -> dict[str, object]:
    return a_set(name, clique("a", 2), clique("b", 3), group("g", ["b"], 2))


def _group(found: Rig) -> float:
    name = _name()
    found.apply(_with_group(name))
    _all_ready(found, name, 8)
    found.calm()
    began = found.scale(GROUPS.path(NAMESPACE, f"{name}-0-g"), 4)
    ready = _all_ready(found, name, 14)
    found.calm()
    found.remove(name)
    return ready - began


def _recovery(found: Rig) -> float:
    name = _name()
    found.apply(a_set(name, clique("a", 4)))
    _all_ready(found, name, 4)
    found.calm()
    victim = next(pod for pod, seen in found.pods.items() if seen.owner == f"{name}-0-a")
    began = time.monotonic()
    found.api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{victim}")
    found.until(lambda: bool(found.pods[victim].gone), 10, "it is gone")
    ready = _all_ready(found, name, 4)
    found.calm()
    found.remove(name)
    return ready - began


def _roll(found: Rig) -> float:
    """Three cliques, eight pods, one after the other within each."""
    name = _name()
    parts = (clique("a", 2), clique("b", 3), clique("c", 3))
    found.apply(a_set(name, *parts))
    _all_ready(found, name, 8)
    found.calm()
    fresh = [clique("a", 2, image="none:2"), clique("b", 3, image="none:2"), clique("c", 3, image="none:2")]
    began = time.monotonic()
    found.api.patch(SETS.path(NAMESPACE, name), {"spec": {"template": {"cliques": fresh}}})
    prefix = f"{name}-"

    def rolled() -> bool:
        there = found.of(prefix)
        return len(there) == 8 and all(seen.image == "none:2" and seen.ready for seen in there)

    found.until(rolled, 60, "all are new")
    ready = max(seen.ready for seen in found.of(prefix))
    found.calm()
    found.remove(name)
    return ready - began


# ------------------------------------------------------------ all or nothing


def whole_gang(turns: int) -> Iterator[Row]:
    """Eight pods that must all be there, on nodes with room for one each, three of which are cordoned."""
    with rig(8, memory="150Mi", gpus=0) as found:
        taken = [_gang_of_eight(found) for _ in range(turns)]
    yield _row("gang of 8, room for 5: pods that run", max(early for early, _ in taken), "", 5, 0)
    yield _row("8 ready once there is room", median(later for _, later in taken), "s", None, 1)


def _gang_of_eight(found: Rig) -> tuple[int, float]:
    name = _name()
    _cordon(found, True)
    found.apply(a_set(name, clique("a", 8, memory="80Mi")))
    found.until(lambda: len(found.of(f"{name}-")) == 8, 20, "the pods are there")
    time.sleep(2)
    early = sum(1 for seen in found.of(f"{name}-") if seen.bound)
    began = time.monotonic()
    _cordon(found, False)
    ready = _all_ready(found, name, 8)
    found.calm()
    found.remove(name)
    return early, ready - began


def _cordon(found: Rig, closed: bool) -> None:
    for number in range(3):
        found.api.patch(f"/api/v1/nodes/node-{number}", {"spec": {"unschedulable": closed or None}})

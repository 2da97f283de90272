"""The operator's figures on a real control plane: how soon pods run, and what that costs.

Grove's figures are those of its own operator for the same work on the same rig (two cores, API server,
scheduler, controller manager, a kubelet that is always ready), on another day; of a range the upper end.
What is measured now shares its cores with all of that and with whatever else runs here, so two rows tell how
fast the machine itself was: as many pods without any operator, and the CPUs that others used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from statistics import median

from grove_operator.api import GROUPS, SETS

from bench import results
from bench.operator.machine import Busy, bare_s
from bench.operator.rig import NAMESPACE, Rig, a_set, clique, group, rig
from bench.results import Row
from grove_dp.kube.objects import NODES, PODS
from grove_dp.testing.controlplane.api import Document

__all__ = ["PARTS", "REPLICAS"]

REPLICAS = 500
NODES_LARGE = 100
WITHIN_S = 240.0
PATIENCE_S = 2.0  # in which pods of a gang that does not fit might run
LAST_WRITES_S = 1.0  # statuses follow what they tell of
_numbers = count(1)


def _row(name: str, value: float, unit: str, grove: float | None = None, must: float | None = None) -> Row:
    return results.row(
        name,
        value,
        unit,
        anchor=None if grove is None else "Grove",
        anchor_value=grove,
        must=None if must is None else f"value <= {must:g}",
    )


# ------------------------------------------------------------ large sets


def large(replicas: int, _: int) -> Iterator[Row]:
    """Replicas of one clique of two pods, from nothing to nothing."""
    pods = 2 * replicas
    with rig(NODES_LARGE) as found:
        bare = bare_s(found, pods)
        with found.operator():
            busy = Busy()
            began = found.apply(a_set("web", clique("a", 2), count=replicas))
            found.until(lambda: len(found.ready()) == pods, WITHIN_S, f"{pods} pods are ready")
            times = sorted(seen.ready - began for seen in found.ready())
            found.calm()
            gone_s = found.remove("web", WITHIN_S)
            time.sleep(LAST_WRITES_S)
            others = busy.others()
        writes, events = found.written()
    used = found.used
    yield _row(f"{pods:,} bare pods, no operator: all ready", bare, "s")
    yield _row("CPUs that others used", others, "")
    yield _row(f"{replicas} x 2 pods: first ready", times[0], "s", 35, 1)
    yield _row(f"{replicas} x 2 pods: all ready", times[-1], "s", 51.5, 25)
    yield _row("writes per pod, create to delete", writes / pods, "", 11.5, 6)
    yield _row("the same by its own count", sum(used.writes.values()) / pods, "")
    yield _row("Events per gang", events / replicas, "", None, 1)
    yield _row("CPU of the operator", used.cpu_s - used.start_cpu_s, "s", 21, 21)
    yield _row("its peak memory", used.peak_mib, "MiB", None, 250)
    yield _row(f"{pods:,} pods deleted", gone_s, "s", 17.9, 15)


def two_cliques(replicas: int, _: int) -> Iterator[Row]:
    """Replicas of two cliques of one pod: twice as many objects to each pod."""
    pods = 2 * replicas
    with rig(NODES_LARGE) as found:
        with found.operator():
            busy = Busy()
            began = found.apply(a_set("web", clique("a", 1), clique("b", 1), count=replicas))
            found.until(lambda: len(found.ready()) == pods, WITHIN_S, f"{pods} pods are ready")
            ready_s = max(seen.ready for seen in found.ready()) - began
            found.calm()
            found.remove("web", WITHIN_S)
            time.sleep(LAST_WRITES_S)
            others = busy.others()
        writes, _events = found.written()
    yield _row(f"{replicas} x 2 cliques of a pod: all ready", ready_s, "s", 98, 35)
    yield _row("writes per pod, two cliques", writes / pods, "", 15.5, 8)
    yield _row("CPUs that others used, two cliques", others, "")


# ------------------------------------------------------------ small ones


def small(_: int, turns: int) -> Iterator[Row]:
    """What a user waits for, the cluster idle otherwise."""
    with rig(4) as found, found.operator():
        busy = Busy()
        yield _row("4 bare pods, no set: ready", _median(turns, lambda: bare_s(found, 4)), "s")
        yield _row("new set of 4 pods ready", _median(turns, lambda: _new_set(found)), "s", 5.16, 0.3)
        yield _row("set with a scaled gang ready", _median(turns, lambda: _scaled(found)), "s", 10.5, 0.5)
        yield _row("group from 2 to 4 ready", _median(turns, lambda: _group(found)), "s", 0.4, 0.3)
        yield _row("pod back after its end", _median(turns, lambda: _recovery(found)), "s", 0.14, 0.15)
        yield _row("8 pods rolled", _median(turns, lambda: _roll(found)), "s", 0.9, 1)
        yield _row("CPUs that others used, small", busy.others(), "")


def _median(turns: int, once: Callable[[], float]) -> float:
    return median(once() for _ in range(turns))


def _name() -> str:
    return f"s{next(_numbers)}"


def _all_ready(found: Rig, name: str, pods: int) -> float:
    """When the last of so many was."""
    prefix = f"{name}-"
    found.until(lambda: len(found.ready(prefix)) == pods == len(found.of(prefix)), 60, f"{pods} pods ready")
    return max(seen.ready for seen in found.ready(prefix))


@contextmanager
def _running(found: Rig, name: str, document: Document, pods: int) -> Iterator[None]:
    """A set whose pods are ready; it is gone afterwards."""
    found.apply(document)
    _all_ready(found, name, pods)
    found.calm()
    yield
    found.calm()
    found.remove(name)


def _new_set(found: Rig) -> float:
    name = _name()
    return _until_ready(found, name, a_set(name, clique("a", 4)), 4)


def _scaled(found: Rig) -> float:
    name = _name()
    return _until_ready(found, name, _with_group(name), 8)


def _until_ready(found: Rig, name: str, document: Document, pods: int) -> float:
    began = found.apply(document)
    ready = _all_ready(found, name, pods)
    found.calm()
    found.remove(name)
    return ready - began


def _with_group(name: str) -> Document:
    return a_set(name, clique("a", 2), clique("b", 3), group("g", ["b"], 2))


def _group(found: Rig) -> float:
    name = _name()
    with _running(found, name, _with_group(name), 8):
        began = found.scale(GROUPS.path(NAMESPACE, f"{name}-0-g"), 4)
        return _all_ready(found, name, 14) - began


def _recovery(found: Rig) -> float:
    """From the deletion: the kubelet lets a pod end at once."""
    name = _name()
    with _running(found, name, a_set(name, clique("a", 4)), 4):
        victim = found.ready(f"{name}-")[0]
        began = time.monotonic()
        found.api.delete(PODS.path(NAMESPACE, victim.name))
        found.until(lambda: bool(victim.gone), 10, "it is gone")
        return _all_ready(found, name, 4) - began


def _roll(found: Rig) -> float:
    """Three cliques, eight pods, one after the other within each."""
    name, old, new = _name(), *(_three("none:1"), _three("none:2"))
    with _running(found, name, a_set(name, *old), 8):
        began = time.monotonic()
        found.api.patch(SETS.path(NAMESPACE, name), {"spec": {"template": {"cliques": new}}})

        def rolled() -> bool:
            there = found.of(f"{name}-")
            return len(there) == 8 and all(seen.image == "none:2" and seen.ready for seen in there)

        found.until(rolled, 60, "all are new")
        return max(seen.ready for seen in found.of(f"{name}-")) - began


def _three(image: str) -> list[Document]:
    return [clique("a", 2, image=image), clique("b", 3, image=image), clique("c", 3, image=image)]


# ------------------------------------------------------------ all or nothing


def whole_gang(_: int, turns: int) -> Iterator[Row]:
    """Eight pods that must all be there, on nodes with room for one each, three of which are cordoned."""
    with rig(8, memory="150Mi", gpus=0) as found, found.operator():
        taken = [_gang_of_eight(found) for _ in range(turns)]
    yield _row("gang of 8, room for 5: pods that run", max(early for early, _ in taken), "", 5, 0)
    yield _row("8 ready once there is room", median(later for _, later in taken), "s", None, 1)


def _gang_of_eight(found: Rig) -> tuple[int, float]:
    name = _name()
    _cordon(found, True)
    found.apply(a_set(name, clique("a", 8, memory="80Mi")))
    found.until(lambda: len(found.of(f"{name}-")) == 8, 20, "the pods are there")
    time.sleep(PATIENCE_S)
    early = sum(1 for seen in found.of(f"{name}-") if seen.bound)
    began = time.monotonic()
    _cordon(found, False)
    ready = _all_ready(found, name, 8)
    found.calm()
    found.remove(name)
    return early, ready - began


def _cordon(found: Rig, closed: bool) -> None:
    for number in range(3):
        found.api.patch(NODES.path(name=f"node-{number}"), {"spec": {"unschedulable": closed or None}})


Part = Callable[[int, int], Iterator[Row]]
PARTS: dict[str, Part] = {"large": large, "two": two_cliques, "small": small, "gang": whole_gang}

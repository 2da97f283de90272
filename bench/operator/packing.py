"""python -m bench.operator.packing: what it costs to find places for a gang among 5,000 nodes, or to refuse.

CPU time of one thread, median of many decisions. Half of the nodes are in use, each to another degree, so
that no answer is trivial. A rack has 8 nodes of 8 GPUs, a block 100 nodes, a zone 1,000.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
from grove_operator.gang.needs import needs
from grove_operator.gang.pack import Ask, AskConfig, AskGroup, AskPod, Packing, Placement, place
from grove_operator.gang.preemption import preemption
from grove_operator.gang.room import Room, RoomNode
from grove_operator.pods import Pod

from bench import results
from bench.micro.cases import load
from bench.micro.samples import YARDSTICK
from bench.results import Row, row

__all__ = ["rows"]

NODES = 5000
TURNS = 101
QUIET_US = 1.9  # the calibration loop of bench/micro on a quiet core of 2.4 GHz
PODS = 1000  # changes of pods in one measurement
GPU = "nvidia.com/gpu"
ZONE, BLOCK, RACK, HOST = "zone", "block", "rack", "kubernetes.io/hostname"
WORKER = {"cpu": "8", "memory": "64Gi", GPU: "2"}
LEADER = {"cpu": "16", "memory": "32Gi", GPU: "1"}


def node(at: int, count: int = 0) -> RoomNode:
    """One of the cluster's; *count*: changes it a little."""
    name = f"node-{at:05}"
    labels = {ZONE: f"z-{at // 1000}", BLOCK: f"b-{at // 100}", RACK: f"r-{at // 8}", HOST: name}
    allocatable = {"cpu": str(128 + count), "memory": "1024Gi", GPU: "8", "pods": "110"}
    told = {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}}
    return msgspec.convert(told, RoomNode)


def pod(name: str, requests: dict[str, str], on: str = "") -> Pod:
    """Of one container."""
    containers = [{"name": "main", "resources": {"requests": requests}}]
    meta = {"name": name, "namespace": "bench"}
    return msgspec.convert({"metadata": meta, "spec": {"nodeName": on, "containers": containers}}, Pod)


def cluster(full: bool = False) -> Room:
    """Every node in use to another degree, or *full* of GPU pods."""
    room = Room()
    for at in range(NODES):
        room.put_node(node(at))
        used = 8 if full else (at * 7919) % 8 if at % 2 else 0
        if used:
            room.put_pod(pod(f"old-{at}", {"cpu": "4", GPU: str(used)}, on=f"node-{at:05}"))
    return room


def group(name: str, count: int, requests: dict[str, str], pack: Packing) -> AskGroup:
    """Pods of equal needs."""
    pods = (pod(f"{name}-{at}", requests) for at in range(count))
    return AskGroup(name, tuple(AskPod(("bench", one.metadata.name), needs(one)) for one in pods), (), pack)


def flat(count: int, pack: Packing | None = None) -> Ask:
    """One clique."""
    return Ask((group("worker", count, WORKER, Packing()),), pack or Packing())


def nested(replicas: int, each: int, host: bool = False) -> Ask:
    """In one block, replicas of a leader and workers with a rack each; workers on one host, if asked."""
    groups, configs = [], []
    for at in range(replicas):
        groups += [
            group(f"leader-{at}", 1, LEADER, Packing()),
            group(f"worker-{at}", each - 1, WORKER, Packing(HOST) if host else Packing()),
        ]
        configs.append(AskConfig((f"leader-{at}", f"worker-{at}"), Packing(RACK)))
    return Ask(tuple(groups), Packing(BLOCK), tuple(configs))


def _median_us(case: Callable[[], Any], turns: int) -> float:
    taken = []
    case()
    for _ in range(turns):
        begin = time.thread_time_ns()
        case()
        taken.append(time.thread_time_ns() - begin)
    return statistics.median(taken) / 1e3


def decisions(room: Room, full: Room) -> Iterator[tuple[str, Room, Ask, bool, float | None, float | None]]:
    """Name, room, ask, whether there is a place, must and aim in us on a quiet core."""
    yield "20 pods, anywhere", room, flat(20), True, 2000, 1000
    yield "20 pods, one rack", room, flat(20, Packing(RACK)), True, 2000, 1000
    yield (
        "20 pods, rack preferred",
        room,
        flat(20, Packing(ZONE, RACK)),
        True,
        2000,
        1000,
    )
    yield "20 pods, block > 5 racks", room, nested(5, 4), True, 2000, 1000
    yield "20 pods, block > 5 racks > hosts", room, nested(5, 4, host=True), True, None, 2000
    yield "200 pods, anywhere", room, flat(200), True, None, None
    yield "200 pods, block > 20 racks", room, nested(20, 10), True, None, None
    yield "200 pods, refused: one rack", room, flat(200, Packing(RACK)), False, 1000, None
    yield "300 pods, refused: block > 30 racks", room, nested(30, 10), False, None, None
    yield "200 pods, refused: all full", full, flat(200), False, 1000, None


class Yardstick:
    """The loop of bench/micro: bounds are ratios to it, for CPU time grows by half on a busy machine."""

    def __init__(self) -> None:
        self._walk = load().on("calibration", YARDSTICK)

    def us(self) -> float:
        """What a step of it takes now."""
        return _median_us(partial(self._walk, 2000), 5) / 2000

    def row(self, name: str, us: float, must: float | None = None, aim: float | None = None) -> Row:
        """*must*, *aim*: us on a quiet core."""
        bounds = [None if bound is None else f"ratio <= {bound / QUIET_US:.0f}" for bound in (must, aim)]
        return row(
            name, us, "us CPU", anchor="calibration", anchor_value=self.us(), must=bounds[0], aim=bounds[1]
        )


def changes(room: Room, yardstick: Yardstick, turns: int) -> Iterator[Row]:
    """What the room costs as pods and nodes change."""
    bound = [pod(f"new-{at}", WORKER, on=f"node-{at % NODES:05}") for at in range(PODS)]

    def come() -> None:
        for one in bound:
            one.__dict__.clear()  # as the watch brings them: nothing is known of them yet
            room.put_pod(one)

    def go() -> None:
        for one in bound:
            room.drop_pod("bench", one.metadata.name)

    came: list[float] = []
    told: list[float] = []
    gone: list[float] = []
    for _ in range(turns):
        for taken, case in ((came, come), (told, come), (gone, go)):
            begin = time.thread_time_ns()
            case()
            taken.append((time.thread_time_ns() - begin) / PODS / 1e3)
    yield yardstick.row("a pod is bound", statistics.median(came), must=20)
    yield yardstick.row("a pod's status changes", statistics.median(told), must=20)
    yield yardstick.row("a pod is gone", statistics.median(gone), must=20)
    nodes = [node(7), node(7, 1)] * 5

    def nudge() -> None:
        for one in nodes:
            room.put_node(one)

    yield yardstick.row("a node changes", _median_us(nudge, turns) / len(nodes))
    ask = flat(20, Packing(RACK))

    def decide_anew() -> None:
        room.put_node(nodes[0])
        room.put_node(nodes[1])
        place(room, ask)

    yield yardstick.row("20 pods, one rack, right after a change of nodes", _median_us(decide_anew, turns))


def displacing(full: Room, yardstick: Yardstick, turns: int) -> Iterator[Row]:
    """Places at the cost of pods of lower priority, of which every node is full; once for a gang."""
    for name, ask in (("anywhere", flat(20)), ("block > 5 racks", nested(5, 4))):
        if preemption(full, ask, 10) is None:
            raise AssertionError(f"{name}: no place at any cost")
        taken = _median_us(partial(preemption, full, ask, 10), max(3, turns // 5))
        yield yardstick.row(f"20 pods, {name}, at the cost of others", taken)
    taken = _median_us(partial(preemption, full, flat(20), 0), turns)
    yield yardstick.row("20 pods, nobody of lower priority", taken)


def rows(turns: int = TURNS) -> Iterator[Row]:
    """Decisions, and changes of pods and nodes."""
    room, full, yardstick = cluster(), cluster(full=True), Yardstick()
    for name, at, ask, there, must, aim in decisions(room, full):
        if isinstance(place(at, ask), Placement) is not there:
            raise AssertionError(f"{name}: not {there}")
        yield yardstick.row(name, _median_us(partial(place, at, ask), turns), must, aim)
    yield from displacing(full, yardstick, turns)
    yield from changes(room, yardstick, max(3, turns // 5))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.operator.packing", description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS, help="decisions of each (default: %(default)s)")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    asked = parser.parse_args(argv)
    found = results.new("python -m bench.operator.packing", list(rows(asked.turns)))
    print(results.table_text(found.rows))
    return results.gate(found) if asked.gate else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

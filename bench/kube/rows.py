"""The figures of the Kubernetes layer, each beside the `kubernetes` package on the same bytes.

CPU time of this process, not wall time: the API server shares the two cores of a small machine, and what it
takes is not ours to judge. The musts were set beside the package's figures on one machine (50,000 events/s
where its typed watch makes 3,800, a list in 10 ms for 561, a patch in 0.35 ms for 0.82, an import in 450 ms
for 360), so here they are ratios. Both run on uvloop, as the product does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import uvloop

from bench import results
from bench.kube.cluster import Recording, filled, recorded, replayed
from bench.kube.writes import configured
from bench.results import Row
from grove_dp.kube.access import connect
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import PODS, Pod

__all__ = ["measured"]

POD_COUNT = 1_000
EVENTS = 20_000
PACKAGE_EVENTS = 1_000
LAYER = "access cluster conditions controller events informer lease objects queue store"


def measured(turns: int) -> Iterator[Row]:
    """All rows; *turns* of each, medians."""
    yield import_row(turns)
    for kind in ("plain", "Grove's"):
        with filled(POD_COUNT, plain=kind == "plain") as plane:
            recording = recorded(plane.api, POD_COUNT, EVENTS)
            if kind != "plain":
                yield from patch_rows(plane.admin.kubeconfig, turns)
        size = len(recording.listed) / recording.pods / 1024
        yield results.row(f"a pod in a list, {kind}", size, "KiB")
        yield list_row(recording, kind, turns)
        yield memory_row(recording, kind)
        with replayed(recording) as kubeconfig:
            yield from watch_rows(kubeconfig, recording.last, kind, turns)


# ------------------------------------------------------------ import


def import_row(turns: int) -> Row:
    """A fresh interpreter that imports all of the layer, less one that imports nothing."""
    names = ", ".join(f"grove_dp.kube.{name}" for name in LAYER.split())
    whole, package, bare = [], [], []
    for _ in range(turns):
        whole.append(_interpreter_s(f"import {names}"))
        package.append(_interpreter_s("import kubernetes.aio.client, kubernetes.aio.config"))
        bare.append(_interpreter_s("pass"))
    return results.row(
        "import of the layer, the package in it",
        (median(whole) - median(bare)) * 1e3,
        "ms",
        anchor="kubernetes",
        anchor_value=(median(package) - median(bare)) * 1e3,
        must="ratio <= 1.25",
    )


def _interpreter_s(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


# ------------------------------------------------------------ lists and memory


def list_row(recording: Recording, kind: str, turns: int) -> Row:
    """The answer to a list of all pods, from bytes to objects."""
    from kubernetes.aio import client

    class Body(msgspec.Struct):
        items: list[Pod]

    typed = client.ApiClient.__new__(client.ApiClient)
    typed.configuration = type.__call__(client.Configuration)
    text = recording.listed.decode()
    ours = [_cpu_s(lambda: msgspec.json.decode(recording.listed, type=Body)) for _ in range(turns)]
    theirs = _cpu_s(lambda: typed.deserialize(text, "V1PodList", "application/json"))
    return results.row(
        f"list of {recording.pods:,} pods decoded, {kind}",
        median(ours) * 1e3,
        "ms CPU",
        anchor="kubernetes",
        anchor_value=theirs * 1e3,
        must="ratio <= 0.0178",
    )


def memory_row(recording: Recording, kind: str) -> Row:
    """An informer's pods, after a list."""
    informer = Informer(_Silent(), PODS, Pod, indexes={"node": lambda pod: [pod.spec.node_name]})  # type: ignore[arg-type]
    items = msgspec.json.decode(recording.listed, type=_Items).items
    gc.collect()
    tracemalloc.start()
    for item in items:
        informer.wrote(msgspec.json.decode(item, type=Pod))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return results.row(f"memory of a cached pod, {kind}", held / len(items) / 1024, "KiB", must="value <= 3")


class _Items(msgspec.Struct):
    items: list[msgspec.Raw]


class _Silent:
    """No API server is asked."""

    host = namespace = ""


# ------------------------------------------------------------ watches


def watch_rows(kubeconfig: Path, last: str, kind: str, turns: int) -> Iterator[Row]:
    """Recorded events over TLS: into an informer with an index, and through the package's typed watch.

    *last* is the last event's version.
    """
    ours = [uvloop.run(_informed(kubeconfig, last)) for _ in range(turns)]
    theirs = uvloop.run(_watched_by_package(kubeconfig))
    yield results.row(
        f"watch intake, {kind}",
        median(EVENTS / cpu for cpu, _ in ours),
        "events/s of CPU",
        anchor="kubernetes",
        anchor_value=theirs,
        must="ratio >= 13.2",
    )
    yield results.row(
        f"watch intake, {kind}, by the clock", median(EVENTS / wall for _, wall in ours), "events/s"
    )


async def _informed(kubeconfig: Path, last: str) -> tuple[float, float]:
    """CPU and wall seconds that all events took."""
    async with await connect(kubeconfig) as api:
        pods = Informer(api, PODS, Pod, page=10_000, indexes={"node": lambda pod: [pod.spec.node_name]})
        running = asyncio.create_task(pods.run())
        await pods.synced()
        cpu, wall = time.process_time(), time.perf_counter()
        await pods.reached(last)
        taken = time.process_time() - cpu, time.perf_counter() - wall
        await _ended(running)
    return taken


async def _watched_by_package(kubeconfig: Path) -> float:
    """Events per second of CPU."""
    from kubernetes.aio import client, watch

    package_watch: Any = watch.Watch
    async with client.ApiClient(await configured(kubeconfig)) as api:
        found = package_watch()
        events = found.stream(client.CoreV1Api(api).list_pod_for_all_namespaces)
        cpu, seen = 0.0, 0
        async for _ in events:
            cpu = cpu or time.process_time()
            seen += 1
            if seen == PACKAGE_EVENTS:
                break
        taken = time.process_time() - cpu
        await found.close()
        await found._api_client.close()
    return (PACKAGE_EVENTS - 1) / taken


# ------------------------------------------------------------ writes


def patch_rows(kubeconfig: Path, turns: int) -> Iterator[Row]:
    """One label of one pod after the other, on the real API server; each turn in a process of its own."""
    ours = [_written_ms(kubeconfig, "ours") for _ in range(turns)]
    theirs = [_written_ms(kubeconfig, "package") for _ in range(min(turns, 3))]
    yield results.row(
        "a merge patch",
        median(ours),
        "ms CPU",
        anchor="kubernetes",
        anchor_value=median(theirs),
        must="ratio <= 0.427",
    )


def _written_ms(kubeconfig: Path, who: str) -> float:
    command = [sys.executable, "-m", "bench.kube.writes", str(kubeconfig), who]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _cpu_s(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

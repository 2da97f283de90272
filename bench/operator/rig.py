"""A real control plane with nodes and a kubelet, the operator as a process of its own, and a witness.

The witness watches pods and notes when each came, got a node, was Ready, went; the operator's own figures
(writes, CPU, memory) are what its process says at its end.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from grove_operator.api import SETS
from grove_operator.crds import definitions

from grove_dp.testing.controlplane import ControlPlane
from grove_dp.testing.controlplane.api import Api, Document
from grove_dp.testing.kubelet import FakeKubelet

__all__ = ["NAMESPACE", "Figures", "Rig", "Seen", "a_set", "clique", "group", "rig"]

NAMESPACE = "bench"
CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KINDS = ("podcliquesets", "podcliques", "podcliquescalinggroups", "clustertopologybindings")
LOOK_S = 0.02
CALM_S = 0.5  # without a change of any pod


class Figures(msgspec.Struct, frozen=True):
    """What the operator's process used."""

    writes: Mapping[str, int]
    errors: Mapping[str, int]
    cpu_s: float
    start_cpu_s: float
    peak_mib: float


class Seen(msgspec.Struct):
    """Of a pod, in seconds of the monotonic clock."""

    owner: str
    image: str
    made: float
    bound: float = 0.0
    ready: float = 0.0
    gone: float = 0.0


class Rig:
    """One control plane, and who watches it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.api: Api = plane.api
        self.pods: dict[str, Seen] = {}
        self.figures: Figures | None = None
        self.changed = time.monotonic()
        self._watch = self.api.watch(f"/api/v1/namespaces/{NAMESPACE}/pods")
        self._thread = threading.Thread(target=self._read, name="witness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more is noted."""
        self._watch.close()
        self._thread.join()

    def _read(self) -> None:
        for kind, pod in self._watch:
            now = self.changed = time.monotonic()
            seen = self.pods.get(pod["metadata"]["name"])
            if seen is None:
                owner = (pod["metadata"].get("labels") or {}).get("grove.io/podclique", "")
                seen = Seen(owner, pod["spec"]["containers"][0]["image"], now)
                self.pods[pod["metadata"]["name"]] = seen
            conditions = pod["status"].get("conditions") or ()
            if pod["spec"].get("nodeName"):
                seen.bound = seen.bound or now
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                seen.ready = seen.ready or now
            if kind == "DELETED":
                seen.gone = now

    # ------------------------------------------------------------ what there is

    def of(self, prefix: str = "") -> list[Seen]:
        """Pods of cliques whose names begin so, that are there."""
        return [seen for seen in list(self.pods.values()) if seen.owner.startswith(prefix) and not seen.gone]

    def ready(self, prefix: str = "") -> list[Seen]:
        """Those that are, or were, Ready."""
        return [seen for seen in self.of(prefix) if seen.ready]

    def until(self, holds: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait until it is so."""
        end = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > end:
                there, ready = len(self.of()), len(self.ready())
                told = f"{there} pods are there, {ready} of them ready"
                raise TimeoutError(f"not within {within_s:g} s: {what}; {told}")
            time.sleep(LOOK_S)

    def calm(self) -> None:
        """Wait until nothing happens any more."""
        self.until(lambda: time.monotonic() - self.changed > CALM_S, 60, "no pod changes")

    # ------------------------------------------------------------ what is done

    def apply(self, document: Document) -> float:
        """Create a set; when that was."""
        began = time.monotonic()
        self.api.create(SETS.path(NAMESPACE), document)
        return began

    def scale(self, path: str, replicas: int) -> float:
        """Through the scale sub-resource; when that was."""
        began = time.monotonic()
        self.api.patch(f"{path}/scale", {"spec": {"replicas": replicas}})
        return began

    def remove(self, name: str, within_s: float = 120.0) -> float:
        """Delete a set and wait until its pods are gone; how long that took."""
        prefix = f"{name}-"
        began = time.monotonic()
        self.api.delete(SETS.path(NAMESPACE, name))
        self.until(lambda: not self.of(prefix), within_s, "its pods are gone")
        gone = max(seen.gone for seen in list(self.pods.values()) if seen.owner.startswith(prefix))
        self.until(lambda: not self._is_there(name), within_s, "the set is gone")
        return gone - began

    def _is_there(self, name: str) -> bool:
        return self.api.call("GET", SETS.path(NAMESPACE, name)).status == 200

    def events(self) -> int:
        """How many Events the operator has told."""
        items = self.api.get(f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
        return sum(1 for one in items if "grove" in str(one.get("reportingComponent", "")))


@contextmanager
def rig(nodes: int, **shape: Any) -> Iterator[Rig]:
    """All of it, ready; `figures` are there at its end."""
    with ControlPlane(scheduler=True, controller_manager=True) as plane, FakeKubelet(plane.api):
        plane.namespace(NAMESPACE)
        _serve(plane.api)
        plane.add_nodes(nodes, **shape)
        found = Rig(plane)
        try:
            with _operator(plane.admin.kubeconfig, found):
                yield found
        finally:
            found.close()


def _serve(api: Api) -> None:
    for document in definitions():
        api.create(CUSTOM, document)
    for kind in KINDS:
        api.until(f"/apis/grove.io/v1alpha1/{kind}", lambda _: True, 20, "it is served")
    api.until("/apis/scheduler.grove.io/v1alpha1/podgangs", lambda _: True, 20, "it is served")


@contextmanager
def _operator(kubeconfig: Path, found: Rig) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.operator.process", str(kubeconfig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the operator does not start")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            told = process.stdout.read()
    found.figures = msgspec.json.decode(told.strip().splitlines()[-1], type=Figures)


# ------------------------------------------------------------ sets


def clique(name: str, count: int, memory: str = "10Mi", image: str = "none:1") -> Document:
    """A clique of which all pods must be there."""
    requests = {"cpu": "10m", "memory": memory}
    container = {"name": "main", "image": image, "resources": {"requests": requests}}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 30}
    return {
        "name": name,
        "spec": {"roleName": name, "replicas": count, "minAvailable": count, "podSpec": pod},
    }


def group(name: str, members: Sequence[str], count: int) -> Document:
    """A group of which one replica must be there."""
    return {"name": name, "cliqueNames": list(members), "replicas": count, "minAvailable": 1}


def a_set(name: str, *parts: Document, count: int = 1) -> Document:
    """A PodCliqueSet of cliques and groups."""
    cliques = [part for part in parts if "spec" in part]
    groups = [part for part in parts if "spec" not in part]
    return {
        "apiVersion": SETS.api_version,
        "kind": SETS.kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": count,
            "template": {"cliques": cliques, **({"podCliqueScalingGroups": groups} if groups else {})},
        },
    }

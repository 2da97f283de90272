"""A real control plane with nodes, a kubelet and the operator as processes of their own, and a witness.

The witness notes what becomes of each pod. What the operator used its process says at its end; what it wrote
is told a second time by the API server's audit log.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from grove_operator.api import SETS
from grove_operator.crds import definitions

from bench.operator.witness import Seen, Witness
from grove_dp.testing.controlplane import ControlPlane
from grove_dp.testing.controlplane.api import Api, Document

__all__ = ["NAMESPACE", "Figures", "Rig", "a_set", "clique", "group", "rig"]

NAMESPACE = "bench"
OPERATOR = "operator"  # the user
CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KINDS = ("podcliquesets", "podcliques", "podcliquescalinggroups", "clustertopologybindings")
LOOK_S = 0.01
CALM_S = 0.5  # without a change of any pod
ANNOUNCED_S = 2.0  # the API server's own delay with what a new CRD brings


class Figures(msgspec.Struct, frozen=True):
    """What the operator's process used."""

    writes: Mapping[str, int]  # by kind and verb, without Events
    errors: Mapping[str, int]
    cpu_s: float
    start_cpu_s: float
    peak_mib: float


class Rig:
    """One control plane, and who watches it."""

    def __init__(self, plane: ControlPlane, witness: Witness) -> None:
        self.plane = plane
        self.api: Api = plane.api
        self.witness = witness
        self._used: Figures | None = None

    @property
    def used(self) -> Figures:
        """By the operator, once it has ended."""
        assert self._used is not None, "it runs"
        return self._used

    # ------------------------------------------------------------ what there is

    def of(self, prefix: str = "") -> list[Seen]:
        """Pods of cliques whose names begin so, that are there."""
        return self.witness.there(prefix)

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
        self.until(lambda: time.monotonic() - self.witness.changed > CALM_S, 60, "no pod changes")

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
        gone = max(seen.gone for seen in self.witness.all(prefix))
        self.until(lambda: not self._is_there(name), within_s, "the set is gone")
        return gone - began

    def _is_there(self, name: str) -> bool:
        return self.api.call("GET", SETS.path(NAMESPACE, name)).status == 200

    def written(self) -> tuple[int, int]:
        """What the API server accepted of the operator so far: writes, and Events apart."""
        mine = [one.resource for one in self.plane.writes() if one.user == OPERATOR and one.done]
        events = mine.count("events")
        return len(mine) - events, events

    @contextmanager
    def operator(self) -> Iterator[None]:
        """It works meanwhile, and has told its figures afterwards."""
        kubeconfig = self.plane.user(OPERATOR, "system:masters").kubeconfig
        with _process("bench.operator.process", kubeconfig) as process:
            yield
            process.terminate()
            assert process.stdout is not None
            told = process.stdout.read()
        self._used = msgspec.json.decode(told.strip().splitlines()[-1], type=Figures)


@contextmanager
def rig(nodes: int, **shape: Any) -> Iterator[Rig]:
    """All of it but the operator, ready."""
    with ControlPlane(scheduler=True, controller_manager=True, audit=True) as plane, ExitStack() as stack:
        plane.namespace(NAMESPACE)
        _serve(plane.api)
        plane.add_nodes(nodes, **shape)
        kubelet = plane.user("kubelet", "system:masters").kubeconfig
        stack.enter_context(_process("bench.operator.kubelet", kubelet))
        yield Rig(plane, stack.enter_context(Witness(plane.admin.kubeconfig, NAMESPACE)))


def _serve(api: Api) -> None:
    for document in definitions():
        api.create(CUSTOM, document)
    for kind in KINDS:
        api.until(f"/apis/grove.io/v1alpha1/{kind}", lambda _: True, 20, "it is served")
    api.until("/apis/scheduler.grove.io/v1alpha1/podgangs", lambda _: True, 20, "it is served")
    time.sleep(ANNOUNCED_S)


@contextmanager
def _process(module: str, kubeconfig: Path) -> Iterator[subprocess.Popen[str]]:
    """One of ours that says `ready` and ends by SIGTERM."""
    command = [sys.executable, "-m", module, str(kubeconfig)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{module} does not start")
            yield process
        finally:
            process.terminate()


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

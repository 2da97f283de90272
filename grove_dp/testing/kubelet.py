"""A kubelet for all nodes at once: pods bound to a node run, deleted pods go. No container is started.

    watch pods with a node ──► Pending            ──► status: Running and ready, with an address
                               deletionTimestamp  ──► gone at once, if it is still the same pod

Create → Running takes 15 ms with the scheduler; 1,000 pods 3 s with four threads writing. Which address a pod
gets is an argument: tests whose pods are processes on loopback give theirs.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec

from grove_dp.testing.controlplane.api import Api, ApiRefused, Document, Watch

__all__ = ["FakeKubelet"]

WRITERS = 4
READY = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


class FakeKubelet:
    """Runs in threads of its own between `start` and `close`. *address* gives a pod its IP address."""

    def __init__(self, api: Api, address: Callable[[Document], str] | None = None) -> None:
        self._api = api
        self._numbers = itertools.count(1)
        self._address = address or (lambda _: f"10.64.{(number := next(self._numbers)) >> 8}.{number & 255}")
        self._started: set[str] = set()
        self._writers = ThreadPoolExecutor(WRITERS, "kubelet")
        self._reader = threading.Thread(target=self._read, name="kubelet", daemon=True)
        self._closing = threading.Event()
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """From now on pods run."""
        self._reader.start()

    def close(self) -> None:
        """Pods stay as they are."""
        self._closing.set()
        if self._watch is not None:
            self._watch.close()
        self._reader.join()
        self._writers.shutdown()

    # ------------------------------------------------------------ what containers would do

    def set_ready(self, namespace: str, name: str, ready: bool) -> Document:
        """The pod passes its readiness probe, or fails it."""
        pod = self._api.get(_path(namespace, name))
        return self._write(pod, _running(pod, pod["status"]["podIP"], ready))

    def fail(self, namespace: str, name: str, code: int = 1, reason: str = "Error") -> Document:
        """All containers end with this exit code, and nothing starts them again."""
        pod = self._api.get(_path(namespace, name))
        return self._write(pod, _failed(pod, code, reason))

    # ------------------------------------------------------------ the loop

    def _read(self) -> None:
        while not self._closing.is_set():
            try:
                self._watch = self._api.watch("/api/v1/pods", fieldSelector="spec.nodeName!=")
                if self._closing.is_set():  # closed between the two lines above: nobody else would
                    self._watch.close()
                for _, pod in self._watch:
                    self._act(pod)
            except (OSError, ApiRefused):  # the API server restarts: begin again with what is there then
                self._closing.wait(0.1)

    def _act(self, pod: Document) -> None:
        if pod.get("kind") != "Pod":  # an error document ends the watch
            return
        if "deletionTimestamp" in pod["metadata"]:
            self._writers.submit(self._stop, pod)
        elif pod["status"].get("phase") == "Pending" and pod["metadata"]["uid"] not in self._started:
            self._started.add(pod["metadata"]["uid"])
            self._writers.submit(self._run, pod)

    def _run(self, pod: Document) -> None:
        try:
            self._write(pod, _running(pod, self._address(pod), ready=True))
        except (OSError, ApiRefused):  # it is gone, or will come again with the next watch
            self._started.discard(pod["metadata"]["uid"])

    def _stop(self, pod: Document) -> None:
        metadata = pod["metadata"]
        self._started.discard(metadata["uid"])
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        self._api.call(
            "DELETE",
            _path(metadata["namespace"], metadata["name"]),
            msgspec.json.encode(options),
            {"Content-Type": "application/json"},
        )

    def _write(self, pod: Document, status: Document) -> Document:
        metadata = pod["metadata"]
        change = {"metadata": {"uid": metadata["uid"]}, "status": status}
        return self._api.patch(
            f"{_path(metadata['namespace'], metadata['name'])}/status", change, "strategic"
        )


def _path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditions(ready: bool) -> list[Document]:
    words = {"ContainersReady": ready, "Ready": ready}
    return [
        {"type": kind, "status": str(words.get(kind, True)), "lastTransitionTime": _now()} for kind in READY
    ]


def _running(pod: Document, address: str, ready: bool) -> Document:
    since = pod["status"].get("startTime") or _now()
    return {
        "phase": "Running",
        "startTime": since,
        "hostIP": "127.0.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": _conditions(ready),
        "containerStatuses": [
            _container(container, {"running": {"startedAt": since}}, ready)
            for container in pod["spec"]["containers"]
        ],
    }


def _failed(pod: Document, code: int, reason: str) -> Document:
    ended = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": _now()}}
    return {
        "phase": "Failed",
        "conditions": _conditions(ready=False),
        "containerStatuses": [_container(container, ended, False) for container in pod["spec"]["containers"]],
    }


def _container(container: Document, state: Document, ready: bool) -> Document:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": ready,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }

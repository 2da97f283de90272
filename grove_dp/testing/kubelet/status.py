"""What a kubelet writes into a pod's status.

Conditions of others (the scheduler's, an eviction's) are kept: the status goes out as a merge patch, which
replaces whole lists, because that is the one patch that both the real API server and ours understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["HOST", "Document", "failed", "initialising", "running", "unready"]

Document = dict[str, Any]
HOST: Final = "127.0.0.1"
OWN: Final = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


def running(pod: Document, address: str, ready: bool, now: str) -> Document:
    """Its containers run."""
    since = pod["status"].get("startTime") or now
    spec = pod["spec"]
    status: Document = {
        "phase": "Running",
        "startTime": since,
        "hostIP": HOST,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": _conditions(pod, {"ContainersReady": ready, "Ready": ready}, now),
        "containerStatuses": [
            _container(container, {"running": {"startedAt": since}}, ready)
            for container in spec["containers"]
        ],
    }
    if spec.get("initContainers"):
        status["initContainerStatuses"] = _inits(spec["initContainers"], len(spec["initContainers"]), now)
    return status


def initialising(pod: Document, done: int, now: str) -> Document:
    """So many of its init containers have ended well, and the next one runs."""
    spec = pod["spec"]
    words = {"Initialized": False, "ContainersReady": False, "Ready": False}
    waiting = {"waiting": {"reason": "PodInitializing"}}
    return {
        "phase": "Pending",
        "startTime": pod["status"].get("startTime") or now,
        "hostIP": HOST,
        "conditions": _conditions(pod, words, now),
        "initContainerStatuses": _inits(spec["initContainers"], done, now),
        "containerStatuses": [_container(container, waiting, False) for container in spec["containers"]],
    }


def failed(pod: Document, code: int, reason: str, now: str) -> Document:
    """Its containers have ended, and nothing starts them again."""
    ended = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now}}
    return {
        "phase": "Succeeded" if code == 0 else "Failed",
        "conditions": _conditions(pod, {"ContainersReady": False, "Ready": False}, now),
        "containerStatuses": [_container(container, ended, False) for container in pod["spec"]["containers"]],
    }


def unready(pod: Document, reason: str, now: str) -> Document:
    """Nobody knows how it is: what the node controller writes for the pods of a lost node."""
    conditions = _conditions(pod, {"ContainersReady": None, "Ready": False}, now)
    return {
        "conditions": [
            {**condition, "reason": reason} if condition["type"] == "Ready" else condition
            for condition in conditions
        ]
    }


def _conditions(pod: Document, words: Mapping[str, bool | None], now: str) -> list[Document]:
    """All there were, and ours; a time changes only with its condition."""
    before = {condition["type"]: condition for condition in pod["status"].get("conditions") or []}
    made = [condition for kind, condition in before.items() if kind not in OWN]
    for kind in OWN:
        word = words.get(kind, True)
        old = before.get(kind)
        if word is None:
            made += [old] if old else []
        elif old is not None and old["status"] == str(word):
            made.append({"type": kind, "status": str(word), "lastTransitionTime": old["lastTransitionTime"]})
        else:
            made.append({"type": kind, "status": str(word), "lastTransitionTime": now})
    return made


def _inits(containers: list[Document], done: int, now: str) -> list[Document]:
    states: Iterable[Document] = (
        {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now}}
        if index < done
        else {"running": {"startedAt": now}}
        if index == done
        else {"waiting": {"reason": "PodInitializing"}}
        for index in range(len(containers))
    )
    return [
        _container(container, state, "terminated" in state)
        for container, state in zip(containers, states, strict=True)
    ]


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

"""Fake nodes: objects with a status and nobody behind them. A `FakeKubelet` acts for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grove_dp.testing.controlplane.api import Document

__all__ = ["node"]


def node(
    name: str,
    *,
    gpus: int = 8,
    cpu: str = "64",
    memory: str = "512Gi",
    pods: int = 110,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] = (),
) -> Document:
    """A ready node. Its status is kept on create, unlike that of most objects."""
    room = {"cpu": cpu, "memory": memory, "pods": str(pods), "ephemeral-storage": "1Ti"}
    if gpus:
        room["nvidia.com/gpu"] = str(gpus)
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "a node for tests"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": list(taints)},
        "status": {"capacity": room, "allocatable": room, "conditions": [ready]},
    }

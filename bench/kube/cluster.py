"""A real control plane with pods, and what its API server sent of them."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from grove_dp.kube.certificates import Authority
from grove_dp.testing.controlplane import ControlPlane
from grove_dp.testing.controlplane.api import Api
from grove_dp.testing.kubelet import FakeKubelet

__all__ = ["NAMESPACE", "Recording", "filled", "recorded", "replayed"]

NAMESPACE = "bench"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
THREADS = 8
READY_S = 120.0
VERSION = re.compile(rb'"resourceVersion":"(\d+)"')


class Recording(msgspec.Struct, frozen=True):
    """What the API server sent: a list of all pods, and a watch's lines."""

    listed: bytes
    lines: list[bytes]
    pods: int

    @property
    def last(self) -> str:
        """The version of the last line."""
        version: bytes = VERSION.findall(self.lines[-1])[-1]
        return version.decode()


@contextmanager
def filled(pods: int, *, plain: bool = False) -> Iterator[ControlPlane]:
    """A control plane with running pods; *plain* ones have a container with an image and a port."""
    with ControlPlane() as plane, FakeKubelet(plane.api):
        plane.namespace(NAMESPACE)
        (node,) = plane.add_nodes(1)
        with ThreadPoolExecutor(THREADS) as writers:
            made = _plain_pod if plain else _pod
            list(writers.map(lambda number: plane.api.create(PODS, made(number, node)), range(pods)))
        _until_running(plane.api, pods)
        yield plane


def _until_running(api: Api, pods: int) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if len(api.get(PODS, fieldSelector="status.phase=Running")["items"]) == pods:
            return
        time.sleep(0.2)
    raise TimeoutError(f"not all of {pods} pods run")


def _pod(number: int, node: str) -> dict[str, Any]:
    """As a clique's pods are: labels and environment of Grove, a GPU."""
    labels = {
        "app.kubernetes.io/managed-by": "grove-operator",
        "app.kubernetes.io/part-of": "llama",
        "app.kubernetes.io/name": f"llama-{number // 8}-decode",
        "grove.io/podclique": f"llama-{number // 8}-decode",
        "grove.io/podcliqueset-replica-index": str(number // 8),
        "grove.io/podclique-pod-index": str(number % 8),
        "grove.io/pod-template-hash": "7d9f8c6b5",
    }
    owner = {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodClique",
        "name": f"llama-{number // 8}-decode",
        "uid": f"00000000-0000-4000-8000-{number // 8:012}",
        "controller": True,
    }
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.33.0",
        "args": ["--model", "meta-llama/Llama-3.1-8B-Instruct", "--enable-prompt-tokens-details"],
        "env": [{"name": f"GROVE_{name}", "value": "llama"} for name in ("PCS_NAME", "PCLQ_NAME", "SERVICE")],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
        "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "8", "memory": "64Gi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"llama-{number:05}", "labels": labels, "ownerReferences": [owner]},
        "spec": {"nodeName": node, "containers": [container], "automountServiceAccountToken": False},
    }


def _plain_pod(number: int, node: str) -> dict[str, Any]:
    container = {"name": "main", "image": "image:1", "ports": [{"name": "http", "containerPort": 8000}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"plain-{number:05}", "labels": {"app": "plain"}},
        "spec": {"nodeName": node, "containers": [container], "automountServiceAccountToken": False},
    }


def recorded(api: Api, pods: int, events: int) -> Recording:
    """The list of all pods, and *events* lines: the real ones over and over, each with its own version.

    An informer leaves aside what is no newer than what it holds, so the versions go up as they would.
    """
    listed = api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods").body
    watch = api.watch(PODS, resourceVersion="0")
    seen = list(itertools.islice(watch, pods))
    watch.close()
    lines = [msgspec.json.encode({"type": "MODIFIED", "object": held}) for _, held in seen]
    highest = max(int(found) for line in lines for found in VERSION.findall(line))
    made = []
    for number in range(events):
        version = b'"resourceVersion":"%d"' % (highest + 1_000 + number)
        made.append(VERSION.sub(version, lines[number % len(lines)]) + b"\n")
    return Recording(listed, made, pods)


@contextmanager
def replayed(recording: Recording) -> Iterator[Path]:
    """A server that sends the recording; the kubeconfig of it."""
    with tempfile.TemporaryDirectory(prefix="grove-dp-bench-") as name:
        folder = Path(name)
        authority = Authority("bench", time.time())
        pair = authority.server(["localhost"])
        (folder / "chain.pem").write_text(pair.chain_pem)
        (folder / "key.pem").write_text(pair.key_pem)
        (folder / "ca.pem").write_text(authority.pem)
        (folder / "list").write_bytes(recording.listed)
        (folder / "watch").write_bytes(b"".join(recording.lines))
        command = [sys.executable, "-m", "bench.kube.server", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            try:
                yield _kubeconfig(folder, port)
            finally:
                process.kill()


def _kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    server = {"server": f"https://localhost:{port}", "certificate-authority": str(folder / "ca.pem")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": server}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
    path.write_bytes(msgspec.json.encode(document))
    return path

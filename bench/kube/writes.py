"""Patches pod after pod and prints the CPU of one patch in ms: `python -m bench.kube.writes KUBECONFIG WHO`.

A process of its own, for the bench's has a kubelet in it that sees every change. WHO is `ours` or `package`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from bench.kube.cluster import NAMESPACE
from grove_dp.kube.access import connect
from grove_dp.kube.objects import PODS, Pod

__all__ = ["configured"]

PATCHES = 300
WARM = 20


async def ours(kubeconfig: Path) -> float:
    """Seconds of CPU for a patch."""
    async with await connect(kubeconfig) as api:

        async def patch(number: int) -> None:
            path = PODS.path(NAMESPACE, f"llama-{number:05}")
            await api.merge(path, {"metadata": {"labels": {"turn": str(time.monotonic_ns())}}}, into=Pod)

        return await _cpu_of(patch)


async def package(kubeconfig: Path) -> float:
    """The same by the `kubernetes` package."""
    from kubernetes.aio import client

    async with client.ApiClient(await configured(kubeconfig)) as api:
        core = client.CoreV1Api(api)

        async def patch(number: int) -> None:
            body = {"metadata": {"labels": {"turn": str(time.monotonic_ns())}}}
            await core.patch_namespaced_pod(name=f"llama-{number:05}", namespace=NAMESPACE, body=body)

        return await _cpu_of(patch)


async def configured(kubeconfig: Path) -> Any:
    """The package's configuration, from the file."""
    from kubernetes.aio import client, config

    load: Any = config.load_kube_config
    configuration = type.__call__(client.Configuration)
    await load(str(kubeconfig), client_configuration=configuration)
    return configuration


async def _cpu_of(patch: Callable[[int], Awaitable[None]]) -> float:
    for number in range(WARM):
        await patch(number)
    begin = time.process_time()
    for number in range(PATCHES):
        await patch(number)
    return (time.process_time() - begin) / PATCHES


if __name__ == "__main__":
    work = {"ours": ours, "package": package}[sys.argv[2]]
    print(uvloop.run(work(Path(sys.argv[1]))) * 1e3)

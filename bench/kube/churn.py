"""Pods that come and go under a frontend: does it send to one that is gone, does it miss one that is there?

    python -m bench.kube.churn        1,000 pods, 20 a second replaced for 15 s; takes 40 s

API server (real) ──watch──► grove-dp serve ──chats──► one process that is every pod (`everywhere`)
    ▲  pods made and deleted all the time                    │ when was which address asked?
    └── kubelet: Ready at once, gone 0.3 s after its deletion │
our own watch: when was each pod Ready, when was it gone?  ◄──┘ compared at the end

What stalls all of the machine is told beside it (`lag_s`): two cores have to bear six processes.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from grove_dp.testing.controlplane import ControlPlane
from grove_dp.testing.controlplane.api import Api
from grove_dp.testing.frontend import Frontend, eventually, free_port
from grove_dp.testing.http import ConnectionEnded
from grove_dp.testing.kubelet import Course, FakeKubelet, Nothing

__all__ = ["Churned", "churned"]

NAMESPACE = "default"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
ENDS_S = 0.3
CLIENTS = 8
PAUSE_S = 0.01  # of each client between two chats: what is tried is the following, not the machine
SETTLE_S = 60.0


class Churned(msgspec.Struct, frozen=True):
    """What was seen."""

    pods: int  # that there were, all in all
    chats: int
    failed: list[str]
    late: list[float]  # seconds after its pod was gone at which a chat reached it; none is right
    unseen: int  # pods that were Ready for two seconds and more and were never probed; 0 is right
    noticed_s: list[float]  # from Ready until the first probe, sorted; of pods made under load
    lag_s: float  # the longest that an idle process had to wait for a CPU meanwhile


class _Watcher:
    """When each address' pod became Ready and was gone, as the API server told it."""

    def __init__(self, api: Api) -> None:
        self.ready: dict[str, int] = {}
        self.gone: dict[str, int] = {}
        self._watch = api.watch(PODS, resourceVersion="0")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for kind, pod in self._watch:
            address = pod.get("status", {}).get("podIP")
            if address is None:
                continue
            now = time.monotonic_ns()
            if kind == "DELETED":
                self.gone[address] = now
            else:
                self.ready.setdefault(address, now)

    def close(self) -> None:
        self._watch.close()
        self._thread.join()


class _Pods:
    """Makes and deletes them; pod N has the address that its number gives it."""

    def __init__(self, api: Api, port: int, node: str) -> None:
        self._api, self._port, self._node = api, port, node
        self.made = 0
        self.held: list[str] = []

    def make(self) -> None:
        """One more."""
        self.made += 1
        name = f"w-{self.made}"
        container = {
            "name": "vllm",
            "image": "vllm:1",
            "ports": [{"name": "http", "containerPort": self._port}],
        }
        document: dict[str, Any] = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "labels": {"app": "churn"}},
            "spec": {"nodeName": self._node, "containers": [container]},
        }
        self._api.create(PODS, document)
        self.held.append(name)

    def drop(self) -> None:
        """The oldest."""
        self._api.delete(f"{PODS}/{self.held.pop(0)}")


def _address(pod: dict[str, Any]) -> str:
    number = int(pod["metadata"]["name"].removeprefix("w-"))
    return f"127.210.{number >> 8}.{number & 255}"


def churned(pods: int, seconds: float, per_second: float, ends_s: float = ENDS_S) -> Churned:
    """Hold *pods* pods, and for *seconds* replace so many of them per second.

    A pod is gone *ends_s* after its deletion.
    """
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="grove-dp-churn-") as folder,
        ControlPlane() as plane,
        FakeKubelet(plane.api, course=lambda _: Course(ends_s=ends_s), containers=Nothing(_address)),
    ):
        log = Path(folder, "log")
        command = [sys.executable, "-m", "bench.kube.everywhere", str(port), str(log)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            watcher = _Watcher(plane.api)
            try:
                (node,) = plane.add_nodes(1, pods=str(4 * pods))
                made = _Pods(plane.api, port, node)
                seen = asyncio.run(_under_load(plane, made, pods, seconds, per_second))
            finally:
                watcher.close()
                process.kill()
        return _judged(made.made, seen, watcher, log.read_text())


class _Seen(NamedTuple):
    chats: int
    failed: list[str]
    begun_ns: int  # pods that were Ready before were noticed by a list


async def _under_load(
    plane: ControlPlane, made: _Pods, pods: int, seconds: float, per_second: float
) -> _Seen:
    frontend = Frontend(
        workers={"kubernetes": "app=churn"},
        kubernetes={"kubeconfig": str(plane.admin.kubeconfig)},
        routing={"policy": "round_robin"},
        health={"interval_s": 10.0, "timeout_s": 5.0},
        log={"level": "warning"},
    )
    for _ in range(pods):
        await asyncio.to_thread(made.make)
    await frontend.start("/livez")
    try:
        await eventually(lambda: _ready(frontend), pods.__eq__, SETTLE_S, f"{pods} workers are ready")
        load = _Load(frontend)
        begin, begun_ns = time.monotonic(), time.monotonic_ns()
        async with load:
            for number in range(int(seconds * per_second)):
                await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))
                await asyncio.to_thread(made.drop)
                await asyncio.to_thread(made.make)
            await asyncio.sleep(2.5)
        return _Seen(load.good, load.failed, begun_ns)
    finally:
        await frontend.end()
        frontend._clean_up()


async def _ready(frontend: Frontend) -> int:
    return sum(row["state"] == "ready" for row in (await frontend.workers()).values())


class _Load:
    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self.good = 0
        self.failed: list[str] = []

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(self._run()) for _ in range(CLIENTS)]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        body = b'{"messages":[{"role":"user","content":"hi"}]}'
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        async with await self._frontend.client() as client:
            while True:
                try:
                    await client.send(request)
                    answer = await client.answer()
                except (OSError, ConnectionEnded) as error:
                    self.failed.append(repr(error))
                    return
                if answer.status == 200:
                    self.good += 1
                else:
                    self.failed.append(f"{answer.status} {answer.body[:200]!r}")
                await asyncio.sleep(PAUSE_S)


def _judged(pods: int, seen: _Seen, watcher: _Watcher, log: str) -> Churned:
    late, probed, lag_s = [], {}, 0.0
    for line in log.splitlines():
        what, address, at = line.split()
        if what == "probe":
            probed[address] = int(at)
        elif what == "lag":
            lag_s = max(lag_s, float(address) if int(at) > seen.begun_ns else 0.0)
        elif (gone := watcher.gone.get(address)) is not None and int(at) > gone:
            late.append((int(at) - gone) / 1e9)
    end = time.monotonic_ns()
    lived = {address: watcher.gone.get(address, end) - ready for address, ready in watcher.ready.items()}
    return Churned(
        pods=pods,
        chats=seen.chats,
        failed=seen.failed,
        late=late,
        unseen=sum(address not in probed and lived[address] > 2e9 for address in lived),
        noticed_s=sorted(
            (probed[address] - ready) / 1e9
            for address, ready in watcher.ready.items()
            if address in probed and ready > seen.begun_ns
        ),
        lag_s=lag_s,
    )


def _told(seen: Churned) -> str:
    noticed = seen.noticed_s
    median, most = noticed[len(noticed) // 2], noticed[int(len(noticed) * 0.99)]
    return (
        f"{seen.pods} pods, {seen.unseen} of them never seen; {seen.chats} chats, {len(seen.failed)} failed,"
        f" {len(seen.late)} reached a pod that was gone (by {max(seen.late, default=0.0):.3f} s at most)\n"
        f"noticed after {median:.3f} s (median), {most:.3f} s (99 %), {noticed[-1]:.3f} s (all);"
        f" an idle process waited {seen.lag_s:.3f} s for a CPU"
    )


if __name__ == "__main__":
    print(_told(churned(1000, 15.0, 20.0)))

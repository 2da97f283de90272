"""From a request to an HPA's replicas: simulated workers, two frontends, the command, a real control plane.

Nothing is published by hand here: load makes tokens, frontends tell them, `grove-dp metrics-adapter` merges
them, the aggregator passes them on, the HPA controller scales up; the load ends, and it scales down.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend
from tests.metering.external.cluster import (
    autoscaler,
    autoscalers,
    has_replicas,
    says,
)
from tests.metering.external.rig import VALUES

pytestmark = [
    pytest.mark.controlplane("kube-controller-manager"),
    pytest.mark.timeout(400),
]
BODY = b'{"model":"tiny-llama","prompt":"Tell me a story","max_tokens":40,"ignore_eos":true}'
CALL = (
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


class Command:
    """`grove-dp metrics-adapter` as a process."""

    def __init__(self, words, log):
        self.words, self.log = words, log

    def __enter__(self):
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "grove_dp", "metrics-adapter", *self.words]
            self.process = subprocess.Popen(command, stderr=log, env=dict(os.environ))
        return self

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(20)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        print(self.log.read_text()[-4000:])


async def keep_busy(frontends, until):
    async def one(frontend):
        while not until.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError):  # of the one that is stopped for a while
                await frontend.ask(CALL)

    await asyncio.gather(*(one(frontend) for frontend in frontends for _ in range(3)))


async def settle(controlplane, path, holds, what, within_s=60):
    return await asyncio.to_thread(controlplane.api.until, path, holds, within_s, what)


async def test_load_on_two_frontends_scales_a_deployment_up_and_its_end_down(
    controlplane, installed, deployment, kube_namespace, tmp_path
):
    path = autoscalers(kube_namespace)
    sim = SimWorkers(1, profile="tiny-cpu", speed=20.0, max_model_len=1024)
    file = tmp_path / "workers.yaml"
    async with sim as workers:
        place = f"{{namespace: {kube_namespace}, pcs: chat, component: decode}}"
        file.write_text(f"- {{url: '{workers[0].url}', place: {place}}}\n")
        fleet = {"workers": {"file": str(file)}}
        async with Frontend([], **fleet) as one, Frontend([], **fleet) as two:
            for frontend in (one, two):
                await frontend.worker_until(workers[0].url.removeprefix("http://"), 10.0, state="ready")
            urls = ["--frontend", one.admin_url, "--frontend", two.admin_url]
            with Command([*installed.words, *urls, "--window", "10"], tmp_path / "adapter.log") as command:
                idle = asyncio.Event()
                load = asyncio.create_task(keep_busy((one, two), idle))
                asked = f"{VALUES}/{kube_namespace}/grove_dp_output_tokens_per_second"
                controlplane.api.create(path, autoscaler("grove_dp_output_tokens_per_second", "20", most=6))
                await settle(controlplane, f"{deployment}/scale", has_replicas(6), "scaled up")
                [item] = controlplane.api.get(asked)["items"]
                assert item["metricLabels"] == {
                    "pcs": "chat",
                    "component": "decode",
                    "role": "aggregated",
                    "model": "tiny-llama",
                }
                stopped = two.admin_url.removeprefix("http://")
                two.signal(signal.SIGSTOP)  # it hangs: half a picture is none
                await settle(controlplane, f"{path}/decode", says(stopped), "the HPA says who is missing")
                two.signal(signal.SIGCONT)
                idle.set()
                await load
                await settle(
                    controlplane,
                    f"{deployment}/scale",
                    has_replicas(1),
                    "scaled down",
                    110,
                )
                assert command.end(signal.SIGTERM) == 0


def test_wrong_usage_is_said_and_exits_with_two(tmp_path):
    for words, said in (
        ([], "name the frontends"),
        (["--frontend", "nonsense"], "write http://HOST:PORT"),
        (["--frontend", "http://a:1", "--window", "1"], "5 to 900"),
        (["--frontend", "http://a:1", "--secret", "x"], "belong together"),
        (["--frontend", "http://a:1", "--kubeconfig", str(tmp_path / "none")], "no such kubeconfig"),
    ):
        command = [sys.executable, "-m", "grove_dp", "metrics-adapter", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_port_that_is_taken_is_named(installed):
    with socket.create_server(("127.0.0.1", installed.port)):
        command = [sys.executable, "-m", "grove_dp", "metrics-adapter", "--frontend", "http://127.0.0.1:9"]
        done = subprocess.run(
            [*command, *installed.words], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{installed.port}" in done.stderr, done.stderr

"""Latency of external.metrics.k8s.io at a steady rate: `python -m bench.external.latency [--budget]`.

One process serves (uvloop, TLS, client certificate, rights asked of an API server that takes 3 ms and
remembered for ten seconds, a fresh picture of 200 series each second); this one asks, as the HPA does through
the aggregator: one kept connection, every query due at its own time. A latency counts from when the query was
due, so that a pause is not hidden by the queries that it held up. `cpu_us` is the serving process' CPU for
each query, all its other work included, `floor_cpu_us` while the floor is asked: what a busy machine changes
least.

The same process answers on a second port with a constant, by aiohttp alone: the floor, asked in turns with
ours, since a machine that others use too gives neither a millisecond. With --budget it fails when the median
over rounds of the 99th percentile is above a millisecond and above 1.5 times the floor's.
"""

import argparse
import asyncio
import gc
import json
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

import msgspec
import uvloop
from aiohttp import web

from bench import results
from bench.results import row
from grove_dp.clock import SystemClock
from grove_dp.kube.certificates import Authority
from grove_dp.kube.tls import Face
from grove_dp.metering.external.board import METRICS, Board, Picture, Sample
from grove_dp.metering.external.identity import FrontProxy
from grove_dp.metering.external.reviews import Reviews
from grove_dp.metering.external.server import MetricsPort

T = TypeVar("T")

NAME: Final = "metrics.grove-dp.svc"
SERIES: Final = 200
NAMESPACES: Final = 10
REVIEW_S: Final = 0.003
WARM_S: Final = 0.25
P99_MAX_S: Final = 0.001
FLOOR_MAX: Final = 1.5
METRIC: Final = "grove_dp_queued_tokens"
HPA: Final = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"


class Yes:
    """An API server that allows everything, after a while."""

    async def create(self, path: str, document: Mapping[str, Any], *, into: type[T]) -> T:
        await asyncio.sleep(REVIEW_S)
        return msgspec.convert({"status": {"allowed": True}}, into)


def picture(value: float) -> Picture:
    """Many targets in a few namespaces."""
    names = sorted(METRICS)
    samples = (
        Sample(
            metric=names[number % len(names)],
            namespace=f"team-{number // len(names) % NAMESPACES}",
            labels={"pcs": f"chat-{number}", "component": "decode", "role": "decode", "model": "org/m"},
            value=value + number / 7,
            wall_s=time.time(),
        )
        for number in range(SERIES)
    )
    return Picture(samples=tuple(samples))


async def serve(folder: Path) -> None:
    """Serve until killed; says its port and the PEM that its clients need."""
    now, clock = time.time(), SystemClock()
    proxies, servers = Authority("proxies", now), Authority("servers", now)
    client = proxies.client("front-proxy-client")
    for name, pem in (("ca", servers.pem), ("chain", client.chain_pem), ("key", client.key_pem)):
        (folder / name).write_text(pem)
    face, board = Face(), Board(clock)
    face.renew(servers.server([NAME]), proxies.pem)
    proxy = FrontProxy(ca_pem=proxies.pem, allowed_names=("front-proxy-client",))
    port = MetricsPort(board, face, Reviews(Yes(), clock), lambda: proxy)
    print(await port.open("127.0.0.1", 0), await floor(face), flush=True)
    gc.freeze()
    while True:
        board.publish(picture(time.time() % 60))
        await asyncio.sleep(1)


async def floor(face: Face) -> int:
    """A port that answers with a constant of the same size."""
    body = b"x" * 900

    async def constant(request: web.BaseRequest) -> web.Response:
        return web.Response(body=body)

    runner = web.ServerRunner(web.Server(constant, access_log=None), handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=face.context).start()
    return int(runner.addresses[0][1])


class Hpa:
    """One kept TLS connection."""

    def __init__(self, folder: Path, port: int) -> None:
        context = ssl.create_default_context(cafile=str(folder / "ca"))
        context.load_cert_chain(folder / "chain", folder / "key")
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=NAME)
        self._left = b""

    def ask(self, number: int) -> bytes:
        """The body of one answer. RuntimeError unless it is 200."""
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/team-{number % NAMESPACES}/{METRIC}"
        head = f"GET {path}?labelSelector=role%3Ddecode HTTP/1.1\r\nHost: x\r\nX-Remote-User: {HPA}\r\n\r\n"
        self._socket.sendall(head.encode())
        answer = self._left
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(65_536)
        told, _, body = answer.partition(b"\r\n\r\n")
        if not told.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode(errors="replace"))
        length = int(told.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._socket.recv(65_536)
        self._left = body[length:]
        return body[:length]


def cpu_s(process: int) -> float:
    """CPU that *process* has had."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def measure(hpa: Hpa, rate: float, seconds: float) -> list[float]:
    """Latencies of queries at *rate*, sorted."""
    taken, begin = [], time.perf_counter() + 0.01
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        hpa.ask(number)
        taken.append(time.perf_counter() - due)
    return sorted(taken)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=200.0, help="queries per second")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", action="store_true", help="fail above the budget")
    parser.add_argument("--record", action="store_true", help="write bench/results/external.json")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        uvloop.run(serve(args.serve))
        return 0
    ours, bare, (cpu_us, floor_cpu_us) = rounds(args.rate, args.seconds, args.rounds)
    told = {
        "rate": args.rate,
        "p50_us": percentile(ours, 0.5) * 1e6,
        "p99_us": percentile(ours, 0.99) * 1e6,
        "floor_p50_us": percentile(bare, 0.5) * 1e6,
        "floor_p99_us": percentile(bare, 0.99) * 1e6,
        "cpu_us": cpu_us,
        "floor_cpu_us": floor_cpu_us,
    }
    print(json.dumps({name: round(value) for name, value in told.items()}))
    if args.record:
        record(told)
    p99, allowed = percentile(ours, 0.99), max(P99_MAX_S, FLOOR_MAX * percentile(bare, 0.99))
    return 1 if args.budget and p99 > allowed else 0


def record(told: Mapping[str, float]) -> None:
    """As the other benches do."""
    rows = [
        row(
            f"external metrics at {told['rate']:g}/s, {name}",
            told[f"{key}_us"],
            "us",
            anchor="aiohttp",
            anchor_value=told[f"floor_{key}_us"],
            must=must,
        )
        for name, key, must in (
            ("p50", "p50", None),
            ("p99", "p99", f"ratio <= {FLOOR_MAX}"),
            ("CPU of a query", "cpu", None),
        )
    ]
    result = results.new(shlex.join(["python", "-m", "bench.external.latency", *sys.argv[1:]]), rows)
    results.write(result, "external")
    results.present(result)


def rounds(
    rate: float, seconds: float, count: int
) -> tuple[list[list[float]], list[list[float]], tuple[float, float]]:
    """Latencies of ours and of the floor, round by round, and the CPU of a query of each in microseconds."""
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    taken = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.external.latency", "--serve", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                ports = [int(word) for word in server.stdout.readline().split()]
                hpa, other = (Hpa(Path(folder), port) for port in ports)
                measure(hpa, rate, 1)
                for _ in range(count):
                    for place, (asked, latencies) in enumerate(((hpa, ours), (other, bare))):
                        measure(asked, rate, WARM_S)  # rights end while the other port is asked
                        before = cpu_s(server.pid)
                        latencies.append(measure(asked, rate, seconds))
                        taken[place] += cpu_s(server.pid) - before
            finally:
                server.kill()
    queries = sum(map(len, ours)) / 1e6
    return ours, bare, (taken[0] / queries, taken[1] / queries)


def percentile(sorted_rounds: list[list[float]], share: float) -> float:
    """The median over rounds."""
    return median(each[int(len(each) * share)] for each in sorted_rounds)


if __name__ == "__main__":
    sys.exit(main())

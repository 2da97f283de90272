"""A metrics port on loopback with certificates of its own, and the callers that a cluster has."""

import asyncio
import ssl
import tempfile
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from grove_dp.clock import ManualClock
from grove_dp.kube.certificates import Authority
from grove_dp.kube.errors import ApiError, ApiUnreachable
from grove_dp.kube.tls import Certificate, Face
from grove_dp.metering.external.board import Board, Picture, Sample
from grove_dp.metering.external.identity import FrontProxy
from grove_dp.metering.external.reviews import Reviews
from grove_dp.metering.external.server import MetricsPort

NAME = "metrics.grove-dp.svc"
VALUES = "/apis/external.metrics.k8s.io/v1beta1/namespaces"
WALL_S = 1_790_000_000.0
HPA = {"X-Remote-User": "system:serviceaccount:kube-system:horizontal-pod-autoscaler"}
AGGREGATOR = {"X-Remote-User": "system:kube-aggregator", "X-Remote-Group": "system:masters"}


def sample(
    metric="grove_dp_queued_tokens", namespace="web", value=3.0, wall_s=WALL_S, window_s=None, **labels
):
    return Sample(
        metric=metric, namespace=namespace, labels=labels, value=value, wall_s=wall_s, window_s=window_s
    )


PICTURE = Picture(
    samples=(
        sample(value=12.0, pcs="chat", component="prefill", role="prefill", model="org/small"),
        sample(value=0.5, pcs="chat", component="decode", role="decode", model="org/small"),
        sample("grove_dp_desired_replicas", value=3.0, pcs="chat", component="prefill"),
        sample("grove_dp_desired_replicas", namespace="other", value=7.0, pcs="chat", component="prefill"),
    )
)


@dataclass
class Cluster:
    """The answers of an API server to reviews, invented: whose token it is, and who may do what."""

    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    rights: set[tuple[str, str]] = field(default_factory=set)  # (user, metric or path)
    asked: list[dict[str, Any]] = field(default_factory=list)
    down: Exception | None = None
    gate: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def create(self, path: str, document: Mapping[str, Any], *, into: Any) -> Any:
        self.asked.append(dict(document))
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.down is not None:
            raise self.down
        spec = document["spec"]
        if document["kind"] == "TokenReview":
            user = self.tokens.get(spec["token"])
            status = {"authenticated": user is not None, **({"user": user} if user else {})}
        else:
            wish = spec.get("resourceAttributes", {}).get("resource") or spec["nonResourceAttributes"]["path"]
            status = {"allowed": (spec["user"], wish) in self.rights}
        return msgspec.convert({"status": status}, into)

    def kinds(self) -> list[str]:
        return [each["kind"] for each in self.asked]


def refusing() -> ApiError:
    return ApiError("POST /reviews", 403, "Forbidden", "no rights")


def unreachable() -> ApiUnreachable:
    return ApiUnreachable("POST /reviews: nobody there")


def now() -> float:
    """Certificates are verified by the machine's clock."""
    return time.time()


def client_context(server_ca: str, certificate: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=server_ca)
    if certificate is not None:
        with tempfile.TemporaryDirectory() as folder:
            chain, key = Path(folder, "chain"), Path(folder, "key")
            chain.write_text(certificate.chain_pem)
            key.write_text(certificate.key_pem)
            context.load_cert_chain(chain, key)
    return context


class Rig:
    """An open port, the authorities around it, and everything that can be changed about them."""

    def __init__(self, picture: Picture | None = PICTURE, **options: Any) -> None:
        self.clock = ManualClock(wall=WALL_S)
        self.board = Board(self.clock)
        if picture is not None:
            self.board.publish(picture)
        self.cluster = Cluster()
        self.face = Face()
        self.proxy_ca = Authority("request-header CA", now())
        self.server_ca = Authority("serving CA", now())
        self.proxy = FrontProxy(ca_pem=self.proxy_ca.pem, allowed_names=("front-proxy-client",))
        self.front_proxy: FrontProxy | None = self.proxy
        reviews = Reviews(self.cluster, self.clock)
        self.port = MetricsPort(self.board, self.face, reviews, lambda: self.front_proxy, **options)
        self.number = 0

    def renew(self) -> None:
        self.face.renew(self.server_ca.server([NAME]), self.proxy.ca_pem)
        self.port.renewed()

    @asynccontextmanager
    async def caller(self, certificate: Certificate | None = None, **options: Any):
        """A session; without a certificate unless one is given."""
        context = client_context(self.server_ca.pem, certificate)
        base = f"https://127.0.0.1:{self.number}"
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(base, connector=connector, **options) as session:
            yield Caller(session)

    def aggregator(self, name: str = "front-proxy-client"):
        return self.caller(self.proxy_ca.client(name))


class Caller:
    """GETs as one client."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", **options):
        async with self.session.request(
            method, path, headers=headers, server_hostname=NAME, **options
        ) as answer:
            return answer.status, answer.headers, await answer.read()

    async def told(self, path: str, headers: Mapping[str, str] | None = None, **options) -> tuple[int, Any]:
        status, _, body = await self.get(path, headers, **options)
        return status, msgspec.json.decode(body)


@asynccontextmanager
async def rig(picture: Picture | None = PICTURE, **options: Any):
    made = Rig(picture, **options)
    made.face.renew(made.server_ca.server([NAME]), made.proxy.ca_pem)
    made.number = await made.port.open("127.0.0.1", 0)
    try:
        yield made
    finally:
        await made.port.close()

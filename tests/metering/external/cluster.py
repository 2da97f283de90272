"""The metrics adapter installed in a real cluster, and what an HPA there says and does."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
from base64 import b64decode
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from grove_dp.clock import SystemClock
from grove_dp.kube.access import connect
from grove_dp.metering.external.adapter import Adapter, Options
from grove_dp.metering.external.board import Board, Picture
from grove_dp.metering.external.manifests import Install, install
from grove_dp.metering.external.registration import APISERVICE_PATH
from grove_dp.testing.frontend import free_port

NAMESPACE = "grove-dp-test"
TO = Install(namespace=NAMESPACE, name="metrics", replicas=0)
HOST = f"metrics.{NAMESPACE}.svc"
ROOT = "/apis/external.metrics.k8s.io/v1beta1"


class OnLoopback:
    """Applies documents so that the aggregator finds us on *port* of this machine."""

    def __init__(self, api, port):
        self.api, self.port = api, port

    async def get(self, path):
        return await self.api.get(path)

    async def apply(self, path, document, manager, *, force=False):
        if document["kind"] == "Service":
            document = {**document, "spec": {"type": "ExternalName", "externalName": "localhost"}}
        if document["kind"] == "APIService":
            spec = document["spec"]
            document = {**document, "spec": {**spec, "service": {**spec["service"], "port": self.port}}}
        return await self.api.apply(path, document, manager, force=force)


class Running:
    """The adapter on a loop of its own, for tests that block."""

    def __init__(self, plane, port):
        self.plane, self.port = plane, port
        self.loop = asyncio.new_event_loop()
        self.board = Board(SystemClock(), stale_after_s=3600)
        self.ready = Future()

    def __enter__(self):
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.serve(),))
        self.thread.start()
        self.ready.result(60)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(30)
        self.loop.close()

    async def serve(self):
        self.task = asyncio.current_task()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self.adapt()
        except BaseException as error:
            self.ready.set_exception(error)
            raise

    async def adapt(self):
        async with await connect(self.plane.admin.kubeconfig) as admin:
            await install(OnLoopback(admin, self.port), TO)
        account = await asyncio.to_thread(self.plane.service_account, NAMESPACE, TO.name)
        options = Options(port=self.port, place=TO.place)
        async with (
            await connect(account.kubeconfig) as api,
            Adapter(self.board, api, SystemClock(), options) as adapter,
        ):
            self.adapter = adapter
            self.ready.set_result(None)
            await adapter.run()

    def publish(self, *samples, missing=()):
        self.loop.call_soon_threadsafe(self.board.publish, Picture(samples=samples, missing=missing))

    def refresh(self):
        """Read the certificate and whom to trust again now."""
        asyncio.run_coroutine_threadsafe(self.adapter.refresh(), self.loop).result(30)

    def bundle(self):
        return self.plane.api.get(APISERVICE_PATH)["spec"].get("caBundle", "")

    def ask(self, path, headers=None, credential=None):
        """GET on the port itself, past the aggregator; a certificate only if one is given."""
        context = ssl.create_default_context(cadata=b64decode(self.bundle()).decode())
        if credential is not None:
            context.load_cert_chain(credential.certificate, credential.key)
        with socket.create_connection(("127.0.0.1", self.port), 10) as plain:
            connection = http.client.HTTPSConnection(HOST)
            connection.sock = context.wrap_socket(plain, server_hostname=HOST)
            with contextlib.closing(connection):
                connection.request("GET", path, headers=headers or {})
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())


@dataclass
class Installed:
    """The APIService leads to *port* of this machine, where nobody listens yet."""

    port: int
    kubeconfig: Path  # of the service account
    namespace: str
    service: str = "metrics"
    secret: str = "metrics-tls"

    @property
    def words(self):
        """For `grove-dp metrics-adapter`."""
        told = vars(self)
        return [word for name, value in told.items() for word in (f"--{name}", str(value))]


def installed_in(plane, namespace):
    """Everything but the adapter itself."""
    plane.namespace(namespace)
    port = free_port()

    async def make():
        async with await connect(plane.admin.kubeconfig) as admin:
            await install(OnLoopback(admin, port), Install(namespace=namespace, name="metrics", replicas=0))

    asyncio.run(make())
    return Installed(port, plane.service_account(namespace, "metrics").kubeconfig, namespace)


# ---------------------------------------------------------------- what an HPA says and does


def autoscalers(namespace):
    return f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"


def autoscaler(metric, target="1", least=1, most=8):
    """Of the fixture `deployment`."""
    labels = {"pcs": "chat", "component": "decode"}
    external = {
        "metric": {"name": metric, "selector": {"matchLabels": labels}},
        "target": {"type": "AverageValue", "averageValue": target},
    }
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "decode"},
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [{"type": "External", "external": external}],
    }
    return {"metadata": {"name": "decode"}, "spec": spec}


def condition(seen, kind):
    conditions = seen.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {"reason": "", "message": ""})


def says(what):
    """Whether an HPA's condition names it."""
    return lambda seen: what in condition(seen, "ScalingActive")["message"]


def has_replicas(count):
    return lambda seen: seen["spec"].get("replicas", 0) == count  # a zero is not said

"""The control port, before a real plane in this process."""

from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from grove_dp.clock import SystemClock
from grove_dp.config import Loaded
from grove_dp.fields import fields
from grove_dp.frontend.admin import AdminPort
from grove_dp.frontend.plane import DataPlane
from grove_dp.frontend.readiness import State
from grove_dp.frontend.signals import SignalsFeed
from grove_dp.metering.prometheus import ControlMetrics, Page
from grove_dp.native.plane import SLOTS_MAX, Plane
from grove_dp.routing.specs import worker_spec
from grove_dp.routing.workers import Registry
from grove_dp.settings import Admin, Settings, Workers
from grove_dp.testing.frontend import PATIENCE_S, eventually


class Port:
    """A control port and a client of it."""

    def __init__(self, settings):
        self.registry = Registry(SLOTS_MAX)
        self.plane = DataPlane(Plane(1), self.registry, settings)
        self.draining = False
        loaded = Loaded(settings, dict.fromkeys(fields(), "default"))
        signals = SignalsFeed(self.plane, "boot", SystemClock())
        page = Page(self.plane.meter, ControlMetrics().registry)
        self.admin = AdminPort(self.plane, page, self.state, lambda: loaded, signals)

    def state(self):
        return State(True, self.draining, "", self.plane.published)

    async def ask(self, method, path, body=None, **headers):
        data = None if body is None else msgspec.json.encode(body)
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            content = await answer.read()
            decoded = msgspec.json.decode(content) if answer.content_type == "application/json" else content
            return answer.status, decoded


@asynccontextmanager
async def opened(settings=None):
    port = Port(settings or Settings())
    port.plane.native.start()
    port.plane.publish()
    number = await port.admin.open("127.0.0.1", 0)
    port.url = f"http://127.0.0.1:{number}"
    try:
        async with aiohttp.ClientSession() as port.session:
            yield port
    finally:
        await port.admin.close()
        port.plane.close()


def make_ready(port, url, model="llama"):
    worker = port.registry.add(worker_spec(url, "config"))
    port.registry.probe_ok(worker)
    port.registry.models_seen(worker, {model: msgspec.json.encode({"id": model})})
    port.plane.changed()
    return worker


async def test_alive_and_ready_are_different_questions():
    async with opened() as port:
        assert await port.ask("GET", "/livez") == (200, b"ok\n")
        assert await port.ask("GET", "/healthz") == (200, b"ok\n")
        assert await port.ask("GET", "/readyz") == (503, b"not ready: workers\n")
        make_ready(port, "http://127.0.0.1:1")
        assert await port.ask("GET", "/readyz") == (200, b"ok\n"), "told only after it was published"
        port.draining = True
        status, told = await port.ask("GET", "/readyz?verbose")
        assert (status, told["ready"]) == (503, False)
        assert {check["name"]: check["ok"] for check in told["checks"]} == {
            "config": True,
            "listening": True,
            "workers": True,
            "draining": False,
        }


async def test_a_worker_is_added_shown_drained_and_removed():
    async with opened(Settings(workers=Workers(max_inflight=9))) as port:
        status, told = await port.ask("POST", "/workers", {"url": "http://127.0.0.1:1", "models": ["llama"]})
        assert (status, told["worker"]["id"], told["worker"]["source"]) == (201, "127.0.0.1:1", "admin")
        _, shown = await port.ask("GET", "/workers")
        [row] = shown["workers"]
        assert row == told["worker"]
        assert (row["state"], row["circuit"], row["models"]) == ("starting", "closed", ["llama"])
        assert (row["address"], row["max_inflight"], row["inflight"]) == ("127.0.0.1", 9, 0)
        status, told = await port.ask("POST", "/workers/127.0.0.1:1/drain")
        assert (status, told["worker"]["state"]) == (200, "draining")
        status, told = await port.ask("POST", "/workers/127.0.0.1:1/undrain")
        assert (status, told["worker"]["state"]) == (200, "starting")
        status, told = await port.ask("DELETE", "/workers/127.0.0.1:1")
        assert (status, told["worker"]["reason"]) == (200, "Removed")
        gone = (200, {"workers": []})
        await eventually(lambda: port.ask("GET", "/workers"), gone.__eq__, PATIENCE_S, "the worker has gone")


async def test_force_removes_at_once():
    async with opened() as port:
        make_ready(port, "http://[::1]:1")
        assert (await port.ask("DELETE", "/workers/[::1]:1?force=1"))[0] == 200
        assert (await port.ask("GET", "/workers"))[1] == {"workers": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("POST", "/workers", {"url": "https://a"}, 400, "InvalidWorker"),
        ("POST", "/workers", {"url": "http://a", "colour": "red"}, 400, "BadRequest"),
        ("POST", "/workers", {}, 400, "BadRequest"),
        ("POST", "/workers", {"url": "http://127.0.0.1:1"}, 409, "WorkerExists"),
        ("DELETE", "/workers/nobody", None, 404, "NoSuchWorker"),
        ("POST", "/workers/nobody/drain", None, 404, "NoSuchWorker"),
        ("GET", "/nothing", None, 404, "NotFound"),
        ("PUT", "/workers", {}, 405, "MethodNotAllowed"),
    ],
)
async def test_what_is_wrong_is_told_with_a_reason(method, path, body, status, reason):
    async with opened() as port:
        make_ready(port, "http://127.0.0.1:1")
        got, told = await port.ask(method, path, body)
        assert (got, told["error"]["reason"]) == (status, reason)
        assert told["error"]["message"]


async def test_a_changing_call_without_the_token_changes_nothing(write):
    token = write("token", "open-sesame")
    async with opened(Settings(admin=Admin(token_file=str(token)))) as port:
        make_ready(port, "http://127.0.0.1:1")
        status, told = await port.ask("DELETE", "/workers/127.0.0.1:1")
        assert (status, told["error"]["reason"]) == (401, "Unauthorized")
        assert [worker.state for worker in port.registry] == ["ready"]
        assert (await port.ask("GET", "/workers"))[0] == 200, "reading needs none"
        status, _ = await port.ask("DELETE", "/workers/127.0.0.1:1", Authorization="Bearer open-sesame")
        assert status == 200


async def test_settings_are_told_with_their_origin():
    async with opened() as port:
        _, told = await port.ask("GET", "/settings")
        assert told["settings"]["http.port"] == {"value": 8000, "origin": "default", "live": False}
        assert told["settings"].keys() == fields().keys()


async def test_metrics_and_exchanges_answer_before_any_request():
    async with opened() as port:
        make_ready(port, "http://127.0.0.1:1")
        status, page = await port.ask("GET", "/metrics")
        assert status == 200
        assert b'grove_dp_worker_up{worker="127.0.0.1:1"} 1.0' in page
        status, page = await port.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert page.endswith(b"# EOF\n")
        status, told = await port.ask("GET", "/debug/exchanges")
        assert (status, told["exchanges"], told["total"], told["missed"]) == (200, [], 0, 0)

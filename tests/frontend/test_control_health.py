"""How workers are: probes against real sockets."""

import asyncio
from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest

from grove_dp.clock import SystemClock
from grove_dp.frontend.asking import Asker
from grove_dp.frontend.health import Prober, read_models
from grove_dp.routing.specs import worker_spec
from grove_dp.routing.workers import Registry
from grove_dp.settings import Health, Settings
from grove_dp.testing.frontend import PATIENCE_S, free_port
from grove_dp.testing.worker import ScriptedWorker

QUICK = Health(interval_s=0.05, timeout_s=0.5, failures=2, models_interval_s=0.1)


class Probed:
    """A registry under probes; `until` waits for a change after which something holds."""

    def __init__(self, health=QUICK):
        self.registry = Registry(8)
        self.closed = []
        self._news = asyncio.Event()
        settings = Settings(health=health)
        self.asker = Asker()
        self.prober = Prober(
            self.registry,
            lambda: settings,
            self.asker,
            self._news.set,
            self.closed.append,
            SystemClock(),
            Random(7),
        )

    def add(self, url, **more):
        worker = self.registry.add(worker_spec(url, "config", **more))
        self.prober.follow()
        return worker

    async def until(self, holds):
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def probing(health=QUICK):
    probed = Probed(health)
    async with probed.asker:
        task = asyncio.create_task(probed.prober.run())
        await asyncio.sleep(0)
        try:
            yield probed
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_worker_is_ready_with_its_models_after_one_round_trip():
    async with ScriptedWorker("llama", "sql") as served, probing(Health(interval_s=60)) as probed:
        worker = probed.add(served.url)
        await probed.until(lambda: worker.state == "ready")
        assert list(worker.models) == ["llama", "sql"]
        assert msgspec.json.decode(worker.models["sql"])["id"] == "sql"


async def test_a_starting_worker_is_found_soon_after_it_listens():
    async with probing(Health(interval_s=60)) as probed, ScriptedWorker("llama") as served:
        await served.vanish()
        worker = probed.add(served.url)
        await probed.until(lambda: worker.reason == "ProbeRefused")
        await served.listen()
        await probed.until(lambda: worker.state == "ready" and worker.models)


async def test_a_worker_that_says_503_twice_is_unhealthy_and_keeps_its_models():
    async with ScriptedWorker("llama") as served, probing() as probed:
        worker = probed.add(served.url)
        await probed.until(lambda: worker.state == "ready")
        served.health = b"503 Service Unavailable"
        await probed.until(lambda: worker.state == "unhealthy")
        assert worker.reason == "ProbeStatus503"
        assert list(worker.models) == ["llama"]


async def test_a_worker_that_comes_back_closes_its_circuit_and_is_asked_for_its_models():
    health = Health(interval_s=0.05, timeout_s=0.5, failures=2, models_interval_s=600)
    async with ScriptedWorker("llama") as served, probing(health) as probed:
        worker = probed.add(served.url)
        await probed.until(lambda: worker.state == "ready")
        probed.closed.clear()
        await served.vanish()
        await probed.until(lambda: worker.state == "unhealthy")
        assert worker.reason in ("ProbeRefused", "ProbeBroken")
        served.models = ("llama", "sql")
        await served.listen()
        await probed.until(lambda: worker.state == "ready")
        assert probed.closed == [worker.slot]
        assert list(worker.models) == ["llama", "sql"]


async def test_an_adapter_loaded_later_is_found():
    async with ScriptedWorker("llama") as served, probing() as probed:
        worker = probed.add(served.url)
        await probed.until(lambda: worker.state == "ready")
        served.models = ("llama", "sql")
        await probed.until(lambda: "sql" in worker.models)


async def test_a_worker_that_accepts_and_says_nothing_is_timed_out():
    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    health = Health(interval_s=0.05, timeout_s=0.05, failures=1)
    async with server, probing(health) as probed:
        worker = probed.add(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", models=["llama"])
        await probed.until(lambda: worker.reason == "ProbeTimeout")
        assert worker.state == "starting"


async def test_an_unresolved_worker_is_probed_when_its_name_is_resolved():
    async with ScriptedWorker("llama") as served, probing() as probed:
        worker = probed.add(f"http://gpu:{served.port}")
        probed.registry.resolved(worker, ["127.0.0.1"])
        probed.prober.follow()
        await probed.until(lambda: worker.state == "ready")


async def test_a_removed_worker_is_probed_no_more():
    async with ScriptedWorker("llama") as served, probing() as probed:
        worker = probed.add(served.url)
        await probed.until(lambda: worker.state == "ready")
        probed.registry.remove(worker.id, force=True)
        probed.prober.follow()
        await asyncio.sleep(0.02)
        before = served.health_checks
        await asyncio.sleep(0.2)
        assert served.health_checks == before


async def test_a_worker_with_named_models_is_not_asked_for_them():
    async with ScriptedWorker("llama") as served, probing() as probed:
        worker = probed.add(served.url, models=["mine"])
        await probed.until(lambda: worker.state == "ready")
        assert list(worker.models) == ["mine"]


async def test_a_port_that_refuses_leaves_the_worker_starting():
    async with probing() as probed:
        worker = probed.add(f"http://127.0.0.1:{free_port()}")
        await probed.until(lambda: worker.why == "ProbeRefused")
        assert worker.state == "starting"


def test_models_are_kept_verbatim_and_other_answers_are_refused():
    body = b'{"object":"list","data":[{"id":"a",  "x":1.50}, {"id":"b"}]}'
    assert read_models(body) == {"a": b'{"id":"a",  "x":1.50}', "b": b'{"id":"b"}'}
    for wrong in (b"", b"[]", b'{"data":[{}]}', b'{"data":{}}'):
        with pytest.raises(msgspec.DecodeError):
            read_models(wrong)

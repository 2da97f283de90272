"""Which workers there are: lists, the file, names."""

import asyncio
import os
import re

import pytest

from grove_dp.clock import ManualClock
from grove_dp.errors import ConfigurationError
from grove_dp.frontend.discovery import FileWatch, Resolver, listed_workers, read_workers
from grove_dp.routing.specs import worker_spec
from grove_dp.routing.workers import Registry
from grove_dp.settings import Settings, Workers


def settings(**workers):
    return Settings(workers=Workers(**workers))


# ---------------------------------------------------------------- lists


def test_each_wrong_url_of_the_settings_is_named_with_its_place():
    with pytest.raises(ConfigurationError) as caught:
        listed_workers(settings(urls=("http://a", "http://b/v1", "http://a:8000")), "--workers")
    first, second = caught.value.messages
    assert first.startswith("--workers: workers.urls: entry 2: worker 'http://b/v1': a path")
    assert second == "--workers: workers.urls: entry 3: worker a:8000 is named twice; remove one"


def test_a_workers_file_lists_urls_or_mappings(tmp_path):
    path = tmp_path / "workers.yaml"
    path.write_text(
        "- http://10.0.0.7\n"
        "- {url: 'http://gpu-3:80', id: gpu-3, max_inflight: 64, draining: true, models: [llama]}\n"
        "- {url: 'http://gpu-4', model: sql}\n"
    )
    plain, full, short = read_workers(path, settings())
    assert (plain.id, plain.max_inflight, plain.models) == ("10.0.0.7:8000", None, ())
    assert (full.id, full.port, full.max_inflight, full.draining, full.models) == (
        "gpu-3",
        80,
        64,
        True,
        ("llama",),
    )
    assert short.models == ("sql",)


def test_a_workers_file_may_be_json_or_empty(tmp_path):
    path = tmp_path / "workers.json"
    path.write_text('[{"url": "http://10.0.0.7"}]')
    assert [spec.id for spec in read_workers(path, settings())] == ["10.0.0.7:8000"]
    path.write_text("# nobody yet\n")
    assert read_workers(path, settings()) == []


def test_the_setting_model_stands_in_where_a_worker_names_none(tmp_path):
    path = tmp_path / "workers.yaml"
    path.write_text("- {url: 'http://a'}\n- {url: 'http://b', model: own}\n")
    assert [spec.models for spec in read_workers(path, settings(model="llama"))] == [("llama",), ("own",)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- {url: 'http://a', max: 3}", "unknown field `max`"),
        ("- {id: x}", "missing required field `url`"),
        ("url: http://a", "write a list of `- url: http://HOST:PORT`"),
        ("- [", "write a list of"),
        ("- {url: 'https://a'}", "entry 1: worker 'https://a': only http://"),
    ],
)
def test_a_broken_workers_file_is_told_with_its_place(tmp_path, content, told):
    path = tmp_path / "workers.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(told)) as caught:
        read_workers(path, settings())
    assert str(caught.value).startswith(str(path))


def test_a_missing_workers_file_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_workers(tmp_path / "none.yaml", settings())


# ---------------------------------------------------------------- the file


async def test_a_file_is_read_again_when_its_content_changed_and_only_then(tmp_path):
    path, clock, readings = tmp_path / "workers.yaml", ManualClock(), []
    path.write_text("- http://a")
    watch = FileWatch(path, lambda: readings.append(path.read_text()), clock)
    assert watch.moved()
    task = asyncio.create_task(watch.run())
    await clock.advance(3)
    os.utime(path, ns=(1, 1))
    await clock.advance(1)
    assert readings == []
    path.write_text("- http://b")
    await clock.advance(2)
    assert readings == ["- http://b"]
    task.cancel()


async def test_a_configmap_whose_link_is_swapped_is_followed(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "workers.yaml").write_text(f"- http://{name}")
    link, clock, readings = tmp_path / "data", ManualClock(), []
    link.symlink_to("old")
    watch = FileWatch(link / "workers.yaml", lambda: readings.append(1), clock)
    watch.moved()
    task = asyncio.create_task(watch.run())
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(link)
    await clock.advance(1)
    assert readings == [1]
    task.cancel()


# ---------------------------------------------------------------- names


class Names:
    """A name server whose answers the test writes."""

    def __init__(self, **names):
        self.names = names
        self.asked = 0

    async def __call__(self, host, port):
        self.asked += 1
        if not self.names.get(host):
            raise OSError(-2, "Name or service not known")
        return self.names[host]


async def test_a_name_is_resolved_at_once_and_then_each_interval():
    registry, clock, names, changes = Registry(4), ManualClock(), Names(gpu=["10.0.0.1"]), []
    worker = registry.add(worker_spec("http://gpu", "config"))
    registry.add(worker_spec("http://10.0.0.9", "config"))
    resolver = Resolver(registry, lambda: settings(resolve_s=10.0), lambda: changes.append(1), clock, names)
    task = asyncio.create_task(resolver.run())
    await clock.advance(0)
    assert (worker.address, names.asked, changes) == ("10.0.0.1", 1, [1])
    names.names["gpu"] = ["10.0.0.2"]
    await clock.advance(10)
    assert (worker.address, names.asked) == ("10.0.0.2", 2)
    names.names["gpu"] = []
    await clock.advance(10)
    assert (worker.address, worker.why) == ("10.0.0.2", "NotProbed")
    assert worker.warning == "NameNotResolved"
    task.cancel()


async def test_a_name_that_never_resolved_is_asked_each_second():
    registry, clock, names = Registry(4), ManualClock(), Names()
    worker = registry.add(worker_spec("http://gpu", "config"))
    resolver = Resolver(registry, lambda: settings(resolve_s=10.0), lambda: None, clock, names)
    task = asyncio.create_task(resolver.run())
    await clock.advance(2)
    assert (worker.state, worker.why, names.asked) == ("unhealthy", "NameNotResolved", 3)
    names.names["gpu"] = ["10.0.0.1"]
    await clock.advance(1)
    assert (worker.state, worker.address) == ("starting", "10.0.0.1")
    task.cancel()


async def test_workers_that_come_are_resolved_and_workers_that_go_are_not():
    registry, clock, names = Registry(4), ManualClock(), Names(gpu=["10.0.0.1"])
    resolver = Resolver(registry, lambda: settings(resolve_s=10.0), lambda: None, clock, names)
    task = asyncio.create_task(resolver.run())
    await clock.advance(0)
    registry.add(worker_spec("http://gpu", "admin"))
    resolver.follow()
    resolver.follow()
    await clock.advance(0)
    assert names.asked == 1
    registry.remove("gpu:8000", force=True)
    resolver.follow()
    await clock.advance(30)
    assert names.asked == 1
    task.cancel()

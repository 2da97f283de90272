import msgspec
import pytest

from grove_dp.routing.specs import worker_spec
from grove_dp.routing.workers import NoSuchWorker, Registry, TooManyWorkers, WorkerExists

LLAMA = b'{"id":"llama",  "object":"model","max_model_len":512}'
ADAPTER = b'{"id":"sql","object":"model","parent":"llama"}'


def spec(url="http://10.0.0.1", source="config", **more):
    return worker_spec(url, source, **more)


def ready(registry, url, models=None, **more):
    worker = registry.add(spec(url, **more))
    registry.probe_ok(worker)
    registry.models_seen(worker, {"llama": LLAMA} if models is None else models)
    return worker


def nothing_in_flight(slot):
    return 0


# ---------------------------------------------------------------- states


def test_a_worker_starts_until_a_probe_is_answered():
    registry = Registry(4)
    worker = registry.add(spec())
    assert (worker.state, worker.why) == ("starting", "NotProbed")
    registry.probe_failed(worker, "ProbeRefused", 1)
    assert (worker.state, worker.why) == ("starting", "ProbeRefused")
    assert registry.probe_ok(worker)
    assert (worker.state, worker.why) == ("ready", "")


def test_only_failures_in_a_row_take_a_ready_worker_out():
    registry = Registry(4)
    worker = ready(registry, "http://10.0.0.1")
    for _ in range(2):
        assert not registry.probe_failed(worker, "ProbeTimeout", 3)
    assert registry.probe_ok(worker), "the end of a failing row is news: its circuit closes"
    for _ in range(2):
        registry.probe_failed(worker, "ProbeTimeout", 3)
    assert worker.state == "ready"
    assert registry.probe_failed(worker, "ProbeTimeout", 3)
    assert (worker.state, worker.why) == ("unhealthy", "ProbeTimeout")
    assert registry.probe_ok(worker)
    assert not registry.probe_ok(worker)
    assert worker.state == "ready"


def test_draining_lies_over_what_the_probes_see():
    registry = Registry(4)
    worker = ready(registry, "http://10.0.0.1")
    registry.drain(worker.id, True)
    assert (worker.state, worker.why) == ("draining", "Drained")
    registry.probe_failed(worker, "ProbeRefused", 1)
    registry.drain(worker.id, False)
    assert worker.state == "unhealthy"


# ---------------------------------------------------------------- names


def test_a_name_that_never_resolved_is_unhealthy_and_has_no_row():
    registry = Registry(4)
    worker = registry.add(spec("http://gpu-3"))
    assert registry.not_resolved(worker)
    assert not registry.not_resolved(worker)
    assert (worker.state, worker.why) == ("unhealthy", "NameNotResolved")
    assert registry.table(0).workers == []
    assert registry.resolved(worker, ["10.0.0.9"])
    assert worker.state == "starting"
    assert registry.table(0).workers[0].ip == "10.0.0.9"


def test_an_address_stays_while_it_is_among_the_answers_and_when_there_is_none():
    registry = Registry(4)
    worker = registry.add(spec("http://gpu-3"))
    registry.resolved(worker, ["10.0.0.9", "10.0.0.8"])
    assert not registry.resolved(worker, ["10.0.0.8", "10.0.0.9"])
    registry.probe_ok(worker)
    assert registry.not_resolved(worker)
    assert (worker.state, worker.why, worker.address) == ("ready", "NameNotResolved", "10.0.0.9")
    assert registry.resolved(worker, ["10.0.0.8"])
    assert (worker.why, worker.address) == ("", "10.0.0.8")


# ---------------------------------------------------------------- slots


def test_a_slot_is_free_again_only_when_nothing_is_in_flight_there():
    registry = Registry(1)
    registry.add(spec("http://10.0.0.1"))
    registry.remove("10.0.0.1:8000")
    assert registry.reap(lambda slot: 1) == []
    assert registry.get("10.0.0.1:8000").state == "draining"
    with pytest.raises(TooManyWorkers):
        registry.add(spec("http://10.0.0.2"))
    assert registry.reap(nothing_in_flight) == ["10.0.0.1:8000"]
    assert registry.add(spec("http://10.0.0.2")).slot == 0


def test_a_worker_removed_by_force_is_gone_but_its_slot_waits():
    registry = Registry(1)
    registry.add(spec("http://10.0.0.1"))
    registry.remove("10.0.0.1:8000", force=True)
    assert len(registry) == 0
    assert registry.waiting_to_go
    registry.reap(lambda slot: 1)
    with pytest.raises(TooManyWorkers):
        registry.add(spec("http://10.0.0.1"))
    registry.reap(nothing_in_flight)
    assert not registry.waiting_to_go
    registry.add(spec("http://10.0.0.1"))


def test_slots_rest_as_long_as_possible_and_books_start_new():
    registry = Registry(3)
    registry.add(spec("http://10.0.0.1"))
    assert registry.taken() == [0]
    assert registry.taken() == []
    registry.remove("10.0.0.1:8000")
    registry.reap(nothing_in_flight)
    slots = [registry.add(spec(f"http://10.0.1.{n}")).slot for n in range(3)]
    assert slots == [1, 2, 0]
    assert registry.taken() == [1, 2, 0]


def test_a_leaving_worker_that_is_named_again_stays_on_its_slot():
    registry = Registry(2)
    worker = ready(registry, "http://10.0.0.1")
    registry.drain(worker.id, True)
    registry.remove(worker.id)
    assert registry.add(spec("http://10.0.0.1", "admin")) is worker
    assert (worker.state, worker.slot) == ("ready", 0)


def test_one_id_is_registered_once():
    registry = Registry(2)
    registry.add(spec())
    with pytest.raises(WorkerExists):
        registry.add(spec(source="admin"))
    with pytest.raises(NoSuchWorker):
        registry.get("10.0.0.2:8000")


# ---------------------------------------------------------------- sources


def test_a_source_adds_and_removes_only_its_own():
    registry = Registry(8)
    registry.add(spec("http://10.0.0.1", "admin"))
    registry.sync("file", [spec("http://10.0.0.2", "file"), spec("http://10.0.0.3", "file")])
    refused = registry.sync("file", [spec("http://10.0.0.3", "file"), spec("http://10.0.0.1", "file")])
    assert refused == ["worker 10.0.0.1:8000 is registered (by admin)"]
    registry.reap(nothing_in_flight)
    assert [worker.id for worker in registry] == ["10.0.0.1:8000", "10.0.0.3:8000"]


def test_a_reload_that_says_nothing_new_keeps_a_drain_and_one_that_does_changes_it():
    registry = Registry(8)
    registry.sync("file", [spec("http://10.0.0.2", "file")])
    worker = registry.get("10.0.0.2:8000")
    registry.drain(worker.id, True)
    registry.sync("file", [spec("http://10.0.0.2", "file", max_inflight=7)])
    assert worker.draining
    assert worker.cap(3) == 7
    registry.sync("file", [spec("http://10.0.0.2", "file", draining=True)])
    registry.sync("file", [spec("http://10.0.0.2", "file")])
    assert not worker.draining


def test_an_id_that_moves_to_another_address_is_another_worker():
    registry = Registry(8)
    registry.sync("file", [spec("http://10.0.0.2", "file", id="gpu")])
    before = registry.get("gpu")
    registry.probe_ok(before)
    registry.sync("file", [spec("http://10.0.0.3", "file", id="gpu")])
    after = registry.get("gpu")
    assert (after.slot, after.state, after.address) == (1, "starting", "10.0.0.3")


# ---------------------------------------------------------------- the table


def test_models_are_merged_verbatim_in_the_order_in_which_they_were_first_seen():
    registry = Registry(8)
    ready(registry, "http://10.0.0.1", {"llama": LLAMA})
    ready(registry, "http://10.0.0.2", {"sql": ADAPTER, "llama": b'{"id":"llama","other":1}'})
    table = registry.table(0)
    assert table.models_body == b'{"object":"list","data":[' + LLAMA + b"," + ADAPTER + b"]}"
    assert [(model.name, list(model.workers)) for model in table.models] == [("llama", [0, 1]), ("sql", [1])]
    assert table.ready == 2
    registry.remove("10.0.0.1:8000", force=True)
    assert [model.name for model in registry.table(0).models] == ["llama", "sql"]


def test_a_model_is_known_while_any_worker_that_had_it_is_registered():
    registry = Registry(8)
    worker = ready(registry, "http://10.0.0.1")
    registry.probe_failed(worker, "ProbeRefused", 1)
    assert [model.name for model in registry.table(0).models] == ["llama"]
    assert registry.table(0).ready == 0
    registry.remove(worker.id)
    assert [model.name for model in registry.table(0).models] == ["llama"]
    registry.reap(nothing_in_flight)
    assert registry.table(0).models == []
    assert msgspec.json.decode(registry.table(0).models_body) == {"object": "list", "data": []}


def test_a_model_that_is_to_scale_from_zero_is_known_without_a_worker():
    registry = Registry(8)
    table = registry.table(0, known=["sleeper", "llama"])
    assert [(model.name, list(model.workers)) for model in table.models] == [("sleeper", []), ("llama", [])]
    assert (table.ready, table.awaited) == (0, 2)
    ready(registry, "http://10.0.0.1", {"llama": LLAMA})
    table = registry.table(0, known=["sleeper", "llama"])
    assert [(model.name, list(model.workers)) for model in table.models] == [("sleeper", []), ("llama", [0])]
    assert LLAMA in table.models_body
    assert (table.ready, table.awaited) == (1, 1)


def test_an_adapter_that_is_unloaded_is_no_longer_known():
    registry = Registry(8)
    worker = ready(registry, "http://10.0.0.1", {"llama": LLAMA, "sql": ADAPTER})
    assert registry.models_seen(worker, {"llama": LLAMA})
    assert not registry.models_seen(worker, {"llama": LLAMA})
    assert [model.name for model in registry.table(0).models] == ["llama"]


def test_a_worker_whose_models_are_named_is_not_asked():
    registry = Registry(8)
    worker = registry.add(spec(models=["mine"]))
    assert not registry.models_seen(worker, {"llama": LLAMA})
    [model] = registry.table(0).models
    assert model.name == "mine"
    assert msgspec.json.decode(model.body)["id"] == "mine"


def test_rows_carry_the_host_header_the_state_and_the_cap():
    registry = Registry(8)
    ready(registry, "http://[::1]:9000")
    ready(registry, "http://10.0.0.2", max_inflight=0)
    registry.drain("10.0.0.2:8000", True)
    first, second = registry.table(16).workers
    assert first == (0, "[::1]:9000", "[::1]:9000", "::1", 9000, "ready", 16, 0, -1, False)
    assert (second.state, second.max_inflight) == ("draining", 0)

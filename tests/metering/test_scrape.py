"""Scrapes of real workers, of older names, of simulated workers, and what is no scrape at all."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.metering.scrape import EngineLoad, engine_loads
from grove_dp.sim.metrics import render
from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers

FIXTURES = Path(__file__).parents[1] / "fixtures"
UNDER_LOAD = (FIXTURES / "vllm_metrics" / "metrics_under_load.prom").read_bytes()
TWO_RANKS = (FIXTURES / "vllm_http" / "dp2" / "dp2_metrics.prom").read_bytes()


def gauge(name: str, value: str, labels: str = 'engine="0",model_name="m"') -> bytes:
    return f"# TYPE vllm:{name} gauge\nvllm:{name}{{{labels}}} {value}\n".encode()


def test_a_loaded_worker_is_read():
    (load,) = engine_loads(UNDER_LOAD).values()
    assert load == EngineLoad(running=1.0, waiting=22.0, usage=15 / 31, block_size=32, blocks=32)
    assert load.capacity_tokens == 31 * 32
    assert load.pinned_tokens == pytest.approx(15 * 32)


def test_an_idle_worker_has_zeros_and_not_nothing():
    idle = (FIXTURES / "vllm_metrics" / "metrics_idle_after_traffic.prom").read_bytes()
    (load,) = engine_loads(idle).values()
    assert (load.running, load.waiting, load.usage, load.pinned_tokens) == (0.0, 0.0, 0.0, 0.0)


def test_each_rank_has_its_own_blocks_although_the_worker_sums_them():
    loads = engine_loads(TWO_RANKS)
    assert list(loads) == [0, 1]
    assert {(load.block_size, load.blocks) for load in loads.values()} == {(32, 64)}
    without_tokens = TWO_RANKS.replace(b'kv_cache_size_tokens="2048"', b'kv_cache_size_tokens="None"')
    assert engine_loads(without_tokens) == loads


def test_the_usage_is_found_under_its_older_name_and_the_newer_one_counts():
    older = gauge("gpu_cache_usage_perc", "0.25")
    assert engine_loads(older) == {0: EngineLoad(usage=0.25)}
    assert engine_loads(older + gauge("kv_cache_usage_perc", "0.5")) == {0: EngineLoad(usage=0.5)}


def test_a_release_that_does_not_number_its_engine_has_one():
    text = gauge("num_requests_running", "3", 'model_name="m"')
    text += gauge("cache_config_info", "1.0", 'block_size="16",cache_dtype="auto",num_gpu_blocks="100"')
    assert engine_loads(text) == {0: EngineLoad(running=3.0, block_size=16, blocks=100)}


@pytest.mark.parametrize(
    ("form", "release"), [("map", "0.32.0"), ("0.9.2", "0.9.2"), ("array", "0.32.0"), ("0.10.2", "0.10.2")]
)
def test_a_simulated_worker_is_read_as_a_real_one(form, release):
    events = EventSettings(endpoint="tcp://127.0.0.1:0", format=form)
    machine = {"profile": "tiny-cpu", "num_gpu_blocks": 300, "max_model_len": 512, "data_parallel_size": 2}
    (worker,) = SimWorkers(1, kv_events=events, **machine)
    assert worker.settings.release == release
    worker.ranks[1].engine.submit(list(range(3, 100)), 5)
    worker.ranks[1].engine.step()
    text = render([(rank.metrics, rank.engine) for rank in worker.ranks])
    assert (b"gpu_cache_usage_perc" in text) == (form == "0.9.2")
    idle, busy = engine_loads(text).values()
    assert idle == EngineLoad(running=0.0, waiting=0.0, usage=0.0, block_size=16, blocks=300)
    assert (busy.running, busy.waiting) == (1.0, 0.0)
    assert busy.pinned_tokens == pytest.approx(7 * 16)


def test_labels_may_hold_anything_that_labels_may_hold():
    name = r"a}b{ \"c\" \\ \n engine=\"7\", "
    text = gauge("num_requests_waiting", "4", f'engine="2",model_name="{name}"')
    assert engine_loads(text) == {2: EngineLoad(waiting=4.0)}


def test_a_line_with_a_time_and_one_that_comes_first_are_read():
    assert engine_loads(b'vllm:num_requests_running{engine="0"} 7 1795224736830\n') == {
        0: EngineLoad(running=7.0)
    }


@pytest.mark.parametrize("value", ["NaN", "+Inf", "many", ""])
def test_what_is_no_number_is_not_known(value):
    assert engine_loads(gauge("num_requests_running", value)) == {}


def test_a_line_that_was_cut_off_does_not_count():
    whole = gauge("num_requests_running", "17.0")
    for length in range(len(whole)):
        assert engine_loads(whole[:length]) == {}
    assert engine_loads(whole) == {0: EngineLoad(running=17.0)}


def test_names_that_only_begin_alike_are_other_families():
    assert engine_loads(gauge("num_requests_waiting_by_reason", "3", 'reason="capacity"')) == {}
    assert engine_loads(b"# HELP vllm:num_requests_waiting{ 3\n") == {}


@given(st.binary() | st.integers(0, len(UNDER_LOAD)).map(lambda cut: UNDER_LOAD[cut:]))
def test_no_text_raises(text):
    for load in engine_loads(text).values():
        assert load.pinned_tokens is None or load.pinned_tokens >= 0


@given(st.data())
def test_no_label_raises(data):
    size, tokens, total = data.draw(st.tuples(*[st.text('0123456789"\\}{ ,=Nan-²', max_size=14)] * 3))
    labels = f'block_size="{size}",kv_cache_size_tokens="{tokens}",num_gpu_blocks="{total}"'
    for load in engine_loads(gauge("cache_config_info", "1.0", labels)).values():
        assert load.block_size is None or load.block_size > 0

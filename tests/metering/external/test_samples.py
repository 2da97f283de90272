"""Measures of targets: what sums, what is shared out, what is left out because nobody knows it."""

import math

import pytest

from grove_dp.metering.external.board import EVERYWHERE
from grove_dp.metering.external.samples import picture
from grove_dp.metering.merging import Merged, ModelNow, Times, WorkerNow
from grove_dp.metering.signals import CurveSignal, WorkerSignal


def worker(name, *, decode=0.0, work=0.0, output=0.0, kv=(-1.0, -1.0), state="ready", **place):
    told = WorkerSignal(
        slot=0,
        id=name,
        state=state,
        base="llama",
        models=["llama", "sql"],
        kv_tokens=kv[0],
        kv_capacity=kv[1],
        **place,
    )
    return WorkerNow(told, decode, 0.0, decode, 0.0, 0.0, 0.0, 0.0, output, work)


def model(name, queued_tokens=0.0, waits=None):
    times = Times(waits or {}, {}, {})
    return ModelNow(name, "default", times, 0.0, queued_tokens, 0.0, 0.0, 0.0, 0.0, 0.0)


def merged(workers, models=(), curves=(), missing=(), lost=0):
    return Merged(1e9, 1, missing, lost, 0, 60.0, tuple(workers), tuple(models), tuple(curves), (), 0.06)


def told(of):
    return {
        (each.metric.removeprefix("grove_dp_"), each.labels.get("component", "")): each.value
        for each in picture(of).samples
    }


LLAMA = {"namespace": "ml", "pcs": "llama"}


def test_workers_of_one_component_add_up_and_say_whose_they_are():
    found = picture(
        merged(
            [
                worker("a", work=0.5, output=10.0, component="prefill", role="prefill", **LLAMA),
                worker("b", work=0.25, output=5.0, component="prefill", role="prefill", **LLAMA),
                worker("c", output=90.0, component="decode", role="decode", **LLAMA),
            ]
        )
    )
    assert found.complete
    values = {(each.metric, each.labels["component"]): each.value for each in found.samples}
    assert values["grove_dp_prefill_work_seconds_per_second", "prefill"] == 0.75
    assert values["grove_dp_output_tokens_per_second", "decode"] == 90.0
    assert {each.namespace for each in found.samples} == {"ml"}
    labels = next(each.labels for each in found.samples if each.labels["component"] == "decode")
    assert labels == {"pcs": "llama", "component": "decode", "role": "decode", "model": "llama"}


def test_workers_that_nobody_placed_are_a_target_everywhere():
    [sample, *_] = picture(merged([worker("a")])).samples
    assert (sample.namespace, sample.labels) == (EVERYWHERE, {"role": "aggregated", "model": "llama"})


def test_what_waits_is_shared_out_by_ready_workers_and_never_counted_twice():
    workers = [
        worker("a", component="one", **LLAMA),
        worker("b", component="one", **LLAMA),
        worker("c", component="two", **LLAMA),
        worker("d", component="two", state="starting", **LLAMA),
        worker("e", component="decode", role="decode", **LLAMA),
    ]
    found = told(merged(workers, [model("llama", 600.0), model("sql", 300.0)]))
    assert found["queued_tokens", "one"] == pytest.approx(600.0)
    assert found["queued_tokens", "two"] == pytest.approx(300.0)
    assert found["queued_tokens", "decode"] == 0.0
    nobody = [worker("a", component="one", state="starting", **LLAMA)]
    assert told(merged(nobody, [model("llama", 600.0)]))["queued_tokens", "one"] == 600.0


def test_the_load_of_decoding_is_what_keeps_the_promise():
    curve = CurveSignal(
        class_of=0, models=["llama"], prefill=[0, 0, 0], prefill_n=99, step=[0.01, 0.001, 0.0], step_n=99
    )
    # a step with n requests takes 10 ms + n x 1 ms: 50 keep 60 ms
    found = told(merged([worker("a", decode=25.0), worker("b", decode=50.0)], curves=[curve]))
    assert found["decode_virtual_load", ""] == pytest.approx(1.5)
    full = worker("a", decode=25.0, kv=(90.0, 100.0))
    assert told(merged([full], curves=[curve]))["decode_virtual_load", ""] == pytest.approx(0.9)


def test_a_load_that_nobody_knows_is_left_out_and_none_is_zero():
    assert ("decode_virtual_load", "") not in told(merged([worker("a", decode=3.0)]))
    assert told(merged([worker("a")]))["decode_virtual_load", ""] == 0.0
    young = CurveSignal(class_of=0, models=["llama"], prefill=[], prefill_n=0, step=[0.01, 0.1, 0], step_n=3)
    assert ("decode_virtual_load", "") not in told(merged([worker("a", decode=3.0)], curves=[young]))
    hopeless = CurveSignal(
        class_of=0, models=["llama"], prefill=[], prefill_n=0, step=[0.1, 0.1, 0], step_n=99
    )
    assert ("decode_virtual_load", "") not in told(merged([worker("a", decode=3.0)], curves=[hopeless]))


def test_waits_are_a_quantile_over_frontends():
    def bucket(seconds):
        return math.ceil(16 * math.log2(seconds))

    waits = {bucket(0.1): 980.0, bucket(5.0): 20.0}
    found = told(merged([worker("a")], [model("llama", waits=waits)]))
    assert found["queue_wait_seconds", ""] == pytest.approx(5.0, rel=0.03)


def test_lost_records_and_missing_frontends_are_said():
    found = picture(merged([worker("a")], missing=("http://b:9090: TimedOut",), lost=3))
    assert found.missing == ("http://b:9090: TimedOut", "3 records were lost")

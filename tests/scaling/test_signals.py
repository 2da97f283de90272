"""From what frontends tell to demand: numbers worked out by hand, and what makes a picture incomplete."""

import pytest

from grove_dp.clock import ManualClock
from grove_dp.metering.merging import Frontends
from grove_dp.metering.records import DTYPE
from grove_dp.metering.signals import CurveSignal, ModelSignal, Signals, WorkerSignal, decode, encode
from grove_dp.native.plane import RECORD
from grove_dp.scaling.signals import occupancies, snapshot
from grove_dp.scaling.spec import ComponentSpec
from tests.scaling.samples import spec

URL = {"a": "http://a:9090", "b": "http://b:9090"}


def worker(name="w", component="decode", **more):
    place = {"namespace": "ml", "pod": name, "pod_uid": f"uid-{name}", "pcs": "chat", "component": component}
    told = {"slot": 0, "id": name, "state": "ready", "base": "tiny", "models": ["tiny", "adapter"]}
    return WorkerSignal(**(told | place | more))


def told(workers, models=(), now_s=0.0, curves=(), **more):
    return Signals(
        boot_id="1",
        now_ns=int(now_s * 1e9),
        wall_offset_ns=0,
        first_seq=0,
        next_seq=0,
        newest_seq=0,
        lost=more.pop("lost", 0),
        itl_s=0.05,
        workers=list(workers),
        models=list(models),
        curves=list(curves),
        dtype=RECORD,
        records=b"",
        **more,
    )


async def look(component, *answers, frontends=("a",), missing=()):
    """The snapshot after each frontend has given *answers*, ten seconds apart; a dict is by frontend."""
    now = {}

    async def fetch(url):
        answer = now[url.partition("/signals")[0]]
        if answer is None:
            raise OSError("down")
        return encode(answer)

    clock = ManualClock()
    merging = Frontends(fetch, clock)
    merging.sync([URL[name] for name in frontends])
    for answer in answers:
        now = {URL[name]: answer[name] if isinstance(answer, dict) else answer for name in frontends}
        polled = await merging.poll()
        await clock.advance(10)
    asked = spec(ComponentSpec(**({"name": "decode"} | component)), models=("tiny",))
    return snapshot(asked, "ml", merging.merged(), occupancies(polled.answers.values()), clock.now(), missing)


async def demand(component, *answers, **more):
    return (await look(component, *answers, **more)).demands["decode"]


async def test_in_a_rise_tokens_are_counted_for_what_was_placed_and_not_for_what_ended():
    # 40 placed, 30 of them still there: the tokens of ten, the work of forty
    after = worker(placed=40, inflight=30, prompt_tokens=10_000, work_s=20.0)
    found = await demand({}, told([worker()]), told([after], now_s=10))
    assert found.prefill_tokens == 2000.0


async def test_prefill_is_seconds_of_a_worker_per_second():
    before = worker(work_s=10.0, prompt_tokens=1000, cached_tokens=0, placed=3)
    after = worker(work_s=25.0, prompt_tokens=41_000, cached_tokens=10_000, placed=9)
    found = await demand({}, told([before]), told([after], now_s=10))
    assert (found.prefill, found.prefill_tokens) == (1.5, 2000.0)
    declared = await demand({"prefill_tokens_per_second": 1500.0}, told([before]), told([after], now_s=10))
    assert (declared.prefill, declared.prefill_tokens) == (2.0, 1500.0)


async def test_decode_is_tokens_over_those_of_a_worker_at_its_limit():
    curve = CurveSignal(
        class_of=0, models=["tiny"], prefill=[0.0] * 3, prefill_n=0, step=[0.01, 0.001, 0.0], step_n=99
    )
    answers = (
        told([worker(output_tokens=0)], curves=[curve]),
        told([worker(output_tokens=16_000)], now_s=10, curves=[curve]),
    )
    found = await demand({}, *answers)
    # 40 requests make a step of 50 ms, so 800 tokens a second; there are 1,600
    assert found.decode_tokens == pytest.approx(800)
    assert found.decode == pytest.approx(2.0)
    declared = await demand({"decode_tokens_per_second": 400.0}, *answers)
    assert declared.decode == 4.0


async def test_a_full_cache_counts_where_it_is_more():
    full = worker(output_tokens=0, kv_tokens=90.0, kv_capacity=100.0)
    other = worker("v", output_tokens=0, kv_tokens=60.0, kv_capacity=100.0)
    found = await demand({}, told([full, other]), told([full, other], now_s=10))
    assert found.decode == 1.5


async def test_what_nobody_can_tell_is_unknown_and_not_nothing():
    answers = told([worker(decode=3.0)]), told([worker(decode=3.0, output_tokens=900)], now_s=10)
    found = await demand({}, *answers)
    assert (found.decode, found.load) == (None, None)


async def test_roles_take_their_own_part():
    before, after = worker(role="prefill"), worker(role="prefill", work_s=5.0, output_tokens=10_000)
    found = await demand({"role": "prefill"}, told([before]), told([after], now_s=10))
    assert (found.prefill, found.decode) == (0.5, 0.0)
    models = [ModelSignal(model="tiny", queued=4, queued_tokens=100.0)]
    found = await demand({"role": "decode"}, told([before]), told([after], models, now_s=10))
    assert (found.prefill, found.queued, found.queued_s) == (0.0, 0.0, 0.0)


async def test_what_waits_is_work_too_and_what_is_held_back_counts_as_arrived():
    before = told([worker()], [ModelSignal(model="adapter", arrived=0)])
    after = told(
        [worker(work_s=10.0, prompt_tokens=10_000, placed=50)],
        [ModelSignal(model="adapter", arrived=100, queued=50, queued_tokens=5_000.0)],
        now_s=10,
    )
    found = await demand({}, before, after)
    assert (found.prefill, found.arriving, found.queued, found.queued_s) == (2.0, 10.0, 50.0, 5.0)


async def test_a_queue_is_shared_by_ready_workers():
    models = [ModelSignal(model="tiny", queued=9, queued_tokens=0.0)]
    workers = [worker("x"), worker("y"), worker("z", component="other"), worker("u", state="draining")]
    found = await demand({}, told(workers, models), told(workers, models, now_s=10))
    assert (found.queued, found.workers, found.known) == (6.0, 2, 3)


async def test_others_sets_and_namespaces_are_not_ours():
    after = [worker("x", work_s=9.0, namespace="other"), worker("y", work_s=9.0, pcs="other")]
    before = [worker("x", namespace="other"), worker("y", pcs="other")]
    found = await demand({}, told(before), told(after, now_s=10))
    assert (found.known, found.prefill) == (0, 0.0)


async def test_frontends_add_up_and_all_must_have_heard_of_a_drain():
    before = {"a": told([worker()]), "b": told([worker()])}
    after = {
        "a": told([worker(work_s=10.0, inflight=0, draining=True)], now_s=10),
        "b": told([worker(work_s=5.0, inflight=0)], now_s=10),
    }
    seen = await look({}, before, after, frontends=("a", "b"))
    assert seen.demands["decode"].prefill == 1.5
    assert not seen.idle("uid-w")
    after["b"] = told([worker(work_s=5.0, inflight=2, draining=True)], now_s=10)
    assert not (await look({}, before, after, frontends=("a", "b"))).idle("uid-w")
    after["b"] = told([worker(work_s=5.0, inflight=0, draining=True)], now_s=10)
    assert (await look({}, before, after, frontends=("a", "b"))).idle("uid-w")
    after["b"] = told([], now_s=10)
    assert (await look({}, before, after, frontends=("a", "b"))).idle("uid-w")


@pytest.mark.parametrize(
    ("answers", "more", "says"),
    [
        ((told([]),), {}, "http://a:9090: FirstAnswer"),
        ((told([]), None), {}, "http://a:9090: OSError"),
        ((told([]), told([], now_s=10, lost=3)), {}, "3 records were lost"),
        (
            (told([]), told([], now_s=10)),
            {"missing": ("b:9090: NameNotResolved",)},
            "b:9090: NameNotResolved",
        ),
        ((told([]), told([], now_s=10)), {"frontends": ()}, "NoFrontends"),
    ],
)
async def test_what_makes_a_picture_incomplete_is_named(answers, more, says):
    dicts = [{"a": answer} for answer in answers]
    assert says in (await look({}, *dicts, **more)).missing


async def test_promises_kept_and_start_ups_are_measured():
    before = told([worker()], [ModelSignal(model="tiny")])
    after = told(
        [worker()],
        [ModelSignal(model="tiny", judged=20, kept=19)],
        now_s=10,
        startups=[9.0, 1.0, 2.0, 3.0, 4.0],
    )
    seen = await look({}, before, after)
    assert (seen.attained, seen.startup_s) == (0.95, 4.0)
    assert decode(encode(after)).array().dtype == DTYPE

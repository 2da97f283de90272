"""Tests of bench.quality: the virtual workers, and that knowing more makes for sooner answers."""

import numpy as np
import pytest

from bench.quality.figures import figures_of
from bench.quality.ideal import pooled_hit_rate
from bench.quality.simulate import build, simulate, unloaded_prefill_s
from bench.quality.workloads import Workload, mix
from grove_dp.sim.profiles import LLAMA_8B_H100, StepWork

PROFILE = LLAMA_8B_H100
PEERS = ("least_load", "round_robin", "random", "session", "dynamo", "llmd")


@pytest.fixture(scope="module", autouse=True)
def _simulator():
    build()


def played(workload: Workload, policy: str, *, workers=8, kv_tokens=450e3, **settings):
    given = {"fifo": 1.0, "bind_full": float(policy in ("kv", "approx"))} | settings
    return simulate(
        workload, policy=policy, workers=workers, profile=PROFILE, kv_tokens=kv_tokens, settings=given
    )


def figures(workload: Workload, policy: str, *, workers=8, **settings):
    return figures_of([played(workload, policy, workers=workers, **settings)], PROFILE, workers)


def turns(prompts, arrivals, chains, output=4) -> Workload:
    """Requests by hand, in blocks of 512 tokens."""
    lengths = [len(chain) for chain in chains]
    return Workload(
        np.array(arrivals, dtype=float),
        np.array(prompts, dtype=np.uint32),
        np.full(len(prompts), output, dtype=np.uint32),
        np.arange(1, len(prompts) + 1, dtype=np.uint64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64),
        np.array([block for chain in chains for block in chain], dtype=np.uint64),
        512,
    )


def test_a_lone_request_takes_what_the_profile_says():
    run = played(turns([5000], [0.0], [range(1, 10)], output=11), "kv", workers=1)
    prefill, decode = StepWork(), StepWork()
    prefill.add_prefill(5000, 0)
    decode.add_decode(5005)
    assert run.rows[0, 0] == pytest.approx(PROFILE.step_s(prefill))
    assert run.rows[0, 1] == pytest.approx(PROFILE.step_s(decode), rel=0.01)


def test_the_second_turn_finds_the_first_on_its_worker_and_computes_only_the_rest():
    run = played(turns([4096, 6000], [0.0, 2.0], [range(1, 9), range(1, 12)]), "kv")
    first, second = run.rows
    assert second[4] == first[4]  # the same worker
    assert second[2] == second[3] == 4096  # found as predicted
    assert second[0] < first[0]


def test_the_last_token_is_always_computed():
    run = played(turns([4096, 4096], [0.0, 2.0], [range(1, 9), range(1, 9)]), "kv")
    assert run.rows[1, 2] == 4096 - 512


def test_a_cache_that_is_too_small_forgets():
    chains = [range(1, 9), range(101, 109), range(1, 9)]
    run = played(turns([4096 + 8] * 3, [0.0, 2.0, 4.0], chains), "kv", workers=1, kv_tokens=6000)
    assert run.rows[:, 2].tolist() == run.rows[:, 3].tolist()  # and the router heard of it
    assert run.rows[2, 2] < 4096


def test_the_same_seed_tells_the_same():
    part = mix("shared", 8).head(500).at_rate(60)
    assert np.array_equal(played(part, "random").rows, played(part, "random").rows)


def test_kv_answers_conversations_soonest_and_keeps_most_promises():
    part = mix("mooncake", 8).head(5000).at_rate(6.4)
    kv = figures(part, "kv")
    others = {policy: figures(part, policy) for policy in PEERS}
    assert kv.ttft_p95_s < min(other.ttft_p95_s for other in others.values())
    assert kv.goodput > max(other.goodput for other in others.values())
    assert kv.hit_rate > 2 * others["random"].hit_rate
    assert kv.max_min_load < 1.3
    assert kv.agreement >= 0.99


def test_kv_loses_nothing_where_there_is_nothing_to_reuse():
    part = mix("single", 8).head(6000).at_rate(70)
    kv, least_load = figures(part, "kv"), figures(part, "least_load")
    assert kv.ttft_p95_s <= least_load.ttft_p95_s
    assert kv.goodput >= least_load.goodput


def test_a_hot_system_prompt_is_spread_over_workers():
    part = mix("shared", 8).head(6000).at_rate(80)
    kv, session = figures(part, "kv"), figures(part, "session")
    assert kv.max_min_load < 1.8 < session.max_min_load
    assert kv.ttft_p95_s < 0.6 * session.ttft_p95_s
    assert kv.hit_rate > 0.85


def test_workers_that_leave_and_come_back_empty_cost_no_request():
    part = mix("churn", 8).head(4000).at_rate(5.5)
    run = played(part, "kv")
    assert (run.rows[:, 0] > 0).all()
    kv, least_load = figures(part, "kv"), figures(part, "least_load")
    assert kv.ttft_p95_s < least_load.ttft_p95_s
    assert kv.agreement >= 0.99


def test_late_binding_keeps_more_promises_under_overload():
    part = mix("mooncake", 8).head(3000).at_rate(14)
    fifo, late = figures(part, "kv", fifo=1.0), figures(part, "kv", fifo=0.0)
    assert late.goodput > 1.5 * fifo.goodput
    assert late.ttft_p50_s < fifo.ttft_p50_s


def test_what_a_pooled_cache_finds_grows_with_it_up_to_the_ceiling_of_the_trace():
    trace = mix("mooncake", 8)
    found = [pooled_hit_rate(trace, tokens) for tokens in (8 * 450e3, 8 * 2e6, 1e12)]
    assert found == pytest.approx([0.163, 0.336, 0.373], abs=0.001)


def test_eight_copies_share_nothing_with_one_another():
    one, eight = mix("mooncake", 8), mix("mooncake", 64)
    assert eight.n == 8 * one.n
    assert len(np.unique(eight.hashes)) == 8 * len(np.unique(one.hashes))


def test_unloaded_prefill_grows_faster_than_the_prompt():
    seconds = unloaded_prefill_s(PROFILE, np.array([1000.0, 10_000.0, 100_000.0]))
    assert seconds[1] > 9 * seconds[0]
    assert seconds[2] > 15 * seconds[1]


def test_a_setting_that_nobody_knows_is_refused():
    with pytest.raises(RuntimeError, match="UnknownPolicy"):
        played(mix("shared", 8).head(10), "psychic")
    with pytest.raises(RuntimeError, match="BadSetting"):
        played(mix("shared", 8).head(10), "kv", w_luck=1.0)

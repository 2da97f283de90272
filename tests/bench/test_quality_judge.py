"""Tests of bench.quality.judge: what counts as best, and what is only told."""

import pytest

from bench.quality import picture
from bench.quality.figures import Figures
from bench.quality.judge import hit_rows, policy_rows
from bench.quality.matrix import UNBOUNDED, Case, Outcome, gate_cases


def outcome(policy, ttft=1.0, goodput=0.99, *, mix="mooncake", load=80, hit=0.3, kv_tokens=450e3):
    case = Case(mix, load, "fifo", policy, 8, kv_tokens)
    return Outcome(case, 5.0, Figures(0.1, ttft, 5.0, 0.02, goodput, 0.9, hit, 1.1, 1.0, 0))


def verdicts(*outcomes):
    return {row.name.partition(": ")[2]: row.ok for row in policy_rows(outcomes)}


def test_kv_is_judged_against_the_best_of_the_others_in_each_figure():
    rows = policy_rows([outcome("kv"), outcome("llmd", 0.9, 0.5), outcome("dynamo", 2.0, 0.98)])
    assert [row.anchor for row in rows[:2]] == ["llmd", "dynamo"]
    assert [row.ok for row in rows[:2]] == [False, True]


@pytest.mark.parametrize(
    ("ttft", "goodput", "ok"), [(1.005, 0.989, True), (1.02, 0.99, False), (1.0, 0.98, False)]
)
def test_best_means_not_beaten_by_more_than_noise(ttft, goodput, ok):
    told = verdicts(outcome("kv", ttft, goodput), outcome("llmd", 1.0, 0.99))
    assert (told["p95 TTFT"] and told["goodput"]) is ok


def test_approx_is_no_rival_of_kv():
    assert verdicts(outcome("kv"), outcome("approx", 0.5, 1.0), outcome("llmd", 1.1, 0.9))["p95 TTFT"] is True


def test_single_turn_traffic_is_compared_with_least_load_and_without_tolerance():
    told = verdicts(outcome("kv", 1.001, mix="single"), outcome("least_load", 1.0, mix="single"))
    assert told["p95 TTFT, least_load"] is False
    assert told["p95 TTFT"] is True


def test_other_loads_are_told_but_not_judged():
    assert set(verdicts(outcome("kv", 9.0, load=110), outcome("llmd", load=110)).values()) == {None}


def test_found_tokens_are_judged_against_one_pooled_cache():
    ideal = {450e3: 0.16, UNBOUNDED: 0.373}
    rows = hit_rows(
        [
            outcome("kv", hit=0.145),
            outcome("kv", hit=0.14),
            outcome("kv", hit=0.364, load=25, kv_tokens=UNBOUNDED),
            outcome("random", hit=0.13, load=25, kv_tokens=UNBOUNDED),
        ],
        ideal,
    )
    assert [row.ok for row in rows] == [True, False, True, None]


def test_the_gate_runs_every_policy_behind_both_queues():
    cases = gate_cases((80, 95), 8, 3)
    assert len(cases) == len(set(cases)) == 4 * 2 * 2 * 9


def test_the_picture_shows_one_size_of_cache_and_the_same_outcomes_give_the_same_bytes(tmp_path):
    shown = [outcome("kv", load=95), outcome("llmd", 1.2, load=95)]
    picture.draw(shown, tmp_path / "one.svg")
    picture.draw([*shown, outcome("kv", 0.1, load=95, kv_tokens=UNBOUNDED)], tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()

"""Tests of bench.proxy.rows: windows become rows, and every promise of the project has one."""

import pytest

from bench.proxy.measure import Quantiles, Window
from bench.proxy.rows import rows
from bench.proxy.run import Memory, Samples
from bench.proxy.work import WORKS

NAMES = [
    "ns_small",
    "ns_8k",
    "ns_128k",
    "sse_25k",
    "sse_100k_delivered",
    "sse_100k_age_p99",
    "latency_added_p50",
    "latency_added_p99",
    "age_p99_burning",
    "rss_idle",
    "rss_growth_1000",
    "rss_growth_8000",
]


def window(cpu_s=1.0, ok=100_000, events=100_000, p50=100.0, p99=200.0, age_p99=1000.0, **more):
    return Window(
        seconds=2.0,
        proxy_cpu_s=cpu_s,
        foreign_cores=0.0,
        rss_mib=60.0,
        ok=ok,
        events=events,
        latency_us=Quantiles(p50=p50, p99=p99),
        age_us=Quantiles(p99=age_p99),
        **more,
    )


def samples(turn, reps=3):
    turns = {
        name: [dict(turn) for _ in range(reps)]
        for name, work in WORKS.items()
        if work.kind in ("turns", "latency")
    }
    memory = {
        "grove": Memory(55.0, {"mem_1000": 65.0, "mem_8000": 120.0}),
        "nginx": Memory(20.0, {"mem_1000": 37.0, "mem_8000": 158.0}),
    }
    turns["burn_3k"] = [{"grove": window(age_p99=age)} for age in (3000.0, 9000.0, 4000.0)]
    return Samples(turns, memory)


def by_name(made):
    return {row.name: row for row in made}


def test_every_promise_has_a_row_with_must_and_aim():
    made = rows(samples({"direct": window(p50=50, p99=90), "nginx": window(), "grove": window(cpu_s=0.8)}))
    assert [row.name for row in made] == NAMES
    assert all(row.must and row.aim for row in made if row.name != "rss_idle")


def test_the_ratio_is_the_median_of_the_turns_ratios():
    taken = samples({})
    taken.turns["ns_small"] = [
        {"nginx": window(cpu_s=1.0), "grove": window(cpu_s=0.9)},
        {"nginx": window(cpu_s=2.0), "grove": window(cpu_s=1.6)},  # the machine was slow for a turn
        {"nginx": window(cpu_s=1.0), "grove": window(cpu_s=0.7)},
    ]
    row = by_name(rows(taken))["ns_small"]
    assert row.ratio == pytest.approx(0.8)
    assert row.value == pytest.approx(9.0)
    assert row.ok


def test_latency_counts_what_comes_on_top_of_no_proxy():
    turn = {
        "direct": window(p50=100, p99=200),
        "nginx": window(p50=200, p99=400),
        "grove": window(p50=190, p99=600),
    }
    made = by_name(rows(samples(turn)))
    assert made["latency_added_p50"].value == pytest.approx(90)
    assert made["latency_added_p50"].ratio == pytest.approx(0.9)
    assert made["latency_added_p99"].ratio == pytest.approx(2.0)
    assert made["latency_added_p99"].ok is False


def test_memory_is_bounded_as_growth_and_not_against_nginx():
    made = by_name(rows(samples({})))
    assert made["rss_idle"].value == 55
    assert made["rss_growth_1000"].value == 10
    assert made["rss_growth_1000"].anchor_value == 17
    assert made["rss_growth_1000"].must == "value <= 25"
    assert made["rss_growth_8000"].ok


def test_the_age_beside_a_busy_control_thread_is_bounded_in_milliseconds():
    row = by_name(rows(samples({})))["age_p99_burning"]
    assert (row.value, row.ratio, row.ok) == (4.0, None, True)


def test_a_slower_proxy_stands_beside_without_bounds():
    turn = {"nginx": window(cpu_s=1.0), "grove": window(cpu_s=0.8)}
    taken = samples(turn)
    taken.turns["ns_small"].append({"aiohttp": window(cpu_s=10.0)})
    row = by_name(rows(taken))["ns_small_aiohttp"]
    assert row.ratio == pytest.approx(10.0)
    assert (row.must, row.ok) == (None, None)


def test_without_nginx_there_are_figures_and_no_verdict():
    made = by_name(rows(samples({"grove": window()})))
    assert made["ns_small"].value == pytest.approx(10.0)
    assert (made["ns_small"].anchor, made["ns_small"].ratio, made["ns_small"].ok) == (None, None, None)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"refused": 3, "refused_status": 503}, "3 replies were not 200 (first: 503)"),
        ({"broken": 1}, "1 connections broke under a reply"),
        ({"no_done": 2, "streamed": True}, "2 streams ended without [DONE]"),
        ({"unasked_usage": 4, "streamed": True}, "4 usage events reached a client that had not asked"),
        ({"events": 0, "streamed": True}, "nothing was delivered"),
        ({"ok": 0, "streamed": True}, None),  # long streams, none of which had to end inside the window
    ],
)
def test_figures_of_a_proxy_that_answers_wrongly_are_known_as_such(more, says):
    assert window(**more).fault() == says

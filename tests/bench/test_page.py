"""Rates and quantiles from scraped pages, as PromQL computes them."""

from random import Random

import pytest

from bench.page import __main__ as page_bench
from bench.page.load import Phase, arrivals
from bench.page.scrapes import Interval, Page, intervals


def page(at_s, requests, cached, *buckets):
    lines = [
        "# TYPE grove_dp_arrivals_total counter",
        f'grove_dp_arrivals_total{{model="a"}} {requests}',
        f'grove_dp_arrivals_total{{model="b"}} {requests}',
        "# TYPE grove_dp_tokens_total counter",
        f'grove_dp_tokens_total{{kind="prompt"}} {4 * cached}',
        f'grove_dp_tokens_total{{kind="cached"}} {cached}',
        "# TYPE grove_dp_wait_seconds histogram",
    ]
    for bound, count in zip(("0.5", "1.0", "2.0", "+Inf"), buckets, strict=False):
        lines.append(f'grove_dp_wait_seconds_bucket{{le="{bound}"}} {count}')
    return Page(at_s, "\n".join(lines) + "\n")


def test_rates_and_shares_are_of_what_came_between():
    between = Interval(page(1.0, 10, 100), page(3.0, 16, 300))
    assert between.rate("arrivals_total") == 6.0
    assert between.rates("tokens_total", "kind") == {"prompt": 400.0, "cached": 100.0}
    assert between.shares("tokens_total", "kind") == {"prompt": 0.8, "cached": 0.2}


def test_a_quantile_is_interpolated_within_its_bucket():
    between = Interval(page(0.0, 0, 0, 5, 5, 5, 5), page(1.0, 0, 0, 5, 15, 25, 25))
    assert between.quantile("wait_seconds", 0.5) == pytest.approx(1.0)
    assert between.quantile("wait_seconds", 0.75) == pytest.approx(1.5)
    assert Interval(between.after, between.after).quantile("wait_seconds", 0.5) is None


def test_what_lies_beyond_the_last_bound_is_told_as_that_bound():
    between = Interval(page(0.0, 0, 0, 0, 0, 0, 0), page(1.0, 0, 0, 0, 0, 0, 9))
    assert between.quantile("wait_seconds", 0.99) == 2.0


def test_intervals_reach_over_several_scrapes():
    pages = [page(0.5 * number, number, number) for number in range(6)]
    assert [(each.before.at_s, each.after.at_s) for each in intervals(pages, 4)] == [(0.0, 2.0), (0.5, 2.5)]


def test_requests_come_at_their_phase_s_rate():
    times = list(arrivals([Phase(10, 100), Phase(100, 10)], Random(1)))
    assert sum(at < 100 for at in times) == pytest.approx(1000, rel=0.1)
    assert sum(at >= 100 for at in times) == pytest.approx(1000, rel=0.1)
    assert times == sorted(times)


def test_the_whole_of_it_runs_and_the_page_agrees_with_the_clients(tmp_path, monkeypatch):
    monkeypatch.setattr(page_bench, "PHASES", (Phase(15, 3), Phase(30, 3)))
    assert page_bench.main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / "page.svg").stat().st_size > 10_000
    rows = page_bench.results.load(tmp_path / "page.json").rows
    ended, *_, tokens, _, _ = rows
    assert ended.value == ended.anchor_value > 50
    assert tokens.value == tokens.anchor_value

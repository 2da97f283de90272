"""Traces of the three formats, as they are published and as people save them again."""

import gzip
import itertools
import lzma
import statistics
from pathlib import Path
from random import Random

import pytest

import grove_dp.sim
from grove_dp.sim.arrivals import Curve, Lengths, arrivals
from grove_dp.sim.trace import TraceError, TraceRequest, Window, open_trace, read_curves, sniff, spread

SHIPPED = Path(grove_dp.sim.__file__).parent / "traces" / "mooncake_conversation_10min.jsonl.xz"

MOONCAKE = (
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
    '{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}\n'
)
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:04.0319600,3180,8\r\n"
)
SERVEGEN = (
    '{"language/m": {"t": [0, 600, 1200], "rate": [2.0, 0.0, 4.0], "cvw": [1.0, 2.0, 1.5], "clients": 3}}'
)


@pytest.fixture
def saved(tmp_path):
    def save(content, name="trace"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return save


def rows(path, **how):
    return list(open_trace(path, **how))


# -- formats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "form"), [(MOONCAKE, "mooncake"), (AZURE, "azure"), (SERVEGEN, "servegen")]
)
@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_a_format_is_recognised_by_content_whatever_the_name(saved, content, form, packed):
    path = saved(packed(content.encode()), "notes.pdf")
    assert sniff(path) == form
    assert next(open_trace(path)).input_tokens > 0


def test_mooncake_rows_keep_their_ids(saved):
    assert rows(saved(MOONCAKE)) == [
        TraceRequest(0.0, 6758, 500, (0, 1, 2)),
        TraceRequest(3.0, 7322, 490, (0, 14)),
    ]


@pytest.mark.parametrize(
    "line",
    [
        '{"input_length": 1, "timestamp": 27482, "output_length": 2}',
        '{"timestamp": 27482, "input_length": 1, "output_length": 2, "hash_ids": null, "s": {"a": [1]}}',
        '{"timestamp":27482.0,"input_length":1.0,"output_length":2,"hash_ids":[]}',
        '\ufeff{"output_length": 2, "input_length": 1, "timestamp": 27482}',
        '\n\r\n  \n{"output_length": 2, "input_length": 1, "timestamp": 27482}\r\n\r\n',
    ],
)
def test_mooncake_rows_may_lack_ids_have_more_fields_and_blank_lines_around(saved, line):
    assert rows(saved(line)) == [TraceRequest(0.0, 1, 2)]


@pytest.mark.parametrize(
    "header", ["TIMESTAMP,ContextTokens,GeneratedTokens", '"timestamp", "contexttokens" ,"GENERATEDTOKENS"']
)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2023-11-16 18:17:03.9799600", "2023-11-16 18:17:04.9799600"),
        ("2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:01.009930+00:00"),
        ("2024-05-10T00:00:00Z", "2024-05-10T00:00:01Z"),
        ("2024-05-10 23:59:59", "2024-05-11 00:00:00"),
        ("2024-05-10 00:00:00+02:00", "2024-05-09 20:00:01-02"),
        ("2024-05-10 00:00:00,5 UTC", "2024-05-10 00:00:01.500000000 UTC"),
        ("1700000000.25", "1700000001.25"),
    ],
)
def test_azure_times_may_be_written_in_any_of_these_ways(saved, header, first, second):
    quoted = [f'"{time}"' if "," in time else time for time in (first, second)]
    path = saved(f"{header}\n{quoted[0]},1,2\n\n{quoted[1]},3,4\n")
    assert rows(path) == [TraceRequest(0.0, 1, 2), TraceRequest(1.0, 3, 4)]


def test_azure_columns_may_stand_in_any_order_among_others(saved):
    path = saved("Model,GeneratedTokens,TIMESTAMP,ContextTokens,Note\nx,8,2024-01-01 00:00:00,9,\n")
    assert rows(path) == [TraceRequest(0.0, 9, 8)]


def test_rows_a_little_out_of_order_are_sorted_and_time_starts_at_zero(saved):
    times = [5000, 4000, 7000, 6000]
    path = saved("".join(f'{{"timestamp":{t},"input_length":{t},"output_length":1}}\n' for t in times))
    assert [row.at_s for row in rows(path)] == [0.0, 1.0, 2.0, 3.0]


# -- errors name the place -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "place", "remedy"),
    [
        (MOONCAKE + '{"timestamp": 1, "input_length": 2}\n', "line 3", "output_length"),
        (MOONCAKE + "\n{broken\n", "line 4", "expected one JSON object"),
        (MOONCAKE + '{"timestamp": 1, "input_length": -2, "output_length": 1}\n', "line 3", "negative"),
        ("TIMESTAMP,ContextTokens\n1,2\n", "line 1", "lacks generatedtokens"),
        (AZURE + "yesterday,1,2\r\n", "line 4", "expected a time like"),
        (AZURE + "\r\n2023-11-16 18:17:05,1\r\n", "line 5", "token counts in 2, 3"),
        (AZURE + "2023-02-30 18:17:05,1,2\r\n", "line 4", "expected a time"),
        (AZURE + "2023-11-16 18:17:05,,2\r\n", "line 4", "expected a time"),
        ('{"m": {"t": [0, 1], "rate": [1]}}', "curve 'm'", "as many"),
        ('{"m": {"t": [1, 0], "rate": [1, 1]}}', "curve 'm'", "rising order"),
        ('{"m": {"t": [0, 1], "rate": [1, -1]}}', "curve 'm'", "negative"),
        ('{\n "m": {"t": [0,\n ?]}}', "line 3", "expected a JSON document"),
        ('{"m": {"rates": [1]}}', "line 1", "expected a JSON document"),
        ("{}", "line 1", "no rate curve"),
        ("a,b,c\n1,2,3\n", "line 1", "no known trace format"),
        ("\n\n", "trace", "empty"),
        (b"\xff\xfe\x00{", "trace", "not UTF-8"),
        (gzip.compress(MOONCAKE.encode() * 50)[:-30], "trace", "cut off"),
        (lzma.compress(Random(0).randbytes(50_000).hex().encode())[:2000], "trace", "cut off"),
    ],
)
def test_an_error_names_file_line_and_what_was_expected(saved, content, place, remedy):
    path = saved(content)
    with pytest.raises(TraceError) as wrong:
        rows(path)
    assert str(path) in str(wrong.value)
    assert place in str(wrong.value)
    assert remedy in str(wrong.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TraceError, match="No such file"):
        rows(tmp_path / "none")


# -- parts -----------------------------------------------------------------------------------------------


def test_a_window_starts_at_zero_and_is_half_open():
    requests = [TraceRequest(float(second), second, 1) for second in range(10)]
    assert [row.input_tokens for row in Window(3.0, 4.0).cut(requests)] == [3, 4, 5, 6]
    assert [row.at_s for row in Window(3.0, limit=2).cut(requests)] == [0.0, 1.0]
    assert list(Window(limit=0).cut(requests)) == []


def test_spreading_keeps_the_order_and_fills_the_bins():
    at = [0.0, 0.0, 0.0, 3.0, 6.0, 6.0]
    assert [row.at_s for row in spread(TraceRequest(t, 1, 1) for t in at)] == [0.0, 1.0, 2.0, 3.0, 6.0, 7.5]


# -- rate curves -----------------------------------------------------------------------------------------


def test_arrivals_follow_the_rate_and_its_variation():
    curve = Curve("m", (0.0, 1000.0, 2000.0), (20.0, 0.0, 5.0), (2.0, 1.0, 0.5))
    times = list(arrivals(curve, Random(1)))
    counts = [sum(1 for t in times if low <= t < low + 1000) for low in (0, 1000, 2000)]
    assert counts[0] == pytest.approx(20_000, rel=0.06)
    assert counts[1] == 0
    assert counts[2] == pytest.approx(5_000, rel=0.05)
    assert times == sorted(times)
    for low, cv in ((0, 2.0), (2000, 0.5)):
        inside = [t for t in times if low <= t < low + 1000]
        gaps = [later - earlier for earlier, later in itertools.pairwise(inside)]
        assert statistics.pstdev(gaps) / statistics.fmean(gaps) == pytest.approx(cv, rel=0.1)


def test_the_same_seed_draws_the_same_arrivals_and_another_does_not(saved):
    path = saved(SERVEGEN)
    window = Window(for_s=60.0)
    assert (
        rows(path, seed=1, window=window)
        == rows(path, seed=1, window=window)
        != rows(path, seed=2, window=window)
    )


def test_a_window_late_in_a_curve_is_reached_at_once(saved):
    path = saved('{"m": {"t": [0, 1000000], "rate": [5000, 10]}}')
    got = rows(path, window=Window(from_s=1_000_000.0, for_s=100.0))
    assert len(got) == pytest.approx(1000, rel=0.15)
    assert 0 <= got[0].at_s < 2.0


def test_curves_of_a_file_are_played_together_and_scaled(saved):
    path = saved('{"a": {"t": [100, 200], "rate": [10, 10]}, "b": {"t": [0], "rate": [30], "cvw": null}}')
    assert [curve.t[0] for curve in read_curves(path)] == [0.0, 0.0]
    assert len(rows(path, window=Window(for_s=100.0))) == pytest.approx(4000, rel=0.1)
    assert len(rows(path, window=Window(for_s=100.0), rate_scale=0.1)) == pytest.approx(400, rel=0.2)


def test_a_curve_without_a_name_is_read_too(saved):
    assert [curve.name for curve in read_curves(saved('{"t": [0, 9], "rate": [1, 2]}'))] == [""]


def test_lengths_have_their_mean_and_are_never_zero():
    rng = Random(3)
    drawn = [Lengths(800.0, 3.0).draw(rng) for _ in range(20_000)]
    assert statistics.fmean(pair[0] for pair in drawn) == pytest.approx(800, rel=0.05)
    assert min(min(pair) for pair in drawn) >= 1


# -- the trace that ships --------------------------------------------------------------------------------


def test_the_shipped_trace_is_ten_minutes_of_conversations():
    got = rows(SHIPPED)
    assert len(got) == 1750
    assert got[-1].at_s < 600
    assert all(len(row.hash_ids) == -(-row.input_tokens // 512) for row in got)
    assert {row.hash_ids[0] for row in got} == {0}

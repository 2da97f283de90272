"""Tests of bench.results: what a row promises, and what a broken promise does."""

from pathlib import Path

import pytest

from bench import results


def made(*rows):
    return results.new("python -m bench.example", rows)


def test_a_ratio_is_value_over_anchor():
    assert results.row("a", 30, "µs", anchor="nginx", anchor_value=20).ratio == 1.5


def test_a_paired_ratio_stands_before_the_quotient_of_medians():
    assert results.row("a", 30, "µs", anchor="nginx", anchor_value=20, ratio=1.4).ratio == 1.4


@pytest.mark.parametrize(
    ("value", "anchor_value", "must", "ok"),
    [
        (23.0, 20.0, "ratio <= 1.15", True),
        (23.1, 20.0, "ratio <= 1.15", False),
        (97.0, 100.0, "ratio >= 0.97", True),
        (96.9, 100.0, "ratio >= 0.97", False),
        (25.0, 1.0, "value <= 25", True),
        (25.1, 900.0, "value <= 25", False),
        (23.0, None, "ratio <= 1.15", None),  # the anchor could not be measured: nothing to judge
    ],
)
def test_a_bound_judges_the_ratio_or_the_value(value, anchor_value, must, ok):
    assert results.row("a", value, "µs", anchor="nginx", anchor_value=anchor_value, must=must).ok is ok


@pytest.mark.parametrize("bound", ["<= 1", "ratio < 1", "ratio <= fast", "speed <= 1"])
def test_a_bound_that_nobody_can_read_is_refused(bound):
    with pytest.raises(ValueError, match="a bound reads"):
        results.row("a", 1, "µs", must=bound)


def test_a_result_comes_back_as_it_was_written(tmp_path: Path):
    result = made(
        results.row("a", 1.5, "µs", anchor="nginx", anchor_value=1, must="ratio <= 2", aim="ratio <= 1")
    )
    path = results.write(result, "example", tmp_path)
    assert path == tmp_path / "example.json"
    assert results.load(path) == result
    assert result.machine.cores >= 1


def test_the_same_rows_give_the_same_svg(tmp_path: Path):
    result = made(
        results.row("good", 1.0, "µs", anchor="nginx", anchor_value=1, must="ratio <= 2", aim="ratio <= 1"),
        results.row("broken", 0.5, "events/s", anchor="nginx", anchor_value=1, must="ratio >= 0.97"),
        results.row("unbounded", 3, "MiB"),
    )
    for folder in ("one", "two"):
        results.write(result, "example", tmp_path / folder)
    one, two = ((tmp_path / folder / "example.svg").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert b"good" in one
    assert b"unbounded" not in one


def test_the_gate_names_what_is_broken(capsys):
    result = made(
        results.row("calm", 1, "ms", must="value <= 8"),
        results.row("late", 9, "ms", must="value <= 8"),
        results.row("unjudged", 9, "ms", must="ratio <= 8"),
    )
    assert results.gate(result) == 1
    assert capsys.readouterr().err == "GateBroken: late: 9 ms, ratio ; must be value <= 8\n"
    assert results.gate(made(result.rows[0], result.rows[2])) == 0


def test_the_table_is_aligned_text_where_there_is_no_terminal(capsys):
    results.present(made(results.row("late", 12345.6, "ms", must="value <= 8")))
    head, line, where = capsys.readouterr().out.splitlines()
    assert line.startswith("late  12,346  ms")
    assert line.endswith("NO")
    assert head.index("value") == line.index("12,346")
    assert "cores" in where


def test_a_stored_result_can_be_gated_again(tmp_path: Path, capsys):
    path = results.write(made(results.row("late", 9, "ms", must="value <= 8")), "example", tmp_path)
    assert results.main([str(path)]) == 0
    assert results.main([str(path), "--gate"]) == 1
    assert "GateBroken: late" in capsys.readouterr().err

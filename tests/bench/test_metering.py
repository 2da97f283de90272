"""Tests of bench.metering: rows with bounds, anchors of the same run, parts by their names."""

from pathlib import Path

import pytest

from bench import results
from bench.metering import pages, timing, windows
from bench.metering.__main__ import PARTS, main
from bench.metering.timing import least_ns


@pytest.mark.xdist_group("cpus")
def test_every_part_is_measured_beside_its_anchor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SERIES", 40)
    monkeypatch.setattr(timing, "TURN_S", 0.001)
    assert main(["--turns", "1", "--quick", "--beside", "--out", str(tmp_path)]) == 0
    made = {row.name: row for row in results.load(tmp_path / "metering_part.json").rows}
    assert made["observe, Python"].must == "value <= 60"
    assert made["observe with a window, C"].must == "value <= 15"
    assert made["p99 of 900 s"].must == "value <= 20"
    page = made["40 histograms, text"]
    assert (page.must, page.anchor) == ("value <= 10", "prometheus-client")
    assert page.ratio is not None
    assert page.ratio < 0.2
    observe = made["observe, Python"]
    assert observe.ratio is not None
    assert observe.ratio < 0.3
    assert (tmp_path / "metering_part.svg").exists()


def test_memory_is_counted_with_the_labels() -> None:
    bare, windowed = windows.memory()
    assert 3 < bare.value <= 4
    assert 60 < windowed.value <= 64
    assert bare.ok
    assert windowed.ok


def test_a_case_is_timed_per_call() -> None:
    def short(rounds: int) -> None:
        sum(range(rounds))

    def longer(rounds: int) -> None:
        sum(range(100 * rounds))

    ns = least_ns({"short": short, "longer": longer}, 3)
    assert 0 < ns["short"] < ns["longer"]


def test_an_unknown_part_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "pictures"]) == 2
    assert f"UnknownPart: pictures; there are {', '.join(PARTS)}" in capsys.readouterr().err

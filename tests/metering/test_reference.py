"""The reference page is what the code serves."""

from pathlib import Path

from grove_dp.metering.reference import page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_lists_what_is_served():
    assert PAGE.read_text() == page(), "run: python -m grove_dp.metering.reference > docs/metrics.md"


def test_every_metric_has_a_unit_or_counts_something():
    names = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
    assert len(names) == len(set(names)) > 60
    assert all(name.startswith("grove_dp_") for name in names)

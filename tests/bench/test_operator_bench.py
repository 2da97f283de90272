"""The operator's bench, small: every row comes out, and what does not depend on the machine is right."""

from pathlib import Path

import pytest

from bench import results
from bench.operator.__main__ import main

pytestmark = [
    pytest.mark.controlplane("kube-scheduler", "kube-controller-manager"),
    pytest.mark.timeout(240),
]
ROWS = {
    "6 bare pods, no operator: all ready",
    "CPUs that others used",
    "3 x 2 pods: first ready",
    "3 x 2 pods: all ready",
    "writes per pod, create to delete",
    "the same by its own count",
    "Events per gang",
    "CPU of the operator",
    "its peak memory",
    "6 pods deleted",
    "3 x 2 cliques of a pod: all ready",
    "writes per pod, two cliques",
    "CPUs that others used, two cliques",
    "4 bare pods, no set: ready",
    "new set of 4 pods ready",
    "set with a scaled gang ready",
    "group from 2 to 4 ready",
    "pod back after its end",
    "8 pods rolled",
    "CPUs that others used, small",
    "gang of 8, room for 5: pods that run",
    "8 ready once there is room",
}


@pytest.mark.xdist_group("cpus")
def test_every_row_comes_out_and_the_api_server_counts_the_writes_as_the_operator_does(
    tmp_path: Path,
) -> None:
    small = ["--only", "large,two,small,gang", "--turns", "1", "--replicas", "3"]
    assert main([*small, "--beside", "--out", str(tmp_path)]) == 0
    made = {row.name: row for row in results.load(tmp_path / "operator_part.json").rows}
    assert made.keys() == ROWS
    assert made["gang of 8, room for 5: pods that run"].ok
    own = made["the same by its own count"].value
    assert made["writes per pod, create to delete"].value == pytest.approx(own)
    assert 3 < own < 12
    assert all(row.value > 0 for row in made.values() if row.unit == "s")
    assert made["8 pods rolled"].must == "value <= 1"


def test_an_unknown_part_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "pictures", "--beside"]) == 2
    expected = "UnknownPart: pictures; there are large, two, small, gang, packing"
    assert expected in capsys.readouterr().err

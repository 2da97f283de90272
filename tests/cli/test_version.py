"""Tests of grove_dp/cli/version.py."""

import json

import pytest

from grove_dp import __version__
from grove_dp.cli.main import main


def test_json_tells_version_compiler_flags_and_cpu_features(capsys):
    assert main(["version", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == __version__
    assert told["compiler"].split()[0] in ("gcc", "clang")
    assert "-std=c11" in told["flags"]
    assert told["debug"] is ("-O0" in told["flags"])
    assert isinstance(told["cpu_features"], list)
    assert told["cython"].startswith("3.3.")


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_text_starts_with_name_and_version(capsys, words):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"grove-dp {__version__}")

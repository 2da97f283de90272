"""Tests of grove_dp/cli/config.py."""

import json

from grove_dp.cli.main import main
from grove_dp.fields import fields


def test_show_prints_each_value_with_its_origin(capsys, write, monkeypatch):
    file = write("grove.yaml", "limits:\n  body_bytes: 64MiB\n")
    monkeypatch.setenv("GROVE_DP_LOG__LEVEL", "debug")
    assert main(["config", "show", "--config", str(file), "--port", "8001"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert list(rows) == list(fields())
    assert rows["limits.body_bytes"] == ["64MiB", f"{file}:2"]
    assert rows["log.level"] == ["debug", "GROVE_DP_LOG__LEVEL"]
    assert rows["http.port"] == ["8001", "--port"]
    assert rows["http.host"] == ["127.0.0.1", "default"]


def test_show_for_machines(capsys):
    assert main(["config", "show", "--json", "--workers", "http://a:1,http://b:2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["workers.urls"] == {"value": ["http://a:1", "http://b:2"], "origin": "--workers"}
    assert told["http.port"] == {"value": 8000, "origin": "default"}


def test_check_is_0_when_all_is_right(capsys, write):
    assert main(["config", "check", str(write("grove.yaml", "http: {port: 1}\n"))]) == 0
    assert "1 of" in capsys.readouterr().out


def test_check_is_2_and_tells_everything(capsys, write):
    file = write("grove.yaml", "http: {prot: 1}\nlog: {level: loud}\n")
    assert main(["config", "check", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "http.prot" in lines[0]
    assert "log.level" in lines[1]


def test_schema_describes_every_setting(capsys):
    assert main(["config", "schema"]) == 0
    told = json.loads(capsys.readouterr().out)["$defs"]
    for field in fields().values():
        entry = told[field.section.title().replace("_", "")]["properties"][field.name]
        assert entry["description"] == field.description
        assert entry["x-reloadable"] is field.live

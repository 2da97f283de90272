"""Tests of grove_dp/config.py: precedence, origins, and that everything wrong is told at once."""

import argparse
import subprocess
import sys

import pytest

from grove_dp.config import Change, add_settings_flags, changes, load
from grove_dp.errors import ConfigurationError
from grove_dp.fields import fields
from grove_dp.settings import Http, Routing, Settings


def flags(line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_settings_flags(parser)
    return parser.parse_args(line.split())


def messages(args=None, environ=None, file=None) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(args, environ or {}, file)
    assert caught.value.reason == "InvalidConfiguration"
    assert caught.value.exit_code == 2
    return caught.value.messages


def test_without_sources_everything_is_default():
    loaded = load(None, {})
    assert loaded.settings == Settings()
    assert set(loaded.origins) == set(fields())
    assert set(loaded.origins.values()) == {"default"}


def test_flag_beats_environment_beats_file_beats_default(write):
    file = write("grove.yaml", "http:\n  port: 1\n  threads: 2\n  host: filehost\n")
    environ = {"GROVE_DP_HTTP__PORT": "3", "GROVE_DP_HTTP__THREADS": "4"}
    loaded = load(flags("--port 5"), environ, file)
    assert loaded.settings.http == Http(port=5, threads=4, host="filehost")
    assert loaded.origins["http.port"] == "--port"
    assert loaded.origins["http.threads"] == "GROVE_DP_HTTP__THREADS"
    assert loaded.origins["http.host"] == f"{file}:4"
    assert loaded.origins["http.access_log"] == "default"


def test_config_flag_names_the_file(write):
    file = write("grove.yaml", "log: {level: debug}\n")
    assert load(flags(f"--config {file}"), {}).settings.log.level == "debug"


def test_list_flag_repeats_and_splits_at_commas():
    loaded = load(flags("--workers http://a:1,http://b:2 --workers.urls http://c:3"), {})
    assert loaded.settings.workers.urls == ("http://a:1", "http://b:2", "http://c:3")


def test_stronger_list_replaces_the_weaker(write):
    file = write("grove.yaml", "workers: {urls: ['http://a:1']}\n")
    assert load(flags("--workers http://b:2"), {}, file).settings.workers.urls == ("http://b:2",)


def test_switch_needs_no_value():
    assert load(flags("--http.access_log --port 1"), {}).settings.http.access_log
    assert not load(flags("--usage.inject false"), {}).settings.usage.inject


def test_every_setting_has_a_flag_and_a_variable():
    for path, field in fields().items():
        if field.default is None or field.is_list:
            continue
        word = field.show(field.default)
        assert load(flags(f"--{path} {word}"), {}).origins[path] == f"--{path}"
        assert load(None, {field.variable: word}).origins[path] == field.variable


def test_sizes_in_a_file_are_numbers_or_words(write):
    file = write("grove.yaml", "limits:\n  body_bytes: 64MiB\n  head_bytes: 8192\n")
    assert load(None, {}, file).settings.limits.body_bytes == 64 << 20
    assert load(None, {}, file).settings.limits.head_bytes == 8192


def test_empty_file_and_empty_section_are_fine(write):
    assert load(None, {}, write("empty.yaml", "")).settings == Settings()
    assert load(None, {}, write("grove.yaml", "http:\nlog: {}\n")).settings == Settings()


def test_everything_wrong_is_told_at_once_with_place_path_and_nearest_name(write):
    file = write(
        "grove.yaml",
        "http:\n  prot: 1\n  port: 99999\nhtp: {}\nrouting: {policy: leastload}\nlimits: 5\n"
        "log:\n  level: info\n  level: debug\n",
    )
    environ = {"GROVE_DP_LOG__LEVL": "debug", "GROVE_DP_HTTP_PORT": "80"}
    choices = "must be one of kv, approx, least_load, round_robin, random, session"
    assert messages(flags("--threads x"), environ, file) == (
        f"{file}:2: http.prot: no such setting; did you mean http.port?",
        f"{file}:3: http.port: expected int <= 65535, got 99999",
        f"{file}:4: htp: no such section; did you mean http?",
        f"{file}:5: routing.policy: {choices}, got leastload; did you mean least_load?",
        f"{file}:6: limits: must be a mapping of settings",
        f"{file}:9: log: level stands twice; keep one",
        "GROVE_DP_HTTP_PORT: is not read; write GROVE_DP_HTTP__PORT, with two underscores",
        "GROVE_DP_LOG__LEVL: no such setting; did you mean GROVE_DP_LOG__LEVEL?",
        "--threads: http.threads: must be an integer, got 'x'",
    )


def test_overridden_value_is_checked_too(write):
    file = write("grove.yaml", "http: {port: nine}\n")
    assert messages(flags("--port 9"), {}, file) == (f"{file}:1: http.port: expected int, got nine",)


def test_rule_across_settings_is_told_with_the_origin(write):
    file = write("grove.yaml", "deadlines:\n  hold_max_s: 200\n")
    assert messages(file=file) == (
        f"{file}:2: deadlines.hold_max_s: must not exceed deadlines.first_token_s (120)",
    )


def test_variables_that_kubernetes_injects_for_a_service_are_not_ours():
    injected = {
        "GROVE_DP_PORT": "tcp://10.0.0.1:8000",
        "GROVE_DP_SERVICE_HOST": "10.0.0.1",
        "GROVE_DP_HTTP_PORT": "tcp://10.0.0.1:8000",
        "GROVE_DP_PORT_8000_TCP_ADDR": "10.0.0.1",
        "GROVE_DP_DEBUG": "1",
    }
    assert load(None, injected).settings == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http: [", "is no YAML"),
        ("- 1\n", "the file: must be a mapping"),
        ("http: {port: 1}\n---\n", "is no YAML"),
    ],
)
def test_file_that_is_no_mapping_is_told(write, text, told):
    assert told in messages(file=write("grove.yaml", text))[0]


def test_file_that_is_missing_is_told(tmp_path):
    assert messages(file=tmp_path / "none.yaml") == (
        f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory",
    )


def test_yaml_makes_no_objects(write):
    file = write("grove.yaml", "http:\n  host: !!python/object/apply:os.getcwd []\n")
    assert "could not determine a constructor" in messages(file=file)[0]


def test_changes_tell_what_needs_a_restart():
    after = Settings(http=Http(port=1), routing=Routing(policy="random"))
    assert changes(Settings(), after) == [
        Change("http.port", 8000, 1, live=False),
        Change("routing.policy", "kv", "random", live=True),
    ]


def test_start_without_a_file_does_not_load_yaml():
    code = "import sys, grove_dp.config as c; c.load(None, {}); sys.exit('yaml' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

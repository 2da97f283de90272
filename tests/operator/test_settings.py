"""The operator's settings: where they come from, and what is wrong with them."""

import argparse
import re
from pathlib import Path

import msgspec
import pytest
from grove_operator.settings import OPERATOR, OperatorSettings

from grove_dp.config import add_settings_flags, read
from grove_dp.errors import ConfigurationError


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_settings_flags(parser, OPERATOR)
    return parser.parse_args(words)


def test_without_a_word_there_are_the_defaults():
    settings, origins = read(OPERATOR, parsed(), {})
    assert settings == OperatorSettings()
    assert (settings.webhooks.port, settings.health.port) == (9443, 9444)
    assert settings.leader.lease == "grove-operator-leader-election"
    assert settings.cluster.namespace is None
    assert set(origins.values()) == {"default"}


def test_the_defaults_keep_the_rules():
    assert [found for rule in OPERATOR.rules if (found := rule(OperatorSettings()))] == []


@pytest.mark.parametrize("words", [(), ("--leader.duration_s", "3", "--leader.deadline_s", "2.5")])
def test_the_election_times_are_ones_that_an_election_takes(words):
    settings, _ = read(OPERATOR, parsed(*words), {})
    assert settings.leader.times.duration_s == settings.leader.duration_s
    assert settings.leader.times.stop_s < settings.leader.duration_s - settings.leader.deadline_s


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path):
    file = tmp_path / "operator.yaml"
    file.write_text("gang: {confirm_s: 1, tries: 7}\nwork:\n  workers: 2\nlog: {level: debug}\n")
    environ = {"GROVE_OPERATOR_GANG__CONFIRM_S": "2", "GROVE_OPERATOR_WORK__WORKERS": "3"}
    args = parsed("--config", str(file), "--workers", "4", "--watch-namespace", "a")
    settings, origins = read(OPERATOR, args, environ)
    assert (settings.gang.confirm_s, settings.gang.tries, settings.work.workers) == (2.0, 7, 4)
    assert settings.cluster.namespace == "a"
    assert origins["work.workers"] == "--workers"
    assert origins["gang.confirm_s"] == "GROVE_OPERATOR_GANG__CONFIRM_S"
    assert origins["log.level"] == f"{file}:4"


def test_a_switch_is_set_by_its_name_alone_and_by_a_word():
    assert not read(OPERATOR, parsed("--leader-elect", "false"), {})[0].leader.enabled
    assert read(OPERATOR, parsed("--webhooks"), {})[0].webhooks.enabled


def test_the_frontends_variables_are_not_ours():
    assert read(OPERATOR, parsed(), {"GROVE_DP_HTTP__PORT": "x"})[0] == OperatorSettings()


def test_variables_that_kubernetes_makes_of_our_service_are_none_of_ours():
    made = {
        "GROVE_OPERATOR_SERVICE_HOST": "10.0.0.1",
        "GROVE_OPERATOR_SERVICE_PORT": "443",
        "GROVE_OPERATOR_PORT": "tcp://10.0.0.1:443",
        "GROVE_OPERATOR_WEBHOOKS_PORT": "tcp://10.0.0.1:443",
    }
    assert read(OPERATOR, parsed(), made)[0] == OperatorSettings()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--leader.deadline_s", "20"], "leader.deadline_s: must be between retry_s and duration_s"),
        (["--scheduler.default", "volcano"], "scheduler.names: must contain scheduler.default"),
        (["--order.by", "init"], "order.image: must be set"),
        (["--webhook-url", "http://1.2.3.4"], "webhooks.url: must be https://HOST"),
        (["--webhook-url", "https://[x"], "webhooks.url: must be https://HOST"),
        (["--webhooks.inject_ca_from", "x"], "must be NAMESPACE/CERTIFICATE"),
        (["--webhooks.inject_ca_from", "ns/x"], "needs webhooks.cert_dir"),
        (["--health-port", "9443"], "health.port: must not be webhooks.port"),
        (["--scheduler.backend", "onw"], "did you mean own?"),
        (["--workers", "0"], "--workers: work.workers: expected `int` >= 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(words, told):
    with pytest.raises(ConfigurationError) as caught:
        read(OPERATOR, parsed(*words), {})
    assert told.replace("`", "") in str(caught.value)


def test_a_setting_that_there_is_not_is_told_with_the_nearest(tmp_path):
    file = tmp_path / "operator.yaml"
    file.write_text("webhook: {port: 1}\ngang: {confirm: 1}\n")
    with pytest.raises(ConfigurationError) as caught:
        read(OPERATOR, parsed("--config", str(file)), {})
    assert f"{file}:1: webhook: no such section; did you mean webhooks?" in caught.value.messages
    assert f"{file}:2: gang.confirm: no such setting; did you mean gang.confirm_s?" in caught.value.messages


def test_every_duration_has_its_unit_in_its_name():
    assert all(field.name.endswith("_s") for field in OPERATOR.fields.values() if field.unit == "seconds")


def test_the_settings_have_a_schema():
    assert msgspec.json.schema(OperatorSettings)["$defs"]["Webhooks"]["properties"]["port"]["default"] == 9443


def test_the_documentation_names_settings_that_there_are():
    text = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    sections = {field.section for field in OPERATOR.fields.values()}
    named = {word for word in re.findall(r"`([a-z]+\.[a-z_]+)[:`]", text) if word.split(".")[0] in sections}
    assert len(named) > 10
    assert named - {"topology.yaml"} <= set(OPERATOR.fields)  # a sample
    flags = {flag for _, flag in re.findall(r"`([a-z]+\.[a-z_]+)` \(`(--[a-z-]+)`\)", text)}
    assert flags <= {alias for aliases in OPERATOR.aliases.values() for alias in aliases}

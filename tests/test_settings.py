"""Tests of grove_dp/settings.py and grove_dp/fields.py: values, bounds, and rules across sections."""

import msgspec
import pytest

from grove_dp import settings
from grove_dp.fields import fields, schema, value_of
from grove_dp.settings import RULES, Settings


def changed(**sections: dict[str, object]) -> Settings:
    kinds = {name: type(getattr(Settings(), name)) for name in sections}
    return Settings(**{name: kinds[name](**values) for name, values in sections.items()})


def objections(chosen: Settings) -> list[str]:
    return [found[0] for rule in RULES if (found := rule(chosen))]


def test_defaults_are_within_their_own_bounds():
    for path, field in fields().items():
        assert field.value(msgspec.to_builtins(field.default)) == field.default, path


def test_defaults_break_no_rule():
    assert objections(Settings()) == []


def test_every_setting_is_described_and_named_with_its_unit():
    for path, field in fields().items():
        assert field.description, path
        assert field.description == field.description.strip(), path
        assert path.endswith("_s") == (field.unit == "seconds") or path == "retry.budget_per_s", path
        assert path.endswith("_bytes") == (field.unit == "bytes"), path


def test_every_section_is_public():
    for section in Settings.__struct_fields__:
        assert type(getattr(Settings(), section)).__name__ in settings.__all__


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"deadlines": {"hold_max_s": 200.0}}, "deadlines.hold_max_s"),
        ({"deadlines": {"total_s": 5.0}}, "deadlines.total_s"),
        ({"circuit": {"open_s": 60.0}}, "circuit.open_s"),
        ({"limits": {"buffered_bytes": 1 << 20}}, "limits.buffered_bytes"),
        ({"admin": {"port": 8000}}, "admin.port"),
        ({"admin": {"host": "0.0.0.0"}}, "admin.token_file"),
        ({"workers": {"urls": ("https://a:1",)}}, "workers.urls"),
        ({"workers": {"urls": ("a:1",)}}, "workers.urls"),
        ({"external": {"mode": "sole"}}, "external.mode"),
        ({"external": {"mode": "sole", "secret": "a", "namespace": "b"}}, "external.mode"),
        ({"external": {"mode": "sole", "tls_cert_file": "a"}}, "external.mode"),
    ],
)
def test_a_rule_names_the_path_it_objects_to(sections, path):
    assert objections(changed(**sections)) == [path]


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("http.port", "0", 0),
        ("http.access_log", "yes", True),
        ("http.access_log", "OFF", False),
        ("deadlines.total_s", "1.5", 1.5),
        ("deadlines.total_s", "2", 2.0),
        ("limits.body_bytes", "65536", 65_536),
        ("limits.body_bytes", "64KiB", 65_536),
        ("limits.body_bytes", "64 KB", 64_000),
        ("limits.body_bytes", "1Gi", 1 << 30),
        ("workers.urls", "http://a:1, http://b:2,", ("http://a:1", "http://b:2")),
        ("workers.file", "", None),
        ("routing.policy", "session", "session"),
    ],
)
def test_a_word_becomes_a_value(path, text, value):
    assert fields()[path].parse(text) == value


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("http.port", "65536", "<= 65535, got 65536"),
        ("http.port", "-1", ">= 0"),
        ("http.port", "80a", "must be an integer"),
        ("http.host", "", "length >= 1"),
        ("http.access_log", "maybe", "true or false"),
        ("deadlines.total_s", "nan", "finite"),
        ("deadlines.head_s", "inf", "finite"),
        ("deadlines.head_s", "0", ">= 0.01"),
        ("limits.body_bytes", "3XiB", "a size such as"),
        ("limits.body_bytes", "-3MiB", "a size such as"),
        ("routing.policy", "leastload", "did you mean least_load?"),
        ("routing.session_header", "X Session", "matching regex"),
    ],
)
def test_a_wrong_word_is_told_with_what_is_expected(path, text, told):
    with pytest.raises(ValueError, match=told.replace("?", r"\?").replace("(", r"\(")):
        fields()[path].parse(text)


@pytest.mark.parametrize(("path", "value"), [(path, field.default) for path, field in fields().items()])
def test_what_is_shown_can_be_written_again(path, value):
    field = fields()[path]
    if value is not None and not field.is_list:
        assert field.parse(field.show(value)) == value


def test_schema_marks_what_a_reload_changes_and_takes_sizes_as_words():
    told = schema()["$defs"]
    assert told["Http"]["properties"]["port"]["x-reloadable"] is False
    assert told["Routing"]["properties"]["policy"]["x-reloadable"] is True
    assert told["Limits"]["properties"]["body_bytes"]["type"] == ["integer", "string"]
    assert told["Http"]["additionalProperties"] is False


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().http.port = 1  # type: ignore[misc]


def test_value_of_follows_the_path():
    assert value_of(changed(http={"port": 1234}), "http.port") == 1234

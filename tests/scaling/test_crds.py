"""The definition beside the code is the one that the code makes, and a cluster's schema is the file's."""

import msgspec
import pytest
import yaml

from grove_dp.errors import ConfigurationError
from grove_dp.scaling.crds import committed, definition, written
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.reporting import explanation, report
from grove_dp.scaling.settings import read
from grove_dp.scaling.spec import Spec
from tests.scaling.test_plan import decided


def schema():
    return definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_the_file_is_what_the_code_makes():
    assert committed() == written(definition())


def test_it_is_structural():
    def walk(part, at):
        assert part.get("type") in ("object", "array", "string", "integer", "number", "boolean"), at
        assert not {"$ref", "anyOf", "title"} & set(part), at
        for name, below in part.get("properties", {}).items():
            walk(below, f"{at}.{name}")
        if "items" in part:
            walk(part["items"], f"{at}[]")

    walk(schema(), "")


def test_every_field_of_the_spec_is_told():
    def walk(part, at):
        for name, below in part.get("properties", {}).items():
            assert below.get("description"), f"{at}.{name}"
            walk(below, f"{at}.{name}")
        if "items" in part:
            walk(part["items"], f"{at}[]")

    walk(schema()["properties"]["spec"], "spec")


def test_every_status_that_we_write_is_in_the_schema():
    decision, outcome = decided()
    one = Autoscaler(
        namespace="ml", name="chat", spec=Spec(pod_clique_set="chat", components=()), generation=3
    )
    made = report(one, decision, outcome, {})
    check(made.status, schema()["properties"]["status"], "status")
    assert msgspec.json.encode(explanation(one, decision, outcome))


def check(value, part, at):
    if part["type"] == "object":
        for name, below in value.items():
            assert name in part["properties"], f"{at}.{name}"
            check(below, part["properties"][name], f"{at}.{name}")
        assert set(part.get("required", ())) <= set(value), at
    elif part["type"] == "array":
        for each in value:
            check(each, part["items"], f"{at}[]")
    else:
        kinds = {"string": str, "integer": int, "number": float, "boolean": bool}
        assert isinstance(value, kinds[part["type"]]), at


# ------------------------------------------------------------ the file of the command

GOOD = """
namespace: ml
frontends: [grove-dp-admin.ml:9090]
autoscalers:
- name: chat
  namespace: ml
  spec:
    podCliqueSet: chat
    components: [{name: decode, maxReplicas: 8}]
    behavior: {holdSeconds: 60}
"""


def test_the_file_takes_the_same_spec(write):
    settings = read(write("autoscale.yaml", GOOD))
    (one,) = settings.listed
    assert (one.key, one.spec.components[0].max_replicas) == ("ml/chat", 8)
    assert (one.spec.behavior.hold_seconds, one.spec.behavior.headroom) == (60, 0.25)
    assert settings.tick_seconds == 5.0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("maxReplicas: 8", "maxReplica: 8", "unknown field `maxReplica` - at `$.autoscalers[0].spec"),
        ("maxReplicas: 8", "minReplicas: 0", "components[0]: minReplicas 0 needs scaleToZero"),
        (
            "holdSeconds: 60",
            "holdSeconds: -1",
            "Expected `float` >= 0.0 - at `$.autoscalers[0].spec.behavior",
        ),
        ("namespace: ml\nfrontends", "namespaces: ml\nfrontends", "unknown field `namespaces`"),
        ("podCliqueSet: chat", "podCliqueSet: Chat", "matching regex"),
        ("frontends: [", "frontends: [[", "is no YAML"),
        ("holdSeconds: 60}", "holdSeconds: 60}\n    setReplicas: {min: 3, max: 2}", "setReplicas: min must"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(write, old, new, says):
    assert old in GOOD
    with pytest.raises(ConfigurationError) as wrong:
        read(write("autoscale.yaml", GOOD.replace(old, new)))
    assert says in str(wrong.value)


def test_two_of_one_set_are_one_too_many(write):
    twice = yaml.safe_load(GOOD)
    twice["autoscalers"].append({**twice["autoscalers"][0], "name": "other"})
    with pytest.raises(ConfigurationError, match="chat scales the set chat already"):
        read(write("autoscale.yaml", yaml.safe_dump(twice)))

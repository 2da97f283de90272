"""The definitions as they are written, and on the embedded API server."""

from copy import deepcopy
from pathlib import Path

import msgspec
import pytest
import yaml
from grove_operator.crds import definition, definitions, kinds, written
from grove_operator.crds.__main__ import CRDS, main
from grove_operator.crds.core import Core, cut
from grove_operator.crds.schema import Rule, fixed, record, text

from grove_dp.kube.access import Access
from grove_dp.kube.errors import ApiError
from grove_dp.testing.kubeapi import InProcess, Server
from grove_dp.testing.loopclock import LoopClock

FIXTURES = Path(__file__).parents[1] / "fixtures" / "grove"
SAMPLES = [
    pytest.param(document, id=document["metadata"]["name"])
    for file in sorted(FIXTURES.glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]
SIMPLE = yaml.safe_load((FIXTURES / "simple.yaml").read_text())
PATHS = {
    "PodCliqueSet": "/apis/grove.io/v1alpha1/namespaces/default/podcliquesets",
    "PodClique": "/apis/grove.io/v1alpha1/namespaces/default/podcliques",
    "PodCliqueScalingGroup": "/apis/grove.io/v1alpha1/namespaces/default/podcliquescalinggroups",
    "ClusterTopologyBinding": "/apis/grove.io/v1alpha1/clustertopologybindings",
    "PodGang": "/apis/scheduler.grove.io/v1alpha1/namespaces/default/podgangs",
}
CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLIENT_SIDE_APPLY_MOST = 262_144  # bytes of all annotations of an object
STRICT = "?fieldValidation=Strict"


def schemas(part):
    """Every schema in a schema."""
    yield part
    for below in (*part.get("properties", {}).values(), part.get("items"), part.get("additionalProperties")):
        if isinstance(below, dict):
            yield from schemas(below)


def root(document):
    return document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


# ------------------------------------------------------------ as they are written


def test_the_files_are_what_the_tables_say():
    expected = {kind.file: written(definition(kind)) for kind in kinds()}
    assert {file.name: file.read_text() for file in CRDS.iterdir()} == expected


def test_writing_them_again_changes_no_byte(tmp_path):
    assert main(["--out", str(tmp_path)]) == 0
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in CRDS.iterdir()
    }


def test_a_missing_source_is_told(tmp_path, capsys):
    assert main(["--openapi", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "api__v1_openapi.json" in capsys.readouterr().err


@pytest.mark.parametrize("document", definitions(), ids=lambda one: one["spec"]["names"]["kind"])
class TestEachDefinition:
    def test_reads_back_from_its_yaml_as_it_was(self, document):
        assert yaml.load(written(document), yaml.CSafeLoader) == document

    def test_is_small_enough_to_be_applied_by_any_client(self, document):
        assert len(msgspec.json.encode(document)) < CLIENT_SIDE_APPLY_MOST / 2

    def test_refers_to_nothing_and_keeps_nothing_unknown_but_drivers_parameters(self, document):
        for schema in schemas(root(document)):
            assert "$ref" not in schema
        kept = [
            schema for schema in schemas(root(document)) if "x-kubernetes-preserve-unknown-fields" in schema
        ]
        assert len(kept) == (1 if document["spec"]["names"]["kind"] == "PodCliqueSet" else 0)

    def test_describes_each_field_of_its_own(self, document):
        core = Core.committed()
        borrowed = [core.pod_spec, core.metric_spec, core.claim_template]
        known = {msgspec.json.encode(part) for whole in borrowed for part in schemas(whole)}
        spec, status = (root(document)["properties"][name] for name in ("spec", "status"))
        silent = [
            name
            for whole in (spec, status)
            for part in schemas(whole)
            if msgspec.json.encode(part) not in known
            for name, of in part.get("properties", {}).items()
            if not of.get("description") and msgspec.json.encode(of) not in known and name != "schedulerName"
        ]
        assert silent == []

    def test_says_by_which_fields_items_of_a_keyed_list_differ(self, document):
        for schema in schemas(root(document)):
            for key in schema.get("x-kubernetes-list-map-keys", ()):
                items = schema["items"]
                assert key in items.get("required", ()) or "default" in items["properties"][key]


# ------------------------------------------------------------ the words


def test_a_rule_leaves_what_it_is_given_as_it_was():
    before = record("A thing.", ["name"], name=text("Its name."))
    copy = deepcopy(before)
    assert fixed(before) != before
    assert before == copy


def test_rules_add_up():
    twice = fixed(fixed(text("A word.")))
    assert len(twice["x-kubernetes-validations"]) == 2
    assert Rule("self == ''", "must be empty").document() == {
        "rule": "self == ''",
        "message": "must be empty",
    }


# ------------------------------------------------------------ from OpenAPI


def openapi(**properties):
    schemas = {
        "io.k8s.api.core.v1.PodSpec": {
            "description": "A pod.",
            "type": "object",
            "required": ["name"],
            "properties": properties,
        },
        "io.k8s.api.core.v1.Part": {"type": "object", "properties": {"a": {"type": "string"}}},
        "io.k8s.api.autoscaling.v2.MetricSpec": {"type": "object"},
        "io.k8s.api.resource.v1.ResourceClaimTemplateSpec": {"type": "object"},
        "io.k8s.api.core.v1.Unused": {"type": "object"},
    }
    return Core(cut([{"components": {"schemas": schemas}}])).pod_spec["properties"]


def test_a_default_stays_only_where_it_says_more_than_zero_value():
    part = {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Part"}]}
    found = openapi(
        name={"type": "string", "default": ""},
        protocol={"type": "string", "default": "TCP"},
        whole=part | {"default": {}, "description": "A part."},
    )
    assert found == {
        "name": {"type": "string"},
        "protocol": {"type": "string", "default": "TCP"},
        "whole": {"type": "object", "properties": {"a": {"type": "string"}}},
    }


def test_words_of_today_do_not_bind_tomorrows_pods():
    assert openapi(name={"type": "string", "enum": ["Always", "Never"]}) == {"name": {"type": "string"}}


def test_quantities_are_numbers_or_words():
    name = "io.k8s.apimachinery.pkg.api.resource.Quantity"
    found = openapi(cpu={"$ref": f"#/components/schemas/{name}"})["cpu"]
    assert found["x-kubernetes-int-or-string"] is True
    assert found["anyOf"] == [{"type": "integer"}, {"type": "string"}]


# ------------------------------------------------------------ on the embedded API server


@pytest.fixture
async def api():
    async with Access(InProcess(Server(LoopClock()))) as api:
        for document in definitions():
            await api.create(CUSTOM, document)
        yield api


@pytest.mark.parametrize("document", SAMPLES)
async def test_the_embedded_server_takes_the_samples_whole(api, document):
    path = PATHS[document["kind"]]
    made = await api.create(path, document, into=dict)
    assert contains(made["spec"], document["spec"])


async def test_the_embedded_server_refuses_a_typo_and_a_wrong_word(api):
    sample = deepcopy(SIMPLE)
    sample["spec"]["template"]["cliques"][0]["spec"]["podSpec"]["conatiners"] = []
    with pytest.raises(ApiError, match=r'unknown field "spec.template.cliques\[0\].spec.podSpec.conatiners"'):
        await api.create(PATHS["PodCliqueSet"] + STRICT, sample)
    sample["spec"]["template"]["cliqueStartupType"] = "Sorted"
    with pytest.raises(ApiError, match=r"spec.template.cliqueStartupType: Unsupported value"):
        await api.create(PATHS["PodCliqueSet"], sample)


async def test_the_embedded_server_serves_scale_and_status(api):
    path = PATHS["PodCliqueSet"]
    await api.create(path, SIMPLE)
    await api.merge(f"{path}/simple/scale", {"spec": {"replicas": 3}})
    await api.merge(f"{path}/simple/status", {"status": {"replicas": 2, "hpaPodSelector": "app=simple"}})
    scale = await api.get(f"{path}/simple/scale", into=dict)
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, "selector": "app=simple"}


def contains(whole, part):
    """Whether all of *part* is there; defaults may have come in."""
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part

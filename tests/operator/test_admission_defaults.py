"""What is filled in: what Grove fills in, once, and nothing else."""

import copy
from pathlib import Path

import pytest
import yaml
from grove_operator.admission.defaults import defaulted, defaults, patch
from grove_operator.admission.drafts import Binding, PodCliqueSet, read
from grove_operator.admission.grammar import duration_s
from grove_operator.admission.subject import World
from grove_operator.admission.validate import validate
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.admission_documents import changed, clique, good_set

T = "spec.template"
C = f"{T}.cliques"
G = f"{T}.podCliqueScalingGroups"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "grove"
SAMPLES = [
    pytest.param(document, id=document["metadata"]["name"])
    for file in sorted(FIXTURES.glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
    if document["kind"] == "PodCliqueSet"
]


def patched(document, operations):
    """As the API server applies it: RFC 6902, `add` alone."""
    document = copy.deepcopy(document)
    for operation in operations:
        assert operation["op"] == "add"
        owner = document
        *steps, last = (
            step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]
        )
        for step in steps:
            owner = owner[int(step) if isinstance(owner, list) else step]
        owner[last] = operation["value"]
    return document


def test_a_set_with_the_least_gets_the_rest():
    document = {
        "metadata": {"name": "x"},
        "spec": {
            "updateStrategy": {},
            "template": {
                "cliques": [
                    {
                        "name": "a",
                        "spec": {"roleName": "a", "podSpec": {}, "autoScalingConfig": {"maxReplicas": 3}},
                    },
                    {"name": "b", "spec": {"roleName": "b", "replicas": 3, "podSpec": {"restartPolicy": ""}}},
                ],
                "podCliqueScalingGroups": [
                    {
                        "name": "g",
                        "cliqueNames": ["b"],
                        "scaleConfig": {"maxReplicas": 4},
                        "minAvailable": None,
                    }
                ],
            },
        },
    }
    before = copy.deepcopy(document)
    pod = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30}
    assert defaulted(document)["spec"] == {
        "replicas": 0,
        "updateStrategy": {"type": "RollingRecreate"},
        "template": {
            "cliques": [
                {
                    "name": "a",
                    "spec": {
                        "roleName": "a",
                        "replicas": 1,
                        "minAvailable": 1,
                        "podSpec": pod,
                        "autoScalingConfig": {"minReplicas": 1, "maxReplicas": 3},
                    },
                },
                {"name": "b", "spec": {"roleName": "b", "replicas": 3, "minAvailable": 3, "podSpec": pod}},
            ],
            "cliqueStartupType": "CliqueStartupTypeAnyOrder",
            "headlessServiceConfig": {"publishNotReadyAddresses": True},
            "podCliqueScalingGroups": [
                {
                    "name": "g",
                    "cliqueNames": ["b"],
                    "replicas": 1,
                    "minAvailable": 1,
                    "scaleConfig": {"minReplicas": 1, "maxReplicas": 4},
                }
            ],
            "terminationDelay": "4h0m0s",
        },
    }
    assert document == before


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (f"{C}[0].spec.minAvailable", 1),
        (f"{C}[0].spec.podSpec.restartPolicy", "Never"),
        (f"{C}[0].spec.podSpec.terminationGracePeriodSeconds", 0),
        (f"{T}.headlessServiceConfig", {}),
        (f"{T}.terminationDelay", "1h"),
        ("spec.updateStrategy", {"type": "OnDelete"}),
        (f"{G}[0].replicas", 3),
        (f"{C}[0].spec.replicas", "many"),
    ],
)
def test_what_is_there_stays(at, value):
    document = changed(good_set(), at, value)
    path = "/" + at.replace("[", ".").replace("]", "").replace(".", "/")
    assert not [each for each in patch(document) if each["path"].startswith(path)]


@pytest.mark.parametrize("document", SAMPLES)
def test_sets_as_users_write_them_are_good_before_and_after(document):
    world = World(
        schedulers=frozenset(["default-scheduler", "kai-scheduler", "volcano"]),
        topology_aware=frozenset(["kai-scheduler"]),
    )
    assert validate(document, None, world).faults == ()
    assert validate(defaulted(document), None, world).faults == ()
    assert validate(defaulted(document), document, world).faults == ()


@pytest.mark.parametrize("document", SAMPLES)
def test_the_patch_gives_the_defaulted_document_and_a_second_one_is_empty(document):
    assert patched(document, patch(document)) == defaulted(document)
    assert patch(defaulted(document)) == []


def test_nothing_is_shared_between_documents_that_are_filled_in():
    one, two = defaulted(good_set()), defaulted(good_set())
    one["spec"]["template"]["headlessServiceConfig"]["publishNotReadyAddresses"] = False
    assert two["spec"]["template"]["headlessServiceConfig"] == {"publishNotReadyAddresses": True}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4h0m0s", 14400),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (".5m", 30),
        ("-2s", -2),
        ("+1ms", 0.001),
        ("0", 0),
        ("", None),
        ("-", None),
        ("5", None),
        ("1d", None),
        ("s", None),
        ("1 s", None),
        ("9999999h", None),
        ("1" * 5000 + "h", None),
        ("١s", None),
    ],
)
def test_durations_are_gos(text, seconds):
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


# ------------------------------------------------------------ whatever the document

NAMES = st.sampled_from(["a", "b", "a-0-b", "A", "", "x" * 70, "a.b"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def bent(document, draw):
    """*document* with one to three of its values, anywhere, replaced by anything."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        owner = document
        while True:
            keys = list(owner) if isinstance(owner, dict) else list(range(len(owner)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(owner[key], dict | list) or draw(st.integers(0, 4)) == 0:
                owner[key] = draw(JSON)
                break
            owner = owner[key]
    return document


RICH = good_set(
    topologyConstraint={"topologyName": "t", "pack": {"required": "zone", "preferred": "rack"}},
    resourceClaimTemplates=[
        {"name": "gpu", "templateSpec": {"spec": {"devices": {"requests": [{"name": "g"}]}}}}
    ],
    resourceSharing=[{"name": "gpu", "scope": "AllReplicas", "filter": {"childCliqueNames": ["router"]}}],
    cliqueStartupType="CliqueStartupTypeExplicit",
    terminationDelay="1h",
    cliques=[
        clique("router", autoScalingConfig={"minReplicas": 2, "maxReplicas": 3}),
        clique("leader", startsAfter=["router"]),
        clique("worker", startsAfter=["leader"], minAvailable=1),
    ],
)


@given(st.data())
def test_no_document_makes_validation_raise(data):
    new, old = (bent(RICH, data.draw) for _ in range(2))
    for before in (None, old):
        filled = defaulted(new, before)
        assert patched(new, patch(new, before)) == filled
        assert defaults(filled, before) == []
        for fault in validate(filled, before, World(topologies={"t": ("zone", "rack")})).faults:
            assert str(fault)


@given(JSON)
def test_anything_at_all_is_answered_with_faults(document):
    assert validate(document).faults
    assert document is None or validate(document, document).faults == ()
    assert read(Binding, document)[0] is not None
    assert read(PodCliqueSet, document)[0] is not None


COUNTS = st.integers(1, 5)


@given(st.lists(st.tuples(COUNTS, COUNTS, st.booleans()), min_size=1, max_size=4), st.integers(0, 3))
def test_a_good_set_stays_good_when_it_is_filled_in(cliques, replicas):
    document = changed(
        good_set(
            cliques=[
                clique(f"c{index}", replicas=count, **({"minAvailable": min(least, count)} if given else {}))
                for index, (count, least, given) in enumerate(cliques)
            ],
            podCliqueScalingGroups=[],
        ),
        "spec.replicas",
        replicas,
    )
    assert validate(document).faults == ()
    assert validate(defaulted(document)).faults == ()
    assert validate(defaulted(document), document).faults == ()
    assert validate(defaulted(document), defaulted(document)).faults == ()

"""Hashes of templates: what makes no difference is not seen, and everything else is."""

import copy

import msgspec
import pytest
from grove_operator.api import CliqueSpec, CliqueTemplate
from grove_operator.plan.defaults import pod_spec_form
from grove_operator.plan.hashing import same_pods, set_hash, template_hash
from grove_operator.plan.quantities import quantity
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.plan_samples import a_set, clique

SPEC = {
    "containers": [
        {
            "name": "main",
            "image": "registry.test:5000/worker:1",
            "command": ["serve"],
            "args": ["--a", "--b"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}],
            "ports": [{"name": "http", "containerPort": 8000}, {"name": "admin", "containerPort": 9090}],
            "resources": {"limits": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": 1}},
            "readinessProbe": {"httpGet": {"port": 8000, "path": "/health"}},
            "volumeMounts": [{"name": "cache", "mountPath": "/c"}, {"name": "shm", "mountPath": "/dev/shm"}],
        }
    ],
    "volumes": [{"name": "cache", "emptyDir": {}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}],
    "tolerations": [{"key": "gpu", "operator": "Exists"}, {"key": "x", "value": "y"}],
    "nodeSelector": {"a": "1", "b": "2"},
}

# The same, as an API server gives it back: every default written out, quantities in its own words.
DEFAULTED = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "enableServiceLinks": True,
    "nodeSelector": {"b": "2", "a": "1"},
    "tolerations": [
        {"key": "x", "value": "y", "operator": "Equal"},
        {"key": "gpu", "operator": "Exists", "effect": ""},
    ],
    "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "cache"}],
    "containers": [
        {
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
            "name": "main",
            "image": "registry.test:5000/worker:1",
            "command": ["serve"],
            "args": ["--a", "--b"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}],
            "ports": [
                {"name": "admin", "containerPort": 9090, "protocol": "TCP"},
                {"name": "http", "containerPort": 8000, "protocol": "TCP"},
            ],
            "resources": {
                "limits": {"cpu": "0.5", "memory": "1024Mi", "nvidia.com/gpu": "1"},
                "requests": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"},
            },
            "readinessProbe": {
                "httpGet": {"port": 8000, "path": "/health", "scheme": "HTTP"},
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
            },
            "volumeMounts": [
                {"name": "shm", "mountPath": "/dev/shm", "readOnly": False},
                {"name": "cache", "mountPath": "/c"},
            ],
        }
    ],
}


def hash_of(spec, **more):
    return template_hash(
        CliqueTemplate(name="a", **more, spec=msgspec.convert({"podSpec": spec}, CliqueSpec))
    )


def test_the_hash_is_pinned():
    """Who changes this rolls every pod of every set: an upgrade must not."""
    assert hash_of(SPEC) == "255f9b5a2d602907"
    assert hash_of({}) == "01e7b720ff566d53"


def test_defaults_and_order_without_meaning_do_not_count():
    assert pod_spec_form(DEFAULTED) == pod_spec_form(SPEC)
    assert hash_of(DEFAULTED) == hash_of(SPEC)
    assert same_pods(DEFAULTED, SPEC)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("containers", 0, "image"), "registry.test:5000/worker:2"),
        (("containers", 0, "args"), ["--b", "--a"]),
        (("containers", 0, "env"), [{"name": "B", "value": "$(A)"}, {"name": "A", "value": "1"}]),
        (("containers", 0, "imagePullPolicy"), "Always"),
        (("containers", 0, "resources", "requests"), {"cpu": "250m"}),
        (("containers", 0, "readinessProbe", "periodSeconds"), 11),
        (("containers", 0, "stdin"), True),
        (("volumes", 0, "emptyDir"), {"sizeLimit": "1Gi"}),
        (("nodeSelector", "a"), "2"),
        (("terminationGracePeriodSeconds",), 0),
        (("enableServiceLinks",), False),
        (("restartPolicy",), "Never"),
        (("schedulerName",), "kai-scheduler"),
        (("automountServiceAccountToken",), False),
        (("x-new-field",), {"deep": [1]}),
    ],
)
def test_what_makes_another_pod_makes_another_hash(path, value):
    changed = copy.deepcopy(SPEC)
    part = changed
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    assert hash_of(changed) != hash_of(SPEC)
    assert not same_pods(changed, SPEC)


def test_labels_annotations_and_priority_count_and_replicas_do_not():
    plain = a_set([clique("a", 1)]).spec.template.cliques[0]
    assert template_hash(plain) == template_hash(a_set([clique("a", 9, 4)]).spec.template.cliques[0])
    others = [
        template_hash(plain, "high"),
        template_hash(a_set([clique("a", labels={"x": "1"})]).spec.template.cliques[0]),
        template_hash(a_set([clique("a", annotations={"x": "1"})]).spec.template.cliques[0]),
    ]
    assert len({template_hash(plain), *others}) == 4


def test_the_order_of_cliques_does_not_count_and_their_names_do():
    one, other = clique("a"), clique("b", pod_spec={"containers": [{"name": "x", "image": "y:1"}]})
    assert set_hash(a_set([one, other]).spec.template) == set_hash(a_set([other, one]).spec.template)
    swapped = [other | {"name": "a"}, one | {"name": "b"}]
    assert set_hash(a_set([one, other]).spec.template) != set_hash(a_set(swapped).spec.template)


@pytest.mark.parametrize(
    ("same", "as_"),
    [
        ("0.5", "500m"), ("1Gi", "1024Mi"), (1, "1"), ("1k", "1000"), ("1e3", "1k"), ("1.5Gi", "1536Mi"),
        ("100n", "0.1u"), ("2E", "2e18"), ("1.", "1"), (".5", 0.5), ("0", "0m"), ("+1", "1"),
    ],
)  # fmt: skip
def test_quantities_are_told_apart_by_what_they_mean(same, as_):
    assert quantity(same) == quantity(as_)


def test_what_is_no_quantity_stays_as_it_is():
    assert [quantity(value) for value in ("many", True, None, "1Q")] == ["many", True, None, "1Q"]
    assert quantity("1M") != quantity("1Mi") != quantity("1m")


texts = st.text("abc/:.-1", max_size=4)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 40) | texts,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(
        ["name", "image", "env", "value", "ports", "resources", "x"]), part, max_size=3),
    max_leaves=8,
)  # fmt: skip
containers = st.fixed_dictionaries(
    {"name": texts, "image": texts}, optional={"x": documents, "tty": st.booleans()}
)
volumes = st.fixed_dictionaries({"name": texts}, optional={"emptyDir": st.just({}), "x": documents})
specs = st.fixed_dictionaries(
    {"containers": st.lists(containers, max_size=2)},
    optional={"x": documents, "volumes": st.lists(volumes, max_size=3), "hostNetwork": st.booleans()},
)


def reordered(value, draw):
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: reordered(value[key], draw) for key in keys}
    return [reordered(one, draw) for one in value] if isinstance(value, list) else value


@given(spec=specs, data=st.data())
def test_maps_may_be_written_in_any_order(spec, data):
    assert hash_of(reordered(spec, data.draw)) == hash_of(spec)


@given(spec=specs)
def test_writing_a_default_out_changes_nothing(spec):
    written = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "hostPID": False, "x2": None} | spec
    written["containers"] = [{"tty": False, "resources": {}, "env": []} | one for one in spec["containers"]]
    assert hash_of(written) == hash_of(spec)


@given(spec=specs)
def test_the_form_is_its_own_form_and_leaves_the_spec_alone(spec):
    before = copy.deepcopy(spec)
    form = pod_spec_form(spec)
    assert pod_spec_form(form) == form
    assert spec == before

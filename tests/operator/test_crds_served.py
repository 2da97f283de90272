"""The definitions on a real API server: what it takes, fills in, refuses and shows."""

import asyncio
import time
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from grove_operator.crds import __main__ as generator
from grove_operator.crds import definitions
from grove_operator.crds.core import cut
from grove_operator.plan.status import status_patch

from grove_dp.testing.controlplane.api import ApiRefused
from tests.operator.picture_samples import Scene
from tests.operator.plan_samples import workload

FIXTURES = Path(__file__).parents[1] / "fixtures" / "grove"
SIMPLE = yaml.safe_load((FIXTURES / "simple.yaml").read_text())
CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BINDINGS = "/apis/grove.io/v1alpha1/clustertopologybindings"
GANGS = "/apis/scheduler.grove.io/v1alpha1/podgangs"
GROUP_VERSION = "grove.io/v1alpha1"
SHORT = ("pcs", "pclq", "pcsg", "ct", "pg")
KINDS = ("podcliquesets", "podcliques", "podcliquescalinggroups", "clustertopologybindings")


@pytest.fixture(scope="module")
def served(controlplane):
    """The control plane, once it serves our kinds."""
    controlplane.kubectl("apply", "--server-side", "-f", str(generator.CRDS))
    for document in definitions():
        controlplane.api.until(f"{CUSTOM}/{document['metadata']['name']}", established, 10, "it is served")
    for path in (*(f"/apis/{GROUP_VERSION}/{kind}" for kind in KINDS), GANGS):
        controlplane.api.until(path, lambda _: True, 10, "it answers")
    deadline = time.monotonic() + 20  # clients hear of a kind a second after it is served
    while any(controlplane.kubectl("explain", short, check=False).returncode for short in SHORT):
        assert time.monotonic() < deadline
    return controlplane


def established(definition):
    return "True" in [one["status"] for one in conditions(definition) if one["type"] == "Established"]


def conditions(definition):
    return definition.get("status", {}).get("conditions") or []


class World:
    """One namespace, and our kinds in it."""

    def __init__(self, plane, namespace):
        self.plane, self.api, self.namespace = plane, plane.api, namespace

    def path(self, plural, name="", group="grove.io"):
        return f"/apis/{group}/v1alpha1/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    @property
    def sets(self):
        return self.path("podcliquesets")

    def apply(self, file):
        return self.plane.kubectl("-n", self.namespace, "apply", "--validate=strict", "-f", str(file))

    def shown(self, *words):
        """The header and the lines of `kubectl get`, split into words."""
        answer = self.plane.kubectl("-n", self.namespace, "get", *words).stdout
        return [line.split() for line in answer.splitlines()]


@pytest.fixture
def world(served, kube_namespace):
    return World(served, kube_namespace)


def pcs(**template):
    """The smallest set."""
    clique = {
        "name": "one",
        "spec": {"roleName": "one", "podSpec": {"containers": [{"name": "main", "image": "x"}]}},
    }
    return {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": "least"},
        "spec": {"template": {"cliques": [clique], **template}},
    }


def changed(document, path, value):
    """A copy with *value* at a path such as spec.template.cliques.0.name; None takes it away."""
    copy = deepcopy(document)
    *above, last = [int(word) if word.isdigit() else word for word in path.split(".")]
    part = copy
    for word in above:
        part = part[word] if isinstance(word, int) else part.setdefault(word, {})
    if value is None:
        del part[last]
    elif isinstance(last, int) and last == len(part):
        part.append(value)
    else:
        part[last] = value
    return copy


# ------------------------------------------------------------ definitions


def test_all_five_are_served_and_nothing_is_wrong_with_them(served):
    for document in definitions():
        found = served.api.get(f"{CUSTOM}/{document['metadata']['name']}")
        assert {one["type"]: one["status"] for one in conditions(found)} == {
            "NamesAccepted": "True",
            "Established": "True",
        }


def test_the_server_stores_our_schemas_as_they_are(served):
    for document in definitions():
        found = served.api.get(f"{CUSTOM}/{document['metadata']['name']}")
        (theirs,), (ours,) = found["spec"]["versions"], document["spec"]["versions"]
        assert theirs["schema"] == ours["schema"]


def test_pods_schemas_are_the_servers_own(served):
    if "v1.36." not in served.api.get("/version")["gitVersion"]:
        return  # core.json is of 1.36; another server's pods differ, and that is no fault
    sources = asyncio.run(generator._served(served.admin.kubeconfig))
    assert generator._lines(cut(sources)) == (generator.HERE / "core.json").read_text()


def test_a_client_side_apply_works_too(served):
    served.kubectl("apply", "--dry-run=server", "-f", str(generator.CRDS))


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("pcs.spec.template", "One replica of the system."),
        ("pcs.spec.template.cliques.spec.podSpec.containers.readinessProbe", "httpGet"),
        ("pclq.status.conditions", "What holds of it"),
        ("pcsg.spec", "cliqueNames"),
        ("ct.spec.levels", "From the broadest domain"),
        ("pg.spec.podgroups", "podReferences"),
    ],
)
def test_explain_tells_of_each_kind(served, field, says):
    assert says in served.kubectl("explain", field).stdout


# ------------------------------------------------------------ what is taken


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.yaml")), ids=lambda file: file.stem)
def test_what_users_and_the_operator_write_is_taken(world, file):
    world.apply(file)
    for document in yaml.safe_load_all(file.read_text()):
        kind, name = document["kind"], document["metadata"]["name"]
        stored = world.plane.kubectl("-n", world.namespace, "get", kind, name, "-o", "yaml").stdout
        assert contains(yaml.safe_load(stored)["spec"], document["spec"])


def contains(whole, part):
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


def test_defaults_come_in_on_create(world):
    ports = [{"containerPort": 80}]
    document = changed(pcs(), "spec.template.cliques.0.spec.podSpec.containers.0.ports", ports)
    document = changed(document, "spec.updateStrategy", {})
    document = changed(document, "spec.template.headlessServiceConfig", {})
    document = changed(
        document, "spec.template.podCliqueScalingGroups", [{"name": "g", "cliqueNames": ["one"]}]
    )
    spec = world.api.create(world.sets, document)["spec"]
    template = spec["template"]
    assert spec["replicas"] == 0
    assert spec["updateStrategy"] == {"type": "RollingRecreate"}
    assert template["cliqueStartupType"] == "CliqueStartupTypeAnyOrder"
    assert template["headlessServiceConfig"] == {"publishNotReadyAddresses": True}
    assert template["cliques"][0]["spec"]["replicas"] == 1
    assert "minAvailable" not in template["cliques"][0]["spec"]
    assert template["cliques"][0]["spec"]["podSpec"]["containers"][0]["ports"][0]["protocol"] == "TCP"
    (group,) = template["podCliqueScalingGroups"]
    assert (group["replicas"], group["minAvailable"]) == (1, 1)


def test_defaults_of_what_the_operator_writes(world):
    groups = world.path("podcliquescalinggroups")
    made = world.api.create(
        groups,
        {
            "apiVersion": "grove.io/v1alpha1",
            "kind": "PodCliqueScalingGroup",
            "metadata": {"name": "g"},
            "spec": {"cliqueNames": ["one"]},
        },
    )
    assert made["spec"] == {"cliqueNames": ["one"], "replicas": 1, "minAvailable": 1}
    status = world.api.patch(f"{groups}/g/status", {"status": {"replicas": 1}})["status"]
    assert status == {"replicas": 1, "availableReplicas": 0, "scheduledReplicas": 0, "updatedReplicas": 0}


@pytest.mark.parametrize(
    "typo",
    [
        "spec.template.cliques.0.spec.podSpec.conatiners",
        "spec.template.cliques.0.spec.podSpec.containers.0.imagePullPolcy",
        "spec.template.cliques.0.spec.podSpec.containers.0.resources.limit",
        "spec.template.cliques.0.spec.minAvailabel",
        "spec.template.cliqueStartUpType",
        "spec.replica",
    ],
)
def test_a_typo_is_refused_when_asked_for_and_dropped_otherwise(world, typo):
    document = changed(pcs(), typo, [] if typo.endswith("conatiners") else "x")
    with pytest.raises(ApiRefused) as refused:  # Api.create asks for strict validation
        world.api.create(world.sets, document)
    assert f'unknown field "{typo.replace(".0", "[0]")}"' in refused.value.message
    body = yaml.safe_dump(document).encode()
    reply = world.api.call("POST", world.sets, body, {"Content-Type": "application/yaml"})
    assert reply.status == 201
    assert "unknown field" in reply.headers["Warning"]
    with pytest.raises(KeyError):
        changed(reply.json(), typo, None)


# ------------------------------------------------------------ what is refused on create

CLIQUE = "spec.template.cliques.0"
POD = f"{CLIQUE}.spec.podSpec"
GROUPS = "spec.template.podCliqueScalingGroups"
GROUP = {"name": "g", "cliqueNames": ["one"]}
REFUSED = [
    ("spec.replicas", -1, "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than"),
    ("spec.updateStrategy", {"type": "Later"}, 'supported values: "RollingRecreate", "OnDelete"'),
    ("spec.template.cliques", [], "spec.template.cliques in body should have at least 1 items"),
    ("spec.template.cliqueStartupType", "InOrder", 'Unsupported value: "InOrder"'),
    ("spec.template.terminationDelay", "soon", "spec.template.terminationDelay in body should match"),
    ("spec.template.terminationDelay", "-1h", "spec.template.terminationDelay in body should match"),
    ("spec.template.terminationDelay", "0s", 'spec.template.terminationDelay: Invalid value: "0s": must be'),
    (
        "spec.template.cliques.1",
        pcs()["spec"]["template"]["cliques"][0],
        'spec.template.cliques[1]: Duplicate value: {"name":"one"}',
    ),
    (
        "spec.template.cliques.1",
        pcs()["spec"]["template"]["cliques"][0] | {"name": "two"},
        "roleName must be unique",
    ),
    (f"{CLIQUE}.name", None, "spec.template.cliques[0].name: Required value"),
    (f"{CLIQUE}.spec.roleName", None, "spec.template.cliques[0].spec.roleName: Required value"),
    (f"{CLIQUE}.spec.replicas", -1, "should be greater than or equal to 0"),
    (f"{CLIQUE}.spec.minAvailable", 0, "should be greater than or equal to 1"),
    (
        f"{CLIQUE}.spec.minAvailable",
        2,
        "spec.template.cliques[0].spec.minAvailable: Invalid value: must not be greater than replicas",
    ),
    (
        f"{CLIQUE}.spec.autoScalingConfig",
        {"maxReplicas": 0},
        "autoScalingConfig.maxReplicas: Invalid value: must be greater than or equal to replicas",
    ),
    (
        f"{CLIQUE}.spec.autoScalingConfig",
        {"minReplicas": 3, "maxReplicas": 2},
        "autoScalingConfig.maxReplicas: Invalid value: must be greater than or equal to minReplicas",
    ),
    (f"{CLIQUE}.spec.autoScalingConfig", {}, "autoScalingConfig.maxReplicas: Required value"),
    (f"{CLIQUE}.resourceSharing", [{"name": "a", "scope": "Some"}], 'Unsupported value: "Some"'),
    (f"{POD}.containers", None, "podSpec.containers: Required value"),
    (f"{POD}.containers.0.name", None, "podSpec.containers[0].name: Required value"),
    (f"{POD}.containers.1", {"name": "main"}, "podSpec.containers[1]: Duplicate value"),
    (f"{POD}.containers.0.resources", {"limits": {"cpu": "one"}}, "limits.cpu in body should match"),
    (f"{POD}.terminationGracePeriodSeconds", "30", "must be of type integer"),
    (f"{POD}.nodeName", "n1", "podSpec.nodeName: Forbidden: must not be set"),
    (
        f"{POD}.topologySpreadConstraints",
        [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "podSpec.topologySpreadConstraints: Forbidden: must not be set",
    ),
    (GROUPS, [{"name": "g", "cliqueNames": []}], "should have at least 1 items"),
    (GROUPS, [GROUP, GROUP], 'Duplicate value: {"name":"g"}'),
    (GROUPS, [GROUP | {"replicas": 0}], "podCliqueScalingGroups[0].replicas in body should be greater"),
    (
        GROUPS,
        [GROUP | {"minAvailable": 2}],
        "podCliqueScalingGroups[0].minAvailable: Invalid value: must not be greater than replicas",
    ),
    (
        GROUPS,
        [GROUP | {"replicas": 2, "minAvailable": 2, "scaleConfig": {"minReplicas": 1, "maxReplicas": 4}}],
        "scaleConfig.minReplicas: Invalid value: must be greater than or equal to minAvailable",
    ),
    (
        "spec.template.resourceClaimTemplates",
        [{"name": "c", "templateSpec": {"spec": {"devices": {}}}}],
        "resourceClaimTemplates[0].templateSpec.spec: Required value: must request at least one device",
    ),
    ("spec.template.topologyConstraint", {}, "must specify pack or deprecated packDomain"),
    ("spec.template.topologyConstraint", {"pack": {}}, "must specify at least one of required or preferred"),
    ("spec.template.topologyConstraint", {"pack": {"required": "Rack"}}, "should match '^[a-z]"),
    (
        "spec.template.topologyConstraint",
        {"pack": {"required": "rack"}, "packDomain": "rack"},
        "must not set both pack.required and deprecated packDomain",
    ),
    (
        "spec.template.topologyConstraint",
        {"packDomain": "rack"},
        "spec.template.topologyConstraint.packDomain: Forbidden: packDomain is deprecated",
    ),
    (
        f"{CLIQUE}.topologyConstraint",
        {"packDomain": "rack"},
        "spec.template.cliques: Forbidden: packDomain is deprecated",
    ),
    (
        GROUPS,
        [GROUP | {"topologyConstraint": {"packDomain": "rack"}}],
        "spec.template.podCliqueScalingGroups: Forbidden: packDomain is deprecated",
    ),
]


def named(cases):
    return [f"{number}-{case[0].removeprefix('spec.')}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("path", "value", "says"), REFUSED, ids=named(REFUSED))
def test_a_wrong_set_is_refused_and_told_where(world, path, value, says):
    with pytest.raises(ApiRefused) as refused:
        world.api.create(world.sets, changed(pcs(), path, value))
    assert (refused.value.code, refused.value.word) == (422, "Invalid")
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ([], "should have at least 1 items"),
        ([("Zone", "z")], "spec.levels[0].domain in body should match"),
        ([("zone", "-z")], "spec.levels[0].key in body should match"),
        ([("zone", "z" * 64)], "spec.levels[0].key: Too long"),
        ([("zone", "z"), ("zone", "y")], "spec.levels[1]: Duplicate value"),
        ([("zone", "z"), ("rack", "z")], "each key must stand for one domain"),
    ],
)
def test_a_wrong_topology_is_refused(served, levels, says):
    binding = {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "ClusterTopologyBinding",
        "metadata": {"name": "wrong"},
        "spec": {"levels": [{"domain": domain, "key": key} for domain, key in levels]},
    }
    with pytest.raises(ApiRefused) as refused:
        served.api.create(BINDINGS, binding)
    assert says in refused.value.message


def test_a_gang_has_one_of_three_phases(world):
    gangs = world.path("podgangs", group="scheduler.grove.io")
    world.api.create(
        gangs,
        {
            "apiVersion": "scheduler.grove.io/v1alpha1",
            "kind": "PodGang",
            "metadata": {"name": "g"},
            "spec": {"podgroups": []},
        },
    )
    for phase in ("Pending", "Starting", "Running"):
        world.api.patch(f"{gangs}/g/status", {"status": {"phase": phase, "placementScore": 0.5}})
    with pytest.raises(ApiRefused, match='Unsupported value: "Done"'):
        world.api.patch(f"{gangs}/g/status", {"status": {"phase": "Done"}})


# ------------------------------------------------------------ what stays as it was


def whole():
    """A set with everything that cannot be changed."""
    document = yaml.safe_load_all((FIXTURES / "multinode.yaml").read_text())
    return next(document)


STAYS = [
    ("spec.template.cliqueStartupType", "CliqueStartupTypeAnyOrder", "cliqueStartupType: Invalid value"),
    ("spec.template.topologyConstraint", None, "topologyConstraint: Invalid value: field is immutable"),
    ("spec.template.topologyConstraint.topologyName", "other", "topologyName: Invalid value: field is imm"),
    ("spec.template.topologyConstraint.pack.required", "rack", "pack.required: Invalid value: field is imm"),
    ("spec.template.topologyConstraint.pack.preferred", None, "pack.preferred: Invalid value: field is imm"),
    ("spec.template.resourceClaimTemplates.0.name", "other", "resourceClaimTemplates: Invalid value"),
    ("spec.template.resourceClaimTemplates", None, "resourceClaimTemplates: Invalid value: field is immut"),
    ("spec.template.resourceSharing.0.scope", "AllReplicas", "resourceSharing: Invalid value"),
    ("spec.template.resourceSharing", None, "resourceSharing: Invalid value: field is immutable"),
    ("spec.template.cliques.0.name", "renamed", "entries cannot be added, removed or renamed"),
    ("spec.template.cliques.4", None, "entries cannot be added, removed or renamed"),
    (
        "spec.template.cliques.0.spec.roleName",
        "other",
        'cliques[0].spec.roleName: Invalid value: "other": field',
    ),
    ("spec.template.cliques.0.spec.minAvailable", 1, "cliques[0].spec.minAvailable: Invalid value: 1: field"),
    ("spec.template.cliques.0.spec.podSpec.schedulerName", "b", 'schedulerName: Invalid value: "b": field'),
    ("spec.template.cliques.0.spec.startsAfter", ["pleader"], "startsAfter: Invalid value: field is immut"),
    (
        "spec.template.cliques.0.topologyConstraint.pack.preferred",
        "rack",
        "cliques[0].topologyConstraint.pack",
    ),
    ("spec.template.cliques.0.topologyConstraint", None, "cliques[0].topologyConstraint: Invalid value"),
    ("spec.template.cliques.1.topologyConstraint", {"pack": {"required": "rack"}}, "cliques[1].topologyCons"),
    ("spec.template.cliques.0.resourceSharing.0.name", "other", "cliques[0].resourceSharing: Invalid value"),
    (f"{GROUPS}.0.name", "renamed", "entries cannot be added, removed or renamed"),
    (f"{GROUPS}.1", None, "entries cannot be added, removed or renamed"),
    (GROUPS, None, "podCliqueScalingGroups: Invalid value: field is immutable"),
    (f"{GROUPS}.0.cliqueNames", ["pworker", "pleader"], "cliqueNames: Invalid value"),
    (f"{GROUPS}.0.minAvailable", 2, "minAvailable: Invalid value: 2: field is immutable"),
    (f"{GROUPS}.0.topologyConstraint.pack.required", "host", "podCliqueScalingGroups[0].topologyConstraint"),
    (f"{GROUPS}.0.resourceSharing", None, "podCliqueScalingGroups[0].resourceSharing: Invalid value"),
    (
        "spec.template.topologyConstraint.pack",
        None,
        "packDomain is deprecated and cannot be added",
    ),
]


@pytest.mark.parametrize(("path", "value", "says"), STAYS, ids=named(STAYS))
def test_what_is_immutable_stays(world, path, value, says):
    document = changed(whole(), "spec.template.cliques.0.spec.minAvailable", 2)
    document = changed(document, "spec.template.cliques.0.spec.podSpec.schedulerName", "a")
    stored = world.api.create(world.sets, document)
    wrong = changed(stored, path, value)
    if path.endswith(".pack"):
        wrong = changed(wrong, "spec.template.topologyConstraint.packDomain", "zone")
    with pytest.raises(ApiRefused) as refused:
        world.api.update(f"{world.sets}/multinode", wrong)
    assert (refused.value.code, refused.value.word) == (422, "Invalid")
    assert says in refused.value.message


def test_the_order_of_cliques_counts_only_where_it_is_the_start_order(world):
    swapped = list(reversed(whole()["spec"]["template"]["cliques"]))
    stored = world.api.create(world.sets, whole())
    with pytest.raises(ApiRefused, match="the order of cliques is their start order"):
        world.api.update(f"{world.sets}/multinode", changed(stored, "spec.template.cliques", swapped))
    free = changed(whole(), "spec.template.cliqueStartupType", "CliqueStartupTypeAnyOrder")
    stored = world.api.create(world.sets, changed(free, "metadata.name", "free"))
    world.api.update(f"{world.sets}/free", changed(stored, "spec.template.cliques", swapped))


MAY = [
    ("spec.replicas", 7),
    ("spec.updateStrategy", {"type": "OnDelete"}),
    ("spec.template.terminationDelay", "1h"),
    ("spec.template.priorityClassName", "low"),
    ("spec.template.cliques.0.labels", {"a": "b"}),
    ("spec.template.cliques.0.spec.replicas", 9),
    ("spec.template.cliques.0.spec.minAvailable", 2),  # set late, as a webhook does for what was there before
    ("spec.template.cliques.0.spec.autoScalingConfig", {"maxReplicas": 9}),
    ("spec.template.cliques.0.spec.podSpec.containers.0.image", "registry.example/x:2"),
    ("spec.template.cliques.0.spec.podSpec.schedulerName", "default-scheduler"),
    ("spec.template.cliques.0.rollingUpdate", {"maxUnavailable": 2, "maxSurge": 1}),
    (f"{GROUPS}.0.replicas", 5),
    (f"{GROUPS}.0.scaleConfig", {"maxReplicas": 9}),
    (f"{GROUPS}.0.annotations", {"a": "b"}),
]


@pytest.mark.parametrize(("path", "value"), MAY, ids=named(MAY))
def test_what_may_change_changes(world, path, value):
    stored = world.api.create(world.sets, whole())
    done = world.api.update(f"{world.sets}/multinode", changed(stored, path, value))
    assert done == changed(done, path, value)
    assert done["metadata"]["generation"] == 2


def test_a_topology_may_be_named_late_but_not_changed(world):
    constraint, at = "spec.template.topologyConstraint", f"{world.sets}/multinode"
    stored = world.api.create(world.sets, changed(whole(), f"{constraint}.topologyName", None))
    done = world.api.update(at, changed(stored, f"{constraint}.topologyName", "first"))
    assert done["spec"]["template"]["topologyConstraint"]["topologyName"] == "first"
    for other in ("second", None):
        with pytest.raises(ApiRefused, match="topologyName: Invalid value: field is immutable"):
            world.api.update(at, changed(done, f"{constraint}.topologyName", other))


def test_a_set_from_before_pack_keeps_its_pack_domain_or_moves_to_the_new_field(world):
    now = changed(
        definitions()[0], "spec.group", "old.example.com"
    )  # a kind of its own: others use the real one
    now = changed(now, "metadata.name", "podcliquesets.old.example.com")
    rules = "spec.versions.0.schema.openAPIV3Schema.x-kubernetes-validations"
    world.api.create(CUSTOM, changed(now, rules, []))
    sets, path = world.path("podcliquesets", group="old.example.com"), "spec.template.topologyConstraint"
    world.api.until(sets, lambda _: True, 10, "it is served")
    old = changed(pcs(), "apiVersion", "old.example.com/v1alpha1")
    stored = world.api.create(sets, changed(old, path, {"packDomain": "rack"}))
    world.api.patch(f"{CUSTOM}/{now['metadata']['name']}", {"spec": now["spec"]})
    until_refused(
        world.api, sets, changed(changed(old, path, {"packDomain": "rack"}), "metadata.name", "new")
    )
    stored = world.api.update(f"{sets}/least", changed(stored, "spec.replicas", 1))
    moved = world.api.update(f"{sets}/least", changed(stored, path, {"pack": {"required": "rack"}}))
    assert moved["spec"]["template"]["topologyConstraint"] == {"pack": {"required": "rack"}}
    with pytest.raises(ApiRefused, match="packDomain is deprecated and cannot be added"):
        world.api.update(f"{sets}/least", changed(moved, path, {"packDomain": "rack"}))


def until_refused(api, path, document):
    """A changed definition is obeyed a moment later."""
    body, deadline = yaml.safe_dump(document).encode(), time.monotonic() + 20
    while True:
        reply = api.call("POST", f"{path}?dryRun=All", body, {"Content-Type": "application/yaml"})
        if reply.status == 422:
            assert "packDomain is deprecated and cannot be used" in reply.json()["message"]
            return
        assert time.monotonic() < deadline, reply.body
        time.sleep(0.02)


# ------------------------------------------------------------ sub-resources


@pytest.mark.parametrize(
    ("plural", "file", "selector"),
    [
        ("podcliquesets", "simple", "hpaPodSelector"),
        ("podcliques", "generated", "hpaPodSelector"),
        ("podcliquescalinggroups", "generated", "selector"),
    ],
)
def test_scale_reads_and_writes_replicas(world, plural, file, selector):
    world.apply(FIXTURES / f"{file}.yaml")
    (item,) = world.api.get(world.path(plural))["items"]
    path = world.path(plural, item["metadata"]["name"])
    world.api.patch(f"{path}/status", {"status": {"replicas": 4, selector: "a=b"}})
    scale = world.api.get(f"{path}/scale")
    assert scale["status"] == {"replicas": 4, "selector": "a=b"}
    for replicas in (0, 5):  # below minAvailable, too: what that means is the operator's to say
        world.api.patch(f"{path}/scale", {"spec": {"replicas": replicas}})
        assert world.api.get(path)["spec"]["replicas"] == replicas
    world.plane.kubectl(
        "-n", world.namespace, "scale", f"{plural}/{item['metadata']['name']}", "--replicas=3"
    )
    assert world.api.get(path)["spec"]["replicas"] == 3


def test_status_is_written_apart_from_spec(world):
    world.api.create(world.sets, pcs() | {"status": {"replicas": 5}})
    assert "status" not in world.api.get(f"{world.sets}/least")
    world.api.patch(f"{world.sets}/least", {"spec": {"replicas": 2}, "status": {"replicas": 5}})
    assert "status" not in world.api.get(f"{world.sets}/least")
    world.api.patch(f"{world.sets}/least/status", {"spec": {"replicas": 9}, "status": {"replicas": 5}})
    found = world.api.get(f"{world.sets}/least")
    assert found["spec"]["replicas"] == 2
    assert found["status"] == {"replicas": 5, "updatedReplicas": 0, "availableReplicas": 0}
    assert found["metadata"]["generation"] == 2


NOW = "2026-01-01T00:00:00Z"
CONDITION = {
    "type": "MinAvailableBreached",
    "status": "Unknown",
    "reason": "UpdateInProgress",
    "message": "",
    "lastTransitionTime": NOW,
    "observedGeneration": 2,
}
COMMON = {
    "observedGeneration": 2,
    "conditions": [CONDITION],
    "lastErrors": [{"code": "ERR_SYNC", "description": "No.", "observedAt": NOW}],
}
UPDATE = {"updateStartedAt": NOW, "updateEndedAt": NOW}
COUNTS = {"updatedPodCliquesCount": 1, "totalPodCliquesCount": 2}
STATUSES = {
    "podcliquesets": COMMON
    | {
        "replicas": 1,
        "updatedReplicas": 1,
        "availableReplicas": 1,
        "hpaPodSelector": "a=b",
        "podGangStatuses": [{"name": "g", "phase": "Failed", "conditions": [CONDITION]}],
        "currentGenerationHash": "x",
        "updateProgress": UPDATE
        | COUNTS
        | {
            "updatedPodCliqueScalingGroupsCount": 1,
            "totalPodCliqueScalingGroupsCount": 2,
            "currentlyUpdating": [{"replicaIndex": 0} | UPDATE],
        },
    },
    "podcliques": COMMON
    | {
        "replicas": 2,
        "readyReplicas": 1,
        "updatedReplicas": 1,
        "scheduleGatedReplicas": 1,
        "scheduledReplicas": 1,
        "hpaPodSelector": "a=b",
        "currentPodCliqueSetGenerationHash": "x",
        "currentPodTemplateHash": "y",
        "updateProgress": UPDATE
        | {
            "podCliqueSetGenerationHash": "x",
            "podTemplateHash": "y",
            "readyPodsSelectedToUpdate": {"current": "a", "completed": ["b"]},
        },
        "recovery": {"healthy": False, "terminations": 2, "lastTerminatedAt": NOW},
    },
    "podcliquescalinggroups": COMMON
    | {
        "replicas": 2,
        "scheduledReplicas": 1,
        "availableReplicas": 1,
        "updatedReplicas": 1,
        "selector": "a=b",
        "currentPodCliqueSetGenerationHash": "x",
        "updateProgress": UPDATE
        | COUNTS
        | {
            "podCliqueSetGenerationHash": "x",
            "readyReplicaIndicesSelectedToUpdate": {"current": 1, "completed": [0]},
        },
    },
    "clustertopologybindings": {
        "observedGeneration": 2,
        "conditions": [CONDITION],
        "schedulerTopologyStatuses": [
            {
                "schedulerName": "kai-scheduler",
                "topologyReference": "t",
                "inSync": False,
                "schedulerBackendTopologyObservedGeneration": 3,
                "message": "It differs.",
            }
        ],
    },
    "podgangs": {"phase": "Running", "conditions": [CONDITION], "placementScore": 0.5},
}


@pytest.mark.parametrize("plural", STATUSES)
def test_every_field_of_a_status_is_kept(world, plural):
    for file in ("multinode", "generated"):
        world.apply(FIXTURES / f"{file}.yaml")
    group = "scheduler.grove.io" if plural == "podgangs" else "grove.io"
    within = BINDINGS if plural == "clustertopologybindings" else world.path(plural, group=group)
    item = world.api.get(within)["items"][0]
    path = f"{within}/{item['metadata']['name']}/status"
    done = world.api.patch(path, {"status": STATUSES[plural]}, fieldValidation="Strict")
    assert done["status"] == STATUSES[plural]


def test_statuses_that_the_operator_writes_come_back_as_they_were(world):
    """All that plans say of a set in trouble is in the schemas, and nothing is left to write after it."""
    constraint = {"topologyName": "t", "pack": {"required": "rack"}}
    scene = Scene(workload(sg_replicas=2, terminationDelay="10s", topologyConstraint=constraint))
    scene.all("ready").write()
    scene.put(pc_a="ready crashing").write()
    scene.later(20).recover()
    scene.put(sg_x_0_pc_b="refused").image("2").reach("pc_a")
    scene.group_counts["w-0-sg-x"] = 1
    scene.counts["w-0-pc-a"] = 1
    scene.write()
    kinds = {"set": "podcliquesets", "w-0-sg-x": "podcliquescalinggroups"}
    for name, status in scene.statuses.items():
        plural = kinds.get(name, "podgangs" if name.startswith("gang ") else "podcliques")
        path = made(world, plural, name.removeprefix("gang "))
        stored = world.api.patch(f"{path}/status", {"status": status}, fieldValidation="Strict")["status"]
        assert status_patch(stored, status) is None
        assert status_patch(status, stored) is None


def made(world, plural, name):
    """The path of a new object of that kind."""
    group = "scheduler.grove.io" if plural == "podgangs" else "grove.io"
    pods = {"containers": [{"name": "main", "image": "x"}]}
    specs = {
        "podcliquesets": pcs()["spec"],
        "podcliques": {"roleName": "r", "podSpec": pods},
        "podcliquescalinggroups": {"cliqueNames": ["one"]},
        "podgangs": {"podgroups": []},
    }
    kind = next(
        each["spec"]["names"]["kind"] for each in definitions() if each["spec"]["names"]["plural"] == plural
    )
    document = {"apiVersion": f"{group}/v1alpha1", "kind": kind, "metadata": {"name": name}}
    world.api.create(world.path(plural, group=group), document | {"spec": specs[plural]})
    return world.path(plural, name, group)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": "Maybe"}, 'Unsupported value: "Maybe"'),
        ({"reason": ""}, "should be at least 1 chars long"),
        ({"reason": "not a word"}, "should match"),
        ({"lastTransitionTime": "today"}, "must be of type date-time"),
    ],
)
def test_a_condition_is_a_condition(world, change, says):
    world.api.create(world.sets, pcs())
    with pytest.raises(ApiRefused) as refused:
        world.api.patch(f"{world.sets}/least/status", {"status": {"conditions": [CONDITION | change]}})
    assert says in refused.value.message


# ------------------------------------------------------------ what kubectl shows


def test_get_shows_sets_by_their_short_name(world):
    world.apply(FIXTURES / "simple.yaml")
    counts = {
        "updatedPodCliquesCount": 1,
        "totalPodCliquesCount": 3,
        "updatedPodCliqueScalingGroupsCount": 0,
        "totalPodCliqueScalingGroupsCount": 1,
    }
    status = {"availableReplicas": 1, "updatedReplicas": 0, "updateProgress": counts}
    world.api.patch(f"{world.sets}/simple/status", {"status": status})
    header, row = world.shown("pcs")
    assert (
        header
        == ("NAME REPLICAS AVAILABLE UPDATED PCLQS-UPDATED PCLQS-TOTAL PCSGS-UPDATED PCSGS-TOTAL AGE").split()
    )
    assert row[:-1] == ["simple", "1", "1", "0", "1", "3", "0", "1"]


def test_get_shows_what_the_operator_writes(world):
    world.apply(FIXTURES / "generated.yaml")
    breached = {
        "type": "MinAvailableBreached",
        "status": "False",
        "reason": "SufficientReadyPods",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    clique = {
        "readyReplicas": 1,
        "scheduledReplicas": 2,
        "scheduleGatedReplicas": 0,
        "conditions": [breached],
    }
    world.api.patch(
        world.path("podcliques", "llm-0-prefill-0-worker/status"), {"status": clique | {"updatedReplicas": 2}}
    )
    header, row = world.shown("pclq")
    assert header == ["NAME", "MINAVAIL", "REPLICAS", "READY", "SCHEDULED", "UPDATED", "AGE"]
    assert row[:-1] == ["llm-0-prefill-0-worker", "2", "2", "1", "2", "2"]
    header, row = world.shown("pclq", "-o", "wide")
    assert header[-3:] == ["GATED", "MINBREACHED", "AGE"]
    assert row[-3:-1] == ["0", "False"]
    header, row = world.shown("pcsg")
    assert header == (
        "NAME MINAVAIL REPLICAS AVAILABLE SCHEDULED UPDATED PCLQS-UPDATED PCLQS-TOTAL AGE".split()
    )
    assert row[:3] == ["llm-0-prefill", "1", "2"]
    assert world.shown("pcsg", "-o", "wide")[0][-2:] == ["MINBREACHED", "AGE"]
    world.api.patch(
        world.path("podgangs", "llm-0/status", "scheduler.grove.io"), {"status": {"phase": "Starting"}}
    )
    header, row = world.shown("pg")
    assert header == ["NAME", "PHASE", "AGE"]
    assert row[:-1] == ["llm-0", "Starting"]


def test_get_shows_domains_and_several_kinds_at_once(world):
    world.apply(FIXTURES / "multinode.yaml")
    header, *rows = world.shown("ct", "cluster")
    assert header == ["NAME", "DOMAINS", "AGE"]
    assert rows[0][:2] == ["cluster", "zone"] or rows[0][1].startswith("zone")
    world.apply(FIXTURES / "generated.yaml")
    names = {line[0] for line in world.shown("pcs,pclq,pcsg,pg,pod", "--no-headers") if line}
    assert names == {
        "podcliqueset.grove.io/multinode",
        "podclique.grove.io/llm-0-prefill-0-worker",
        "podcliquescalinggroup.grove.io/llm-0-prefill",
        "podgang.scheduler.grove.io/llm-0",
    }

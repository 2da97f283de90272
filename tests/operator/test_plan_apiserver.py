"""Plans before the real API server: it takes every document to the letter, and gives back nothing to mend.

The kinds of Kubernetes itself; Grove's own are tried where their definitions are.
"""

import pytest
from grove_operator.api import AUTOSCALERS, ROLE_BINDINGS, ROLES, SECRETS, SERVICE_ACCOUNTS, SERVICES
from grove_operator.naming import L
from grove_operator.plan.defaults import pod_spec_form
from grove_operator.plan.diff import changes
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.order import parents
from grove_operator.plan.pods import PodRules, pod, pod_names
from grove_operator.plan.tree import Live, tree

from grove_dp.kube.access import connect
from grove_dp.kube.objects import PODS, Meta
from tests.operator.plan_samples import a_set, clique, group, live_clique

pytestmark = pytest.mark.controlplane

RULES = Rules(PodRules(scheduler="default-scheduler", init_image="registry.test/grove-dp:1", priority=False))
MEDDLED = {
    SERVICES: {"spec": {"selector": {"app": "x"}, "publishNotReadyAddresses": False}},
    ROLES: {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]},
    ROLE_BINDINGS: {"subjects": []},
    AUTOSCALERS: {"spec": {"maxReplicas": 99, "metrics": []}},
    SERVICE_ACCOUNTS: {"automountServiceAccountToken": False},
}
QUEUE = {
    "type": "Pods",
    "pods": {"metric": {"name": "queued"}, "target": {"type": "AverageValue", "averageValue": "0.5"}},
}
SPEC = {
    "containers": [
        {
            "name": "main",
            "image": "registry.test/worker:1",
            "env": [{"name": "LEADER", "value": "$(GROVE_PCLQ_NAME)-0.$(GROVE_HEADLESS_SERVICE)"}],
            "resources": {"requests": {"cpu": "0.1", "memory": "0.5Gi"}},
            "ports": [{"containerPort": 8000}],
            "readinessProbe": {"httpGet": {"port": 8000}},
        }
    ],
    "initContainers": [{"name": "fetch", "image": "registry.test/fetch:1"}],
    "schedulingGates": [{"name": "users.io/quota"}],
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
}


def sample(namespace):
    return a_set(
        [
            clique(
                "a",
                2,
                pod_spec=SPEC,
                autoScalingConfig={"minReplicas": 2, "maxReplicas": 4, "metrics": [QUEUE]},
            ),
            clique("b", 1, pod_spec=SPEC, labels={"tier": "x"}, annotations={"note": "y"}),
            clique("c", 2, pod_spec=SPEC),
        ],
        [group("g", "b", "c", replicas=2, scaleConfig={"maxReplicas": 3})],
        cliqueStartupType="CliqueStartupTypeInOrder",
        meta={"namespace": namespace},
    )


def everything(namespace):
    """All that a set wants of Kubernetes' own kinds, pods too."""
    owner = sample(namespace)
    (replica,) = tree(owner, Live())
    live = Live(
        owners={
            one.name: Meta(name=one.name, namespace=namespace, uid=f"uid-{one.name}")
            for one in replica.groups
        }
    )
    objects = {one.key: one for one in expand(owner, live, RULES)}
    yield from (one for one in objects.values() if "grove.io" not in one.resource.group)
    order = parents(owner.spec.template, replica)
    for unit in replica.units:
        held = live_clique(objects["PodClique", unit.name].document)
        names = pod_names(unit.name, unit.count, b"seed")
        for index, name in enumerate(names):
            yield pod(owner, unit, held, name, index, RULES.pods, order[unit.name])


async def test_every_document_is_taken_to_the_letter_and_comes_back_as_wanted(controlplane, kube_namespace):
    async with await connect(controlplane.admin.kubeconfig) as api:
        kinds = set()
        for wanted in everything(kube_namespace):
            path = f"{wanted.resource.path(wanted.namespace)}?fieldValidation=Strict"
            held = await api.create(path, wanted.document)
            assert changes(wanted, held) == {}, wanted.key
            kinds.add(wanted.resource)
    assert kinds == {
        SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, SECRETS, SERVICES, AUTOSCALERS, PODS,
    }  # fmt: skip


async def test_a_patch_mends_what_a_hand_has_changed(controlplane, kube_namespace):
    """On kinds that the API server defaults: what comes back needs no second patch."""
    async with await connect(controlplane.admin.kubeconfig) as api:
        account = await api.get(f"/api/v1/namespaces/{kube_namespace}/serviceaccounts/default")
        owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "controller": True}
        owner["uid"] = account["metadata"][
            "uid"
        ]  # one that is there, or the garbage collector takes all of it
        for wanted in everything(kube_namespace):
            metadata = wanted.document["metadata"] | {"ownerReferences": [owner]}
            await api.create(wanted.resource.path(wanted.namespace), wanted.document | {"metadata": metadata})
            meddle = MEDDLED.get(wanted.resource)
            if meddle is None:
                continue
            held = await api.merge(
                wanted.path, {"metadata": {"labels": {L.COMPONENT: "x", "their": "s"}}} | meddle
            )
            patch = changes(wanted, held)
            assert patch["metadata"] == {
                "labels": {L.COMPONENT: wanted.document["metadata"]["labels"][L.COMPONENT]}
            }
            assert patch.keys() == {"metadata", *meddle}
            mended = await api.merge(wanted.path, patch)
            assert changes(wanted, mended) == {}
            assert mended["metadata"]["labels"]["their"] == "s"


async def test_a_hash_survives_what_the_api_server_makes_of_a_pod_spec(controlplane, kube_namespace):
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    spec = SPEC | {"automountServiceAccountToken": False, "volumes": [{"name": "v"}]}
    async with await connect(controlplane.admin.kubeconfig) as api:
        held = await api.create(PODS.path(kube_namespace), document | {"spec": spec})
    added = {"serviceAccount", "serviceAccountName", "priority"}  # by admission, from what the cluster has
    defaulted = {key: value for key, value in held["spec"].items() if key not in added}
    for toleration in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        defaulted["tolerations"] = [one for one in defaulted["tolerations"] if one["key"] != toleration]
    assert pod_spec_form(defaulted) == pod_spec_form(spec)
    assert defaulted != spec

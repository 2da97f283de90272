"""The webhooks: over TLS on loopback, and asked by a real API server."""

import asyncio
import base64
import json
import ssl
import time

import aiohttp
import pytest
import yaml
from grove_operator.admission.defaults import defaulted
from grove_operator.admission.registration import (
    DEFAULT_SET,
    VALIDATE_SET,
    VALIDATE_TOPOLOGY,
    Address,
    Service,
    mutating,
    validating,
)
from grove_operator.admission.subject import World
from grove_operator.admission.webhook import serving
from grove_operator.crds.__main__ import CRDS

from grove_dp.kube.certificates import Authority
from tests.operator.admission_documents import changed, good_set

C = "spec.template.cliques"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
BINDING = {
    "apiVersion": "grove.io/v1alpha1",
    "kind": "ClusterTopologyBinding",
    "metadata": {"name": "admission-nodes"},
    "spec": {"levels": [{"domain": "zone", "key": "topology.kubernetes.io/zone"}]},
}
FOREIGN = changed(  # the schema takes it, the webhook does not
    BINDING, "spec.schedulerTopologyBindings", [{"schedulerName": "lost", "topologyReference": "x"}]
)


class Hooks:
    """The webhooks as they run, and a client that trusts them."""

    def __init__(self, port, ca_pem, client):
        self.address = Address(f"https://127.0.0.1:{port}")
        self.ca_pem = ca_pem
        self.client = client

    async def ask(self, path, document, old=None, operation="CREATE"):
        request = {
            "uid": "7",
            "kind": {"group": "grove.io", "version": "v1alpha1", "kind": "PodCliqueSet"},
            "name": "serve",
            "operation": operation,
            "object": document,
            "oldObject": old,
        }
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        async with self.client.post(self.address.url + path, json=review) as answer:
            assert answer.status == 200, await answer.text()
            found = await answer.json()
        assert (found["kind"], found["response"]["uid"]) == ("AdmissionReview", "7")
        return found["response"]


@pytest.fixture
def worlds():
    """What the cluster has, request by request; the last one stays."""
    return [World(topologies={"nodes": ("zone", "rack")})]


@pytest.fixture
async def hooks(tmp_path, worlds):
    authority = Authority("webhooks", time.time())
    issued = authority.server(["127.0.0.1"])
    both = tmp_path / "serving.pem"
    both.write_text(issued.chain_pem + issued.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    trusting = ssl.create_default_context(cadata=authority.pem)

    def world():
        return worlds.pop(0) if len(worlds) > 1 else worlds[0]

    async with (
        serving(world, context, "127.0.0.1", 0) as port,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as client,
    ):
        yield Hooks(port, authority.pem, client)


# ------------------------------------------------------------ on loopback


async def test_a_set_is_filled_in_by_a_patch(hooks):
    answer = await hooks.ask(DEFAULT_SET, good_set())
    assert (answer["allowed"], answer["patchType"]) == (True, "JSONPatch")
    operations = json.loads(base64.b64decode(answer["patch"]))
    assert {
        "op": "add",
        "path": "/spec/template/terminationDelay",
        "value": "4h0m0s",
    } in operations


async def test_a_whole_set_needs_no_patch(hooks):
    assert await hooks.ask(DEFAULT_SET, defaulted(good_set())) == {"uid": "7", "allowed": True}


async def test_an_update_keeps_what_an_absent_field_meant(hooks):
    grown = changed(good_set(), f"{C}[0].spec.replicas", 5)
    answer = await hooks.ask(DEFAULT_SET, grown, defaulted(good_set()), "UPDATE")
    operations = {each["path"]: each["value"] for each in json.loads(base64.b64decode(answer["patch"]))}
    assert operations["/spec/template/cliques/0/spec/minAvailable"] == 2


async def test_faults_come_all_at_once_each_with_its_field(hooks):
    wrong = changed(changed(good_set(), f"{C}[0].spec.minAvailable", 3), "spec.replicas", -1)
    answer = await hooks.ask(VALIDATE_SET, wrong)
    status = answer["status"]
    assert not answer["allowed"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"] == (
        'PodCliqueSet.grove.io "serve" is invalid: [spec.replicas: Invalid value: -1: must be 0 or more,'
        " spec.template.cliques[0].spec.minAvailable: Invalid value: 3: must not be greater than replicas,"
        " which are 2]"
    )
    assert [(cause["field"], cause["reason"]) for cause in status["details"]["causes"]] == [
        ("spec.replicas", "FieldValueInvalid"),
        ("spec.template.cliques[0].spec.minAvailable", "FieldValueInvalid"),
    ]


async def test_a_good_set_passes_with_its_warnings(hooks):
    answer = await hooks.ask(VALIDATE_SET, changed(good_set(), f"{C}[0].spec.podSpec.restartPolicy", "Never"))
    assert answer["allowed"]
    assert answer["warnings"] == [
        f"{C}[0].spec.podSpec.restartPolicy: restartPolicy will be ignored, it will be set to Always"
    ]


async def test_a_binding_that_was_applied_a_moment_before_its_set_is_waited_for(hooks, worlds):
    packed = good_set(topologyConstraint={"topologyName": "nodes", "pack": {"required": "rack"}})
    worlds.insert(0, World(topologies={}))
    assert (await hooks.ask(VALIDATE_SET, packed))["allowed"]
    worlds[:] = [World(topologies={})]
    refused = await hooks.ask(VALIDATE_SET, packed)
    assert [each["field"] for each in refused["status"]["details"]["causes"]] == [
        "spec.template.topologyConstraint.topologyName"
    ]


async def test_deletions_pass(hooks):
    for path in (DEFAULT_SET, VALIDATE_SET, VALIDATE_TOPOLOGY):
        assert (await hooks.ask(path, None, good_set(), "DELETE"))["allowed"]


@pytest.mark.parametrize(
    ("at", "value", "path", "words"),
    [
        ("spec.levels", [], "spec.levels", "at least one level"),
        ("spec.levels[0].domain", "", "spec.levels[0].domain", "such as zone"),
        ("spec.levels[0].domain", "Zone", "spec.levels[0].domain", "begin with a letter"),
        ("spec.levels[0].domain", "z" * 64, "spec.levels[0].domain", "63 characters"),
        ("spec.levels[0].key", "", "spec.levels[0].key", "label of nodes"),
        ("spec.levels[0].key", "a b", "spec.levels[0].key", "letters, digits"),
        ("spec.levels", BINDING["spec"]["levels"] * 2, "spec.levels[1].domain", "Duplicate value"),
        ("spec.levels", BINDING["spec"]["levels"] * 2, "spec.levels[1].key", "each label is one level"),
        (
            "spec.schedulerTopologyBindings",
            [{"schedulerName": "lost", "topologyReference": "x"}],
            "spec.schedulerTopologyBindings[0].schedulerName",
            "enabled are default-scheduler",
        ),
        (
            "spec.schedulerTopologyBindings",
            [{"schedulerName": "default-scheduler", "topologyReference": "x"}] * 2,
            "spec.schedulerTopologyBindings[1].schedulerName",
            "has one topology",
        ),
        (
            "spec.schedulerTopologyBindings",
            [{"schedulerName": "default-scheduler"}],
            "spec.schedulerTopologyBindings[0].topologyReference",
            "topology object",
        ),
        ("spec.levels", {"zone": "z"}, "spec.levels", "must be a list"),
    ],
)
async def test_topologies_have_rules_too(hooks, at, value, path, words):
    assert (await hooks.ask(VALIDATE_TOPOLOGY, BINDING))["allowed"]
    wrong = changed(BINDING, at, value)
    answer = await hooks.ask(VALIDATE_TOPOLOGY, wrong)
    causes = {cause["field"]: cause["message"] for cause in answer["status"]["details"]["causes"]}
    assert words in causes[path]
    assert (await hooks.ask(VALIDATE_TOPOLOGY, wrong, wrong, "UPDATE"))["allowed"]


async def test_levels_that_are_not_listed_broad_to_narrow_are_warned_of(hooks):
    names = ("host", "aisle", "zone", "rack")
    levels = [{"domain": name, "key": f"example.com/{name}"} for name in names]
    answer = await hooks.ask(VALIDATE_TOPOLOGY, changed(BINDING, "spec.levels", levels))
    assert answer["allowed"]
    (warning,) = answer["warnings"]
    assert warning.startswith("spec.levels[2].domain: 'zone' is listed after 'host'")
    assert "warnings" not in await hooks.ask(VALIDATE_TOPOLOGY, BINDING)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}',
        b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1"}}',
        b'{"request":' + b"[" * 100_000,
    ],
)
async def test_what_is_no_review_is_refused_as_such(hooks, body):
    async with hooks.client.post(hooks.address.url + VALIDATE_SET, data=body) as answer:
        assert answer.status == 400
        assert "AdmissionReview" in await answer.text()


async def test_deep_objects_are_answered_too(hooks):
    deep = (
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","object":%s%s}}'
    )
    async with hooks.client.post(
        hooks.address.url + VALIDATE_SET, data=deep % (b"[" * 900, b"]" * 900)
    ) as answer:
        assert answer.status in (200, 400)


def test_in_the_cluster_the_webhooks_are_found_by_their_service():
    at = Service("grove", "grove-operator")
    configured = [mutating(at, "PEM"), *validating(at, "PEM", "Ignore")]
    assert [each["webhooks"][0]["clientConfig"]["service"]["path"] for each in configured] == [
        DEFAULT_SET,
        VALIDATE_SET,
        VALIDATE_TOPOLOGY,
    ]
    assert [each["webhooks"][0]["failurePolicy"] for each in configured] == ["Fail", "Ignore", "Ignore"]
    assert base64.b64decode(configured[0]["webhooks"][0]["clientConfig"]["caBundle"]) == b"PEM"


# ------------------------------------------------------------ asked by a real API server


@pytest.fixture
async def registered(controlplane, kube_namespace, hooks):
    """The webhooks, for one namespace and all topologies; gone, and forgotten, afterwards."""
    await asyncio.to_thread(controlplane.kubectl, "apply", "--server-side", "-f", str(CRDS))
    configurations = [mutating(hooks.address, hooks.ca_pem), *validating(hooks.address, hooks.ca_pem)]
    for each in configurations[:2]:
        each["webhooks"][0]["namespaceSelector"] = {
            "matchLabels": {"kubernetes.io/metadata.name": kube_namespace}
        }
    made = []
    try:
        for each in configurations:
            folder = f"{CONFIGURATIONS}/{each['kind'].lower()}s"
            await asyncio.to_thread(controlplane.api.create, folder, each)
            made.append(f"{folder}/{each['metadata']['name']}")
        yield controlplane
    finally:
        for path in made:
            await asyncio.to_thread(controlplane.api.delete, path)
        sets = Sets(controlplane.api, kube_namespace)
        await sets.until(sets.topologies, FOREIGN, lambda reply: reply.status == 201)


class Sets:
    """Calls for PodCliqueSets of a namespace, beside the loop that serves what they lead to."""

    def __init__(self, api, namespace):
        self._api = api
        self.path = f"/apis/grove.io/v1alpha1/namespaces/{namespace}/podcliquesets"
        self.topologies = "/apis/grove.io/v1alpha1/clustertopologybindings"

    async def call(self, method, path, document=None, content="application/json"):
        body = json.dumps(document).encode() if document is not None else None
        return await asyncio.to_thread(self._api.call, method, path, body, {"Content-Type": content})

    async def until(self, path, document, good):
        """Try to create *document* until the answer is *good*: the API server learns of webhooks late."""
        await asyncio.to_thread(self._until, f"{path}?dryRun=All", json.dumps(document).encode(), good)

    def _until(self, path, body, good):
        deadline = time.monotonic() + 20
        while not good(reply := self._api.call("POST", path, body, {"Content-Type": "application/json"})):
            assert time.monotonic() < deadline, reply.body
            time.sleep(0.05)


def refused_by(webhook):
    return lambda reply: reply.status == 422 and webhook in reply.json()["message"]


@pytest.fixture
async def sets(registered, kube_namespace):
    made = Sets(registered.api, kube_namespace)
    good = good_set() | namespaced(kube_namespace)
    wrong = changed(good, f"{C}[1].labels", {"a b": "c"})  # what the schema does not refuse already
    await made.until(made.path, wrong, refused_by("pcs.validating.webhooks.grove.io"))
    await made.until(made.path, good, lambda reply: "terminationDelay" in reply.json()["spec"]["template"])
    return made


def namespaced(namespace, name="serve"):
    return {"metadata": {"name": name, "namespace": namespace}}


async def test_the_api_server_stores_a_set_filled_in(sets, kube_namespace):
    document = good_set() | namespaced(kube_namespace)
    reply = await sets.call("POST", sets.path, document)
    assert reply.status == 201, reply.json()
    assert reply.json()["spec"] == defaulted(document)["spec"]
    again = await sets.call("PUT", f"{sets.path}/serve", reply.json())
    assert again.json()["metadata"]["resourceVersion"] == reply.json()["metadata"]["resourceVersion"]


async def test_the_api_server_hands_all_faults_on_with_their_fields(sets, kube_namespace):
    wrong = changed(good_set(), f"{C}[1].labels", {"a b": "c"}) | namespaced(kube_namespace, "wrong")
    wrong = changed(wrong, f"{C}[2].labels", {"a": "b c"})
    reply = await sets.call("POST", sets.path, wrong)
    status = reply.json()
    assert (reply.status, status["reason"]) == (422, "Invalid")
    assert status["message"].startswith(
        'admission webhook "pcs.validating.webhooks.grove.io" denied the request:'
        ' PodCliqueSet.grove.io "wrong" is invalid: ['
    )
    assert {cause["field"] for cause in status["details"]["causes"]} == {
        f"{C}[1].labels",
        f"{C}[2].labels",
    }


async def test_changes_are_judged_against_what_is_stored(sets, kube_namespace):
    await sets.call("POST", sets.path, good_set() | namespaced(kube_namespace))
    stored = (await sets.call("GET", f"{sets.path}/serve")).json()
    refused = await sets.call("PUT", f"{sets.path}/serve", changed(stored, f"{C}[0].spec.minAvailable", 1))
    assert refused.status == 422
    assert "field is immutable" in refused.json()["message"]
    bare = changed(changed(stored, f"{C}[0].spec.replicas", 4), f"{C}[0].spec.minAvailable", None)
    grown = await sets.call("PUT", f"{sets.path}/serve", bare)
    assert grown.status == 200, grown.json()
    assert grown.json()["spec"]["template"]["cliques"][0]["spec"]["minAvailable"] == 2


async def test_warnings_reach_the_user(sets, registered, kube_namespace, tmp_path):
    document = changed(good_set(), f"{C}[0].spec.podSpec.restartPolicy", "Never") | namespaced(kube_namespace)
    file = tmp_path / "set.yaml"
    file.write_text(yaml.safe_dump(document))
    told = await asyncio.to_thread(registered.kubectl, "apply", "-f", str(file))
    assert "restartPolicy will be ignored" in told.stderr


async def test_the_api_server_asks_about_topologies(sets):
    await sets.until(sets.topologies, FOREIGN, refused_by("clustertopology.validating.webhooks.grove.io"))
    reply = await sets.call("POST", f"{sets.topologies}?dryRun=All", BINDING)
    assert reply.status == 201, reply.json()


async def test_a_set_that_goes_needs_no_webhook(sets, registered, hooks, kube_namespace):
    document = good_set() | namespaced(kube_namespace)
    document["metadata"]["finalizers"] = ["grove.io/podcliqueset.grove.io"]
    await sets.call("POST", sets.path, document)
    assert (await sets.call("DELETE", f"{sets.path}/serve")).status == 200
    name = mutating(hooks.address, "")["metadata"]["name"]
    nowhere = {
        "webhooks": [
            {"name": "pcs.defaulting.webhooks.grove.io", "clientConfig": {"url": "https://127.0.0.1:1/"}}
        ]
    }
    strategic = "application/strategic-merge-patch+json"
    path = f"{CONFIGURATIONS}/mutatingwebhookconfigurations/{name}"
    assert (await sets.call("PATCH", path, nowhere, strategic)).status == 200
    await sets.until(
        sets.path, document, lambda reply: reply.status == 500
    )  # nobody answers, so none comes in
    free = {"metadata": {"finalizers": None}}
    released = await sets.call("PATCH", f"{sets.path}/serve", free, "application/merge-patch+json")
    assert released.status == 200, released.json()
    assert (await sets.call("GET", f"{sets.path}/serve")).status == 404

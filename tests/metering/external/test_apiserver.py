"""The metrics adapter in a real cluster: installed by its own manifests, as its own service account.

The aggregator, TokenReview, SubjectAccessReview and the HPA controller are Kubernetes' own; only the way from
the Service to this machine differs (an ExternalName, because EndpointSlices may not name loopback).
"""

import asyncio
import http.client
import json
import random
import ssl
import time
from urllib.parse import urlencode

import pytest

from grove_dp.clock import SystemClock
from grove_dp.kube.access import connect
from grove_dp.kube.own_certificate import OwnCertificate
from grove_dp.metering.external.manifests import Install, documents, install, to_yaml
from grove_dp.metering.external.registration import APISERVICE_PATH, ForeignApiService, RegisteredTrust
from grove_dp.metering.external.selector import BadSelector, parse
from tests.metering.external.cluster import NAMESPACE, ROOT, TO
from tests.metering.external.rig import AGGREGATOR, VALUES, sample
from tests.metering.external.test_selector import LEAVES, REFUSED, TAKES

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(400)]
HPA_CONTROLLER = pytest.mark.controlplane("kube-controller-manager")

QUEUED = f"{VALUES}/default/grove_dp_queued_tokens"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/metrics-tls"
UNAUTHORIZED = {"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized", "code": 401}


# ---------------------------------------------------------------- through the aggregator


def test_values_are_read_through_the_aggregator(controlplane, values):
    told = controlplane.api.get(QUEUED)
    assert told["kind"] == "ExternalMetricValueList"
    assert [(item["metricLabels"], item["value"]) for item in told["items"]] == [
        ({"pcs": "chat", "component": "decode"}, "12500m")
    ]
    assert controlplane.api.call("GET", f"{QUEUED}?labelSelector=pcs%3Dother").status == 404
    assert controlplane.api.call("GET", f"{QUEUED}?labelSelector=pcs+in+chat").status == 400


def test_kubectl_reads_them_too(controlplane, values):
    told = json.loads(
        controlplane.kubectl("get", "--raw", f"{QUEUED}?labelSelector=component%3Ddecode").stdout
    )
    assert told["items"][0]["metricName"] == "grove_dp_queued_tokens"


def test_discovery_knows_our_metrics(controlplane, values):
    deadline = time.monotonic() + 40
    while True:
        told = controlplane.kubectl(
            "api-resources", "--api-group=external.metrics.k8s.io", "-o", "name"
        ).stdout
        if "grove_dp_desired_replicas.external.metrics.k8s.io" in told.split():
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.1)


def test_an_incomplete_picture_is_told_through_the_aggregator_and_we_stay_available(controlplane, values):
    values.publish(sample(namespace="default"), missing=("http://10.0.0.7:9090",))
    reply = controlplane.api.call("GET", QUEUED)
    assert reply.status == 503
    assert "no answer from http://10.0.0.7:9090" in reply.json()["message"]
    assert controlplane.api.call("GET", ROOT).status == 200


def test_who_has_no_role_may_read_nothing(controlplane, values):
    eve = controlplane.user("eve")
    reply = controlplane.connect(eve).call("GET", QUEUED)
    assert (reply.status, b"12500m" in reply.body) == (403, False)


def test_a_role_of_one_namespace_opens_that_one(controlplane, values, kube_namespace):
    rules = [
        {"apiGroups": ["external.metrics.k8s.io"], "resources": ["grove_dp_queued_tokens"], "verbs": ["list"]}
    ]
    group = "rbac.authorization.k8s.io"
    path = f"/apis/{group}/v1/namespaces/default"
    name = {"metadata": {"name": f"reader-of-{kube_namespace}"}}
    controlplane.api.create(f"{path}/roles", {**name, "rules": rules})
    subject = {"kind": "User", "name": "ada", "apiGroup": group}
    role = {"apiGroup": group, "kind": "Role", "name": name["metadata"]["name"]}
    controlplane.api.create(f"{path}/rolebindings", {**name, "roleRef": role, "subjects": [subject]})
    ada = controlplane.connect(controlplane.user("ada"))
    ada.until(QUEUED, lambda told: told["items"][0]["value"] == "12500m", 30, "ada reads default")
    assert ada.call("GET", f"{VALUES}/{kube_namespace}/grove_dp_queued_tokens").status == 403
    assert ada.call("GET", f"{VALUES}/default/grove_dp_desired_replicas").status == 403


@HPA_CONTROLLER
def test_namespaces_can_be_deleted(controlplane, values):
    # An aggregated API whose discovery fails keeps every namespace of the cluster from ending.
    controlplane.namespace("short-lived")
    controlplane.api.delete("/api/v1/namespaces/short-lived")
    deadline = time.monotonic() + 40
    while (reply := controlplane.api.call("GET", "/api/v1/namespaces/short-lived")).status != 404:
        assert time.monotonic() < deadline, reply.json()["status"]
        time.sleep(0.1)


# ---------------------------------------------------------------- past the aggregator


def refused(answer, code):
    status, told = answer
    return status == code and "items" not in told and "resources" not in told and "12500m" not in str(told)


def test_without_a_certificate_headers_are_worth_nothing(values):
    for path in (QUEUED, ROOT, "/apis", "/openapi/v2"):
        for headers in ({}, AGGREGATOR, {"X-Remote-User": "system:kube-aggregator"}):
            status, told = values.ask(path, headers)
            assert (status, {key: told[key] for key in UNAUTHORIZED}) == (401, UNAUTHORIZED)


def test_the_front_proxys_own_certificate_is_believed(controlplane, values):
    status, told = values.ask(QUEUED, AGGREGATOR, controlplane.front_proxy)
    assert (status, told["items"][0]["value"]) == (200, "12500m")
    assert values.ask(QUEUED, {"X-Remote-User": "eve"}, controlplane.front_proxy)[0] == 403


def test_a_certificate_of_another_ca_is_turned_away_in_the_handshake(controlplane, values):
    for stranger in (
        controlplane.aggregated_authority.client("front-proxy-client"),
        controlplane.admin.credential,  # of the clients' CA: good for the API server, not here
    ):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            values.ask(QUEUED, AGGREGATOR, stranger)


def test_the_right_ca_with_the_wrong_name_is_nobody(controlplane, values):
    other = controlplane.front_proxy_authority.client("kubelet", ["front-proxy-client", "system:masters"])
    assert refused(values.ask(QUEUED, AGGREGATOR, other), 401)


def test_an_expired_certificate_is_turned_away(controlplane, values):
    late = controlplane.front_proxy_authority.client("front-proxy-client", days=-1)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        values.ask(QUEUED, AGGREGATOR, late)


def test_a_token_is_reviewed_and_so_are_its_rights(controlplane, values, kube_namespace):
    token = controlplane.service_account(kube_namespace, "stranger").token
    status, told = values.ask(QUEUED, {"Authorization": f"Bearer {token}", **AGGREGATOR})
    assert refused((status, told), 403)
    assert f"system:serviceaccount:{kube_namespace}:stranger" in told["message"]


def test_keda_reads_by_the_rights_of_its_account(controlplane, values, kube_namespace):
    token = controlplane.service_account(kube_namespace, "keda").token
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "ClusterRole", "name": f"{TO.name}:reader"}
    subject = {"kind": "ServiceAccount", "namespace": kube_namespace, "name": "keda"}
    document = {"metadata": {"name": f"keda-of-{kube_namespace}"}, "roleRef": role, "subjects": [subject]}
    controlplane.api.create(f"/apis/{group}/v1/clusterrolebindings", document)
    reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    account = f"system:serviceaccount:{kube_namespace}:keda"
    wish = {"group": "external.metrics.k8s.io", "namespace": "default", "resource": "any", "verb": "list"}
    deadline = time.monotonic() + 30  # a refusal would be remembered
    while not controlplane.api.create(reviews, {"spec": {"user": account, "resourceAttributes": wish}})[
        "status"
    ]["allowed"]:
        assert time.monotonic() < deadline
    path = "/keda/v1/default/chat-decode?metric=grove_dp_queued_tokens"
    status, told = values.ask(path, {"Authorization": f"Bearer {token}"})
    assert (status, told["value"]) == (200, 12.5)


def test_an_expired_or_invented_token_is_nobodys(controlplane, values, kube_namespace):
    controlplane.service_account(kube_namespace, "robot")
    late = controlplane.minted_token(kube_namespace, "robot", -60)
    for token in (late, "invented", late[:-4] + "AAAA"):
        assert refused(values.ask(QUEUED, {"Authorization": f"Bearer {token}", **AGGREGATOR}), 401)


# ---------------------------------------------------------------- certificates and registration


def test_a_lost_secret_is_made_again_and_the_aggregator_does_not_notice(controlplane, values):
    before = values.bundle()
    controlplane.api.delete(SECRET)
    values.refresh()
    assert values.bundle() != before
    kept = controlplane.api.get(SECRET)
    assert kept["type"] == "kubernetes.io/tls"
    controlplane.api.until(QUEUED, lambda told: bool(told["items"]), 30, "values through the aggregator")
    assert values.ask("/apis", AGGREGATOR, controlplane.front_proxy)[0] == 200


def test_while_it_fits_the_secret_is_left_alone(controlplane, values):
    before = controlplane.api.get(SECRET)["metadata"]["resourceVersion"]
    values.refresh()
    assert controlplane.api.get(SECRET)["metadata"]["resourceVersion"] == before


def test_replicas_that_start_together_show_the_same_certificate(controlplane, values):
    async def start_together():
        async with await connect(controlplane.admin.kubeconfig) as api:
            trust = RegisteredTrust(api, TO.place, SystemClock())
            replicas = [OwnCertificate(api, TO.place, SystemClock(), trust) for _ in range(4)]
            return await asyncio.gather(*(replica.read() for replica in replicas))

    controlplane.api.delete(SECRET)
    certificates = asyncio.run(start_together())
    assert len(set(certificates)) == 1
    values.refresh()
    controlplane.api.until(QUEUED, lambda told: bool(told["items"]), 30, "values through the aggregator")


def test_a_second_installation_does_not_take_the_first_ones_apiservice(controlplane, values):
    before = controlplane.api.get(APISERVICE_PATH)["spec"]["service"]

    async def try_it():
        async with await connect(controlplane.admin.kubeconfig) as admin:
            await install(admin, Install(namespace="default", name="another"))

    with pytest.raises(ForeignApiService, match=f"leads to {NAMESPACE}/metrics"):
        asyncio.run(try_it())
    assert controlplane.api.get(APISERVICE_PATH)["spec"]["service"] == before
    assert controlplane.api.call("GET", "/api/v1/namespaces/default/serviceaccounts/another").status == 404


def test_the_api_server_knows_every_field_of_our_manifests(controlplane, values, tmp_path):
    file = tmp_path / "metrics-adapter.yaml"
    file.write_text(to_yaml(documents(TO)))
    command = ["apply", "--dry-run=server", "--validate=strict", "-f", str(file)]
    done = controlplane.kubectl(*command, check=False)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- the selector grammar


def test_selectors_are_read_as_the_api_server_reads_them(controlplane):
    """Every selector of the table and many invented ones: taken or refused alike, in the same words."""
    rng = random.Random(20_261_121)
    pieces = ["a", "in", "notin", "=", "==", "!=", "!", ">", "<", "(", ")", ",", " ", "1", "-", "x.y/z", ""]
    invented = ["".join(rng.choices(pieces, k=rng.randint(1, 9))) for _ in range(600)]
    differing = []
    for text in [*TAKES, *LEAVES, *REFUSED, *invented]:
        if len(text) > 1000:
            continue  # ours alone has a limit
        theirs = controlplane.api.call(
            "GET", f"/api/v1/namespaces/default/pods?{urlencode({'labelSelector': text})}"
        )
        try:
            parse(text)
            ours = ""
        except BadSelector as error:
            ours = str(error)
        said = "" if theirs.status == 200 else theirs.json()["message"]
        same = said.endswith(ours) if "Invalid value" not in ours else "Invalid value" in said
        if not same or bool(said) != bool(ours):
            differing.append((text, ours, said))
    assert differing == []

"""The metrics port over real TLS: who gets what, and what nobody gets."""

import asyncio
import socket
import ssl

import aiohttp
import msgspec
import pytest
import uvloop

from grove_dp.kube.certificates import Authority
from grove_dp.metering.external.board import Picture
from tests.metering.external.rig import (
    AGGREGATOR,
    HPA,
    NAME,
    PICTURE,
    VALUES,
    client_context,
    now,
    refusing,
    rig,
    sample,
)

QUEUED = f"{VALUES}/web/grove_dp_queued_tokens"
ROOT = "/apis/external.metrics.k8s.io/v1beta1"
UNAUTHORIZED = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized",'
    b'"reason":"Unauthorized","code":401}'
)
SECRETS = (b"grove_dp", b"chat", b"org", b"web")  # what a stranger must not see


@pytest.fixture
async def port():
    async with rig() as made:
        yield made


# ---------------------------------------------------------------- the aggregator's way


async def test_the_availability_check_is_answered(port):
    async with port.aggregator() as caller:
        answers = await asyncio.gather(*(caller.get(ROOT, AGGREGATOR) for _ in range(5)))
        assert [status for status, _, _ in answers] == [200] * 5
    assert port.cluster.asked == []  # system:masters


@pytest.mark.parametrize("path", ["/apis", "/apis/", "/apis/external.metrics.k8s.io", ROOT, ROOT + "/"])
async def test_discovery_documents_are_json_whatever_accept_says(port, path):
    async with port.aggregator() as caller:
        for accept in (
            "application/vnd.kubernetes.protobuf, */*",
            "text/html",
        ):
            status, headers, body = await caller.get(path, {**AGGREGATOR, "Accept": accept})
            assert (status, headers["Content-Type"]) == (200, "application/json")
            assert msgspec.json.decode(body)["kind"] in ("APIGroupList", "APIGroup", "APIResourceList")


AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
ASKED = f"{AGGREGATED.format('v2')},{AGGREGATED.format('v2beta1')}"  # as the API server (1.36) does


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (ASKED, "v2"),
        (AGGREGATED.format("v2beta1"), "v2beta1"),
        ("text/html, " + ASKED.replace(";", " ; "), "v2"),
    ],
)
async def test_discovery_in_its_newer_form_has_its_exact_content_type(port, accept, version):
    async with port.aggregator() as caller:
        status, headers, body = await caller.get("/apis", {**AGGREGATOR, "Accept": accept})
        assert (status, headers["Content-Type"]) == (200, AGGREGATED.format(version))
        told = msgspec.json.decode(body)
        assert (told["kind"], told["apiVersion"]) == (
            "APIGroupDiscoveryList",
            f"apidiscovery.k8s.io/{version}",
        )
        (group,) = told["items"]
        assert group["metadata"]["name"] == "external.metrics.k8s.io"
        (seen,) = group["versions"]
        assert (seen["version"], seen["freshness"]) == ("v1beta1", "Current")
        assert {
            "resource": "grove_dp_queued_tokens",
            "responseKind": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "kind": "ExternalMetricValueList",
            },
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": ["get"],
        } in seen["resources"]
        known = {**AGGREGATOR, "Accept": accept, "If-None-Match": headers["ETag"]}
        assert (await caller.get("/apis", known))[::2] == (304, b"")
        port.board.publish(Picture(samples=(sample("grove_dp_more"),)))
        assert (await caller.get("/apis", known))[0] == 200


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis"])
async def test_there_is_no_openapi_document_and_no_right_is_needed_to_hear_so(port, path):
    async with port.aggregator() as caller:
        status, told = await caller.told(path, {"X-Remote-User": "system:aggregator"})
        assert (status, told["reason"]) == (404, "NotFound")


async def test_the_hpa_gets_its_values(port):
    port.cluster.rights.add((HPA["X-Remote-User"], "grove_dp_queued_tokens"))
    async with port.aggregator() as caller:
        status, headers, body = await caller.get(
            QUEUED + "?labelSelector=pcs%3Dchat%2Crole+in+%28decode%29",
            {**HPA, "Accept": "application/vnd.kubernetes.protobuf, */*", "X-Remote-Uid": "u-1"},
        )
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == (
        b'{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":['
        b'{"metricName":"grove_dp_queued_tokens",'
        b'"metricLabels":{"component":"decode","model":"org_small","pcs":"chat","role":"decode"},'
        b'"timestamp":"2026-09-21T14:13:20Z","value":"500m"}]}'
    )


async def test_a_user_with_many_groups_is_heard(port):
    port.cluster.rights.add(("ada", "/apis"))
    headers = [("X-Remote-User", "ada"), *(("X-Remote-Group", f"group-{number}") for number in range(500))]
    async with port.aggregator() as caller:
        status, _, _ = await caller.get("/apis", headers)
    assert status == 200
    assert len(port.cluster.asked[0]["spec"]["groups"]) == 500


# ---------------------------------------------------------------- what is wrong with a request


@pytest.mark.parametrize(
    ("path", "code", "reason", "words"),
    [
        (f"{VALUES}/web/nope", 404, "NotFound", "could not find the metric nope in namespace web"),
        (f"{VALUES}/nowhere/grove_dp_queued_tokens", 404, "NotFound", "in namespace nowhere"),
        (QUEUED + "?labelSelector=role%3Dnone", 404, "NotFound", "with role=none"),
        (QUEUED + "?labelSelector=a+in+b", 400, "BadRequest", "found 'b' expected: '('"),
        (QUEUED + "?watch=true", 405, "MethodNotAllowed", "cannot be watched"),
        (f"{VALUES}/web", 400, "BadRequest", "NAMESPACE/METRIC"),
        (f"{VALUES}/web/", 400, "BadRequest", "NAMESPACE/METRIC"),
        (f"{VALUES}/web/a/b", 400, "BadRequest", "NAMESPACE/METRIC"),
        (f"{VALUES}", 400, "BadRequest", "NAMESPACE/METRIC"),
        (f"{ROOT}/grove_dp_queued_tokens", 404, "NotFound", "requested resource"),
        ("/apis/external.metrics.k8s.io/v1", 404, "NotFound", "requested resource"),
        ("/", 404, "NotFound", "requested resource"),
        (f"{VALUES}/we%2Fb/grove_dp_queued_tokens", 404, "NotFound", "in namespace we/b"),
        (f"{VALUES}/web/%ff%00", 404, "NotFound", "in namespace web"),
    ],
)
async def test_what_is_wrong_is_told_as_a_status(port, path, code, reason, words):
    async with port.aggregator() as caller:
        status, told = await caller.told(path, AGGREGATOR)
    assert (status, told["kind"], told["code"], told["reason"]) == (code, "Status", code, reason)
    assert words in told["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_metrics_are_only_read(port, method):
    async with port.aggregator() as caller:
        status, told = await caller.told(QUEUED, AGGREGATOR, method=method)
        assert (status, told["reason"]) == (405, "MethodNotAllowed")


async def test_head_answers_like_get_without_a_body(port):
    async with port.aggregator() as caller:
        status, headers, body = await caller.get(ROOT, AGGREGATOR, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 100


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (
            Picture(samples=PICTURE.samples, missing=("http://10.0.0.7:9090",)),
            "no answer from http://10.0.0.7:9090",
        ),
        (None, "no picture"),
    ],
)
async def test_half_the_truth_is_503(picture, words):
    async with rig(picture) as port, port.aggregator() as caller:
        status, headers, body = await caller.get(QUEUED, AGGREGATOR)
        told = msgspec.json.decode(body)
        assert (status, told["reason"], headers["Retry-After"]) == (503, "ServiceUnavailable", "1")
        assert words in told["message"]
        assert (await caller.get(ROOT, AGGREGATOR))[0] == 200  # the APIService stays available


# ---------------------------------------------------------------- who must not


async def test_without_a_certificate_headers_are_worth_nothing(port):
    async with port.caller() as caller:
        for path in (QUEUED, ROOT, "/apis", "/openapi/v2", "/keda/v1/web/chat-prefill", "/", "/metrics"):
            for headers in ({}, AGGREGATOR, HPA, {"Authorization": "Basic YTpi", **AGGREGATOR}):
                status, _, body = await caller.get(path, headers)
                assert (status, body) == (401, UNAUTHORIZED)
    assert port.cluster.asked == []


async def test_a_certificate_of_another_ca_is_turned_away_in_the_handshake(port):
    impostor = Authority("request-header CA", now()).client("front-proxy-client")
    async with port.caller(impostor) as caller:
        with pytest.raises(aiohttp.ClientError):
            await caller.get(QUEUED, AGGREGATOR)


@pytest.mark.parametrize("name", ["kubelet", "front-proxy-client2", "Front-Proxy-Client"])
async def test_the_right_ca_with_the_wrong_name_is_nobody(port, name):
    certificate = port.proxy_ca.client(name, ["front-proxy-client"])
    async with port.caller(certificate) as caller:
        status, _, body = await caller.get(QUEUED, AGGREGATOR)
    assert (status, body) == (401, UNAUTHORIZED)


async def test_an_expired_client_certificate_is_turned_away(port):
    ended = Authority("request-header CA", now() - 200 * 86_400)
    port.proxy = msgspec.structs.replace(port.proxy, ca_pem=ended.pem)
    port.renew()
    async with port.caller(ended.client("front-proxy-client")) as caller:
        with pytest.raises(aiohttp.ClientError):
            await caller.get(QUEUED, AGGREGATOR)


async def test_the_front_proxy_without_a_user_is_nobody(port):
    async with port.aggregator() as caller:
        assert (await caller.get(QUEUED, {"X-Remote-Group": "system:masters"}))[0] == 401


async def test_an_unknown_token_is_nobodys(port):
    async with port.caller() as caller:
        status, _, body = await caller.get(QUEUED, {"Authorization": "Bearer expired", **AGGREGATOR})
    assert (status, body) == (401, UNAUTHORIZED)
    assert port.cluster.kinds() == ["TokenReview"]


async def test_a_token_names_its_user_and_headers_do_not_add_to_it(port):
    port.cluster.tokens["good"] = {"username": "ada"}
    port.cluster.rights.add(("ada", "grove_dp_queued_tokens"))
    async with port.caller() as caller:
        headers = {"Authorization": "Bearer good", **AGGREGATOR}
        assert (await caller.get(QUEUED, headers))[0] == 200
        assert (await caller.get(ROOT, headers))[0] == 403
    assert [each["spec"].get("groups") for each in port.cluster.asked[1:]] == [[], []]


@pytest.mark.parametrize("path", [QUEUED, f"{VALUES}/web/nope", f"{VALUES}/web", "/nothing", ROOT])
async def test_who_may_not_hears_only_that(port, path):
    async with port.aggregator() as caller:
        status, told = await caller.told(path, {"X-Remote-User": "eve"})
    assert (status, told["reason"]) == (403, "Forbidden")
    assert 'User "eve" cannot' in told["message"]
    asked = path.encode()
    assert not [word for word in SECRETS if word in msgspec.json.encode(told) and word not in asked]


async def test_what_cannot_be_asked_nobody_may(port):
    port.cluster.down = refusing()
    async with port.aggregator() as caller:
        status, told = await caller.told(QUEUED, HPA)
        assert (status, told["reason"]) == (503, "ServiceUnavailable")


async def test_without_trust_the_front_proxy_is_nobody(port):
    port.front_proxy = None
    async with port.aggregator() as caller:
        assert (await caller.get(QUEUED, AGGREGATOR))[0] == 401


async def test_what_the_aggregator_let_through_may_pass_without_asking_again():
    async with rig(trust_front_proxy=True) as port:
        port.cluster.tokens["good"] = {"username": "ada"}
        async with port.aggregator() as caller:
            assert (await caller.get(QUEUED, HPA))[0] == 200
        assert port.cluster.asked == []
        async with port.caller() as caller:  # but only the aggregator
            assert (await caller.get(QUEUED, {"Authorization": "Bearer good"}))[0] == 403


# ---------------------------------------------------------------- KEDA


async def test_keda_reads_one_number_by_a_token_of_the_cluster(port):
    port.cluster.tokens["keda"] = {"username": "keda"}
    port.cluster.rights |= {("keda", "grove_dp_desired_replicas"), ("keda", "grove_dp_queued_tokens")}
    headers = {"Authorization": "Bearer keda"}
    async with port.caller() as caller:
        assert await caller.told("/keda/v1/web/chat-prefill", headers) == (
            200,
            {
                "value": 3.0,
                "metric": "grove_dp_desired_replicas",
                "namespace": "web",
                "target": "chat-prefill",
                "timestamp": "2026-09-21T14:13:20Z",
            },
        )
        status, told = await caller.told("/keda/v1/web/org/small?metric=grove_dp_queued_tokens", headers)
        assert (status, told["value"]) == (200, 12.5)
        assert (await caller.told("/keda/v1/web/nope", headers))[0] == 404
        assert (await caller.told("/keda/v1/web", headers))[0] == 400
        assert (await caller.told("/keda/v1/web/chat-prefill", headers, method="POST"))[0] == 405
        assert (await caller.told("/keda/v1/web/chat-prefill?metric=grove_dp_other", headers))[0] == 403


async def test_keda_and_the_hpa_share_what_is_known_of_a_users_rights(port):
    port.cluster.rights.add(("ada", "grove_dp_desired_replicas"))
    ada = {"X-Remote-User": "ada"}
    async with port.aggregator() as caller:
        assert (await caller.get("/keda/v1/web/chat-prefill", ada))[0] == 200
        assert (await caller.get("/keda/v1/web/nope", ada))[0] == 404
        assert (await caller.get(f"{VALUES}/web/grove_dp_desired_replicas", ada))[0] == 200
        assert (await caller.get(f"{VALUES}/%77eb/grove_dp_desired_replicas", ada))[0] == 200
    assert port.cluster.kinds() == ["SubjectAccessReview"]


async def test_keda_may_have_a_token_of_its_own_that_can_change(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    async with rig(keda_token_file=file) as port, port.caller() as caller:
        path = "/keda/v1/web/chat-prefill"
        assert (await caller.get(path, {"Authorization": "Bearer first"}))[0] == 200
        assert port.cluster.asked == []
        assert (await caller.get(QUEUED, {"Authorization": "Bearer first"}))[0] == 401  # opens nothing else
        file.write_text("second")
        assert (await caller.get(path, {"Authorization": "Bearer first"}))[0] == 401
        assert (await caller.get(path, {"Authorization": "Bearer second"}))[0] == 200
        file.write_text("")
        assert (await caller.get(path, {"Authorization": "Bearer "}))[0] == 401
        file.unlink()
        assert (await caller.get(path, {"Authorization": "Bearer second"}))[0] == 401


# ---------------------------------------------------------------- health


async def test_health_is_for_everyone_and_tells_nothing(port):
    async with port.caller() as caller:
        for path in ("/livez", "/healthz", "/readyz"):
            assert (await caller.get(path))[::2] == (200, b"ok\n")


async def test_ready_means_trust_and_a_picture():
    async with rig(None) as port, port.caller() as caller:
        port.front_proxy = None
        assert (await caller.get("/readyz"))[::2] == (503, b"not ready: front-proxy-trust, picture\n")
        assert (await caller.get("/livez"))[0] == 200
        port.board.publish(Picture(missing=("http://10.0.0.7:9090",)))
        port.front_proxy = port.proxy
        assert (await caller.get("/readyz"))[0] == 200  # to say why not is an answer


async def test_while_it_drains_it_is_not_ready_but_answers(port):
    port.port.drain()
    async with port.aggregator() as caller:
        assert (await caller.get("/readyz"))[::2] == (503, b"not ready: draining\n")
        assert (await caller.get(ROOT, AGGREGATOR))[0] == 200


# ---------------------------------------------------------------- TLS and time


async def test_small_answers_do_not_wait_for_others(port):
    async with port.caller() as caller:
        await caller.get("/livez")
        (transport,) = port.port._server._connections.values()
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_a_new_ca_holds_from_the_next_connection_and_the_old_ones_end(port):
    old = port.proxy_ca.client("front-proxy-client")
    async with port.caller(old) as caller:
        assert (await caller.get(ROOT, AGGREGATOR))[0] == 200
        port.proxy_ca = Authority("request-header CA", now())
        port.proxy = port.front_proxy = msgspec.structs.replace(port.proxy, ca_pem=port.proxy_ca.pem)
        port.renew()
        with pytest.raises(aiohttp.ClientError):
            await caller.get(ROOT, AGGREGATOR)
    async with port.aggregator() as caller:
        assert (await caller.get(ROOT, AGGREGATOR))[0] == 200


async def test_a_bundle_of_old_and_new_ca_lets_nobody_fail(port):
    old = port.proxy_ca
    port.proxy_ca = Authority("request-header CA", now())
    async with port.caller(old.client("front-proxy-client")) as caller:
        assert (await caller.get(ROOT, AGGREGATOR))[0] == 200
        port.proxy = msgspec.structs.replace(port.proxy, ca_pem=old.pem + port.proxy_ca.pem)
        port.renew()
        assert (await caller.get(ROOT, AGGREGATOR))[0] == 200
        async with port.aggregator() as other:
            assert (await other.get(ROOT, AGGREGATOR))[0] == 200


async def test_a_request_of_yesterdays_connection_is_answered_and_then_the_connection_ends(port):
    port.cluster.gate = asyncio.Event()
    port.cluster.rights.add((HPA["X-Remote-User"], "grove_dp_queued_tokens"))
    async with port.aggregator() as caller:
        asking = asyncio.create_task(caller.get(QUEUED, HPA))
        await port.cluster.arrived.wait()
        port.renew()
        port.cluster.gate.set()
        status, headers, _ = await asking
        assert (status, headers["Connection"]) == (200, "close")


async def test_a_new_serving_certificate_is_shown_without_a_restart(port):
    old_ca = port.server_ca
    port.server_ca = Authority("serving CA", now())
    port.renew()
    async with port.caller() as caller:
        assert (await caller.get("/livez"))[0] == 200
    port.server_ca = old_ca
    async with port.caller() as caller:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await caller.get("/livez")


def shake(port, context, session=None):
    """One TLS handshake and a request on a blocking socket."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname=NAME, session=session) as secure,
    ):
        secure.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while secure.recv(4096):
            pass
        return secure.version(), secure.session_reused, secure.session


async def test_no_session_is_resumed_so_that_every_connection_shows_its_certificate(port):
    context = client_context(port.server_ca.pem, port.proxy_ca.client("front-proxy-client"))
    version, _, session = await asyncio.to_thread(shake, port.number, context)
    assert (version, session and session.has_ticket) == ("TLSv1.3", False)
    assert (await asyncio.to_thread(shake, port.number, context, session))[1] is False


async def test_older_tls_is_refused(port):
    context = client_context(port.server_ca.pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(shake, port.number, context)


def test_all_of_this_holds_on_uvloop_too():
    # The adapter runs on it; its TLS is its own.
    async def story():
        async with rig() as port, port.aggregator() as caller, port.caller() as stranger:
            assert (await caller.get(ROOT, AGGREGATOR))[0] == 200
            assert (await stranger.get(ROOT, AGGREGATOR))[0] == 401
            (transport, *_) = port.port._server._connections.values()
            assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            port.proxy_ca = Authority("request-header CA", now())
            port.proxy = port.front_proxy = msgspec.structs.replace(port.proxy, ca_pem=port.proxy_ca.pem)
            port.renew()
            with pytest.raises(aiohttp.ClientError):
                await caller.get(ROOT, AGGREGATOR)
            async with port.aggregator() as other:
                assert (await other.get(ROOT, AGGREGATOR))[0] == 200

    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        runner.run(story())


async def test_answers_are_counted(port):
    async with port.aggregator() as caller:
        await caller.get(ROOT, AGGREGATOR)
        await caller.get(QUEUED, {"X-Remote-User": "eve"})
    assert port.port.answers == {200: 1, 403: 1}


async def test_a_bug_is_a_status_without_its_details(port, caplog):
    class Broken:
        published = True

        @property
        def metrics(self):
            raise RuntimeError("secret detail")

    port.port._source = Broken()
    async with port.aggregator() as caller:
        status, _, body = await caller.get(ROOT, AGGREGATOR)
    assert status == 500
    assert msgspec.json.decode(body)["reason"] == "InternalError"
    assert b"secret" not in body
    assert "secret detail" in caplog.text


async def test_new_values_are_told_at_once(port):
    async with port.aggregator() as caller:
        for value in (1, 2, 3):
            port.board.publish(Picture(samples=(sample(value=value, pcs="chat"),)))
            told = (await caller.told(QUEUED, AGGREGATOR))[1]
            assert [item["value"] for item in told["items"]] == [str(value)]

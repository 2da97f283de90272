"""Where the cluster is found, what is sent to it, and what becomes of its answers."""

import asyncio
import json
import time
from base64 import b64encode
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import yaml
from aiohttp import web

from grove_dp.kube import access, certificates, cluster, errors
from grove_dp.kube.access import connect
from grove_dp.kube.errors import ApiError, ApiUnreachable, NoCluster
from grove_dp.kube.tls import Face

THINGS = "/api/v1/namespaces/web/things"


class Server:
    """Plain HTTP on loopback that answers every request alike."""

    def __init__(self):
        self.seen = []
        self.status, self.body = 200, b"{}"
        self.wait = None
        self.headers = {}
        self.first = []  # (status, headers) of the first answers

    async def answer(self, request):
        body = await request.read()
        peer = request.get_extra_info("peername")
        self.seen.append((request.method, request.path_qs, dict(request.headers), body, peer))
        if self.wait is not None:
            await self.wait.wait()
        status, headers = self.first.pop(0) if self.first else (self.status, self.headers)
        return web.Response(status=status, body=self.body, content_type="application/json", headers=headers)


@pytest.fixture
async def server():
    made = Server()
    runner = web.ServerRunner(web.Server(made.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def kubeconfig(path, url, token="secret", trusted=""):
    at = {"server": url}
    if trusted:
        at["certificate-authority-data"] = b64encode(trusted.encode()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": at}],
        "users": [{"name": "u", "user": {"token": token}}, {"name": "other", "user": {"token": "another"}}],
        "contexts": [
            {"name": "x", "context": {"cluster": "c", "user": "u"}},
            {"name": "y", "context": {"cluster": "c", "user": "other"}},
        ],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
async def api(server, tmp_path):
    async with await connect(kubeconfig(tmp_path / "config", server.url)) as made:
        yield made


async def test_an_object_is_read_into_the_fields_that_are_wanted(api, server):
    class Thing(msgspec.Struct):
        kind: str

    server.body = b'{"kind": "Thing", "spec": {"more": 1}}'
    assert await api.get(f"{THINGS}/a", into=Thing) == Thing("Thing")
    assert await api.get(f"{THINGS}/a", query={"labelSelector": "a=b,c"}) == {
        "kind": "Thing",
        "spec": {"more": 1},
    }
    method, path, headers, *_ = server.seen[1]
    assert (method, urlsplit(path).path) == ("GET", f"{THINGS}/a")
    assert parse_qs(urlsplit(path).query) == {"labelSelector": ["a=b,c"]}
    assert headers["Authorization"] == "Bearer secret"
    assert (headers["User-Agent"], headers["Accept"]) == ("grove-dp", "application/json")


async def test_writes_say_what_kind_of_patch_they_are(api, server):
    await api.create(THINGS, {"a": 1})
    await api.merge(f"{THINGS}/a", {"b": None})
    await api.apply(f"{THINGS}/a", {"c": 3}, "me")
    await api.apply(f"{THINGS}/a", {"c": 3}, "me", force=True)
    await api.delete(f"{THINGS}/a")
    sent = [
        (method, path, headers.get("Content-Type"), body) for method, path, headers, body, _ in server.seen
    ]
    apply = "application/apply-patch+yaml"
    assert [
        (method, path, kind, json.loads(body) if body else None) for method, path, kind, body in sent
    ] == [
        ("POST", THINGS, "application/json", {"a": 1}),
        ("PATCH", f"{THINGS}/a", "application/merge-patch+json", {"b": None}),
        ("PATCH", f"{THINGS}/a?fieldManager=me&force=false", apply, {"c": 3}),
        ("PATCH", f"{THINGS}/a?fieldManager=me&force=true", apply, {"c": 3}),
        ("DELETE", f"{THINGS}/a", None, None),
    ]


async def test_a_refusal_says_what_the_api_server_said(api, server):
    server.status = 409
    server.body = b'{"kind": "Status", "reason": "Conflict", "message": "it has moved", "code": 409}'
    with pytest.raises(ApiError) as refused:
        await api.merge(f"{THINGS}/a", {})
    assert (refused.value.code, refused.value.why) == (409, "Conflict")
    assert str(refused.value) == f"PATCH {THINGS}/a: 409 Conflict: it has moved"


@pytest.mark.parametrize(
    ("code", "why", "kind"),
    [
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Expired),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (418, "Teapot", ApiError),
    ],
)
async def test_each_refusal_has_its_class(api, server, code, why, kind):
    server.status, server.body = code, json.dumps({"reason": why, "message": "m"}).encode()
    with pytest.raises(ApiError) as refused:
        await api.get(THINGS)
    assert type(refused.value) is kind


@pytest.mark.parametrize("code", [429, 503, 504])
async def test_a_server_that_says_when_to_come_again_is_asked_again(api, server, code):
    server.first = [(code, {"Retry-After": "0"})] * 3
    assert await api.create(THINGS, {}) == {}
    assert len(server.seen) == 4


async def test_a_server_that_wants_us_too_late_is_not_waited_for(api, server):
    server.status, server.headers = 429, {"Retry-After": "60"}
    with pytest.raises(errors.TooManyRequests) as refused:
        await api.get(THINGS)
    assert (refused.value.retry_after_s, len(server.seen)) == (60.0, 1)


async def test_what_fails_without_a_word_of_when_is_not_repeated(api, server):
    server.status = 500
    with pytest.raises(ApiError):
        await api.merge(THINGS, {})
    assert len(server.seen) == 1


async def test_a_delete_can_be_meant_for_one_object_alone(api, server):
    await api.delete(f"{THINGS}/a", uid="u", resource_version="7", grace_s=0, propagation="Foreground")
    assert json.loads(server.seen[0][3]) == {
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }


async def test_a_renewed_kubeconfig_is_read_when_the_old_credential_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "RELOAD_S", 0.0)
    path = kubeconfig(tmp_path / "config", server.url, "old")
    async with await connect(path) as api:
        server.first = [(401, {})]
        kubeconfig(path, server.url, "new")
        await api.get(THINGS)
        assert [seen[2]["Authorization"] for seen in server.seen] == ["Bearer old", "Bearer new"]
        path.write_text("half: [")
        server.first = [(401, {})]
        with pytest.raises(errors.Unauthorized):
            await api.get(THINGS)
        await api.get(THINGS)
        assert server.seen[-1][2]["Authorization"] == "Bearer new"


async def test_a_renewed_authority_is_read_when_the_api_server_shows_a_certificate_of_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(cluster, "RELOAD_S", 0.0)
    first, second = (certificates.serving(["localhost"], time.time()) for _ in range(2))
    face, seen = Face(), Server()
    face.renew(first[0])
    runner = web.ServerRunner(web.Server(seen.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=face.context).start()
    url = f"https://localhost:{runner.addresses[0][1]}"
    path = tmp_path / "config"
    async with await connect(kubeconfig(path, url, trusted=first[1])) as api:
        seen.headers = {"Connection": "close"}
        await api.get(THINGS)
        face.renew(second[0])
        with pytest.raises(ApiUnreachable, match="certificate verify failed"):
            await api.get(THINGS)
        kubeconfig(path, url, trusted=second[1])
        with pytest.raises(ApiUnreachable):
            await api.get(THINGS)
        await api.get(THINGS)
    await runner.cleanup()


async def test_a_refused_credential_is_not_read_again_at_every_call(server, tmp_path):
    async with await connect(kubeconfig(tmp_path / "config", server.url)) as api:
        server.status = 401
        for _ in range(3):
            with pytest.raises(errors.Unauthorized):
                await api.get(THINGS)
    assert len(server.seen) == 3


async def test_redirects_are_not_followed_with_our_token(api, server):
    server.status, server.headers = 302, {"Location": f"{server.url}/elsewhere"}
    with pytest.raises(ApiError, match="302"):
        await api.get(THINGS)
    assert len(server.seen) == 1


async def test_a_refusal_of_something_between_is_told_too(api, server):
    server.status, server.body = 502, b"<html>\n<h1>Bad Gateway</h1>"
    with pytest.raises(ApiError, match="502 Unknown: <html> <h1>Bad Gateway"):
        await api.get(THINGS)


async def test_an_answer_that_is_no_document_is_no_answer(api, server):
    for body in (b"<html>", b"[]", b""):
        server.body = body
        with pytest.raises(ApiUnreachable, match="answered something else"):
            await api.get(THINGS)


async def test_nobody_there_is_unreachable(tmp_path):
    async with await connect(kubeconfig(tmp_path / "config", "http://127.0.0.1:1")) as api:
        with pytest.raises(ApiUnreachable, match="cannot be reached"):
            await api.get(THINGS)


async def test_no_answer_in_time_is_unreachable(api, server, monkeypatch):
    monkeypatch.setattr(access, "TIMEOUT_S", 0.05)
    server.wait = asyncio.Event()
    with pytest.raises(ApiUnreachable, match="no answer"):
        await api.get(THINGS)
    server.wait.set()


async def test_the_context_chooses_the_user(server, tmp_path):
    async with await connect(kubeconfig(tmp_path / "config", server.url), "y") as api:
        await api.get(THINGS)
    assert server.seen[0][2]["Authorization"] == "Bearer another"


async def test_the_environment_names_the_kubeconfig(server, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", server.url)))
    async with await connect() as api:
        assert api.host == server.url


@pytest.mark.parametrize("in_pod", [False, True])
async def test_no_cluster_says_what_was_looked_for(in_pod, tmp_path, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if in_pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(NoCluster, match="this pod" if in_pod else "--kubeconfig"):
        await connect()


@pytest.mark.parametrize("text", ["{}", "apiVersion: v1\nkind: Config\n", "[1]"])
async def test_a_kubeconfig_that_is_none_is_named(text, tmp_path):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(NoCluster, match=str(path)):
        await connect(path)


async def test_calls_share_connections(api, server):
    for _ in range(20):
        await api.get(THINGS)
    assert len({peer for *_, peer in server.seen}) == 1

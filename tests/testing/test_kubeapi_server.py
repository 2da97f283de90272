"""The API server in one process: what the real one cannot be asked for in a test."""

import asyncio
import time
from random import Random

import msgspec
import pytest

from grove_dp.clock import ManualClock
from grove_dp.kube.access import Access, connect
from grove_dp.kube.errors import NotFound
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import PODS, Pod
from grove_dp.testing.kubeapi import InProcess, Reply, Server, WatchReply
from grove_dp.testing.kubeapi.serve import serving
from grove_dp.testing.loopclock import LoopClock

MAPS = "/api/v1/namespaces/default/configmaps"


def asked(server, method, path, document=None, content="application/json"):
    body = None if document is None else msgspec.json.encode(document)
    reply = server.handle(method, path, {"Content-Type": content}, body)
    assert isinstance(reply, Reply)
    return reply.status, msgspec.json.decode(reply.body)


def pod(number):
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "none"}
    return {
        "metadata": {"name": f"pod-{number:04}", "labels": {"app": "a", "number": str(number)}},
        "spec": {"containers": [{"name": "m", "image": "i"}], "schedulingGates": [{"name": "t.test/g"}]},
        "ownerReferences": [owner],
    }


def events(reply):
    return [msgspec.json.decode(line)["type"] for line in b"".join(reply.watcher.take()).splitlines()]


def test_the_same_seed_makes_the_same_cluster():
    def made():
        server = Server(ManualClock(), Random(7))
        return [asked(server, "POST", MAPS, {"metadata": {"generateName": "a-"}}) for _ in range(3)]

    assert made() == made()


def test_times_are_the_clocks():
    server = Server(ManualClock(wall=0))
    _, made = asked(server, "POST", MAPS, {"metadata": {"name": "a"}})
    assert made["metadata"]["creationTimestamp"] == "1970-01-01T00:00:00Z"


def test_writes_are_remembered_and_reads_are_not():
    server = Server()
    asked(server, "POST", MAPS, {"metadata": {"name": "a"}})
    asked(server, "GET", MAPS)
    asked(server, "DELETE", f"{MAPS}/b")
    assert [(write.method, write.path, write.status) for write in server.writes] == [
        ("POST", MAPS, 201),
        ("DELETE", f"{MAPS}/b", 404),
    ]


def test_a_late_watch_of_more_than_the_window_is_gone():
    server = Server(window=4)
    _, first = asked(server, "POST", MAPS, {"metadata": {"name": "a"}})
    for number in range(5):
        asked(server, "PATCH", f"{MAPS}/a", {"data": {"k": str(number)}}, "application/merge-patch+json")
    version = int(first["metadata"]["resourceVersion"])
    assert events(server.handle("GET", f"{MAPS}?watch=1&resourceVersion={version}", {}, None)) == ["ERROR"]
    later = server.handle("GET", f"{MAPS}?watch=1&resourceVersion={version + 1}", {}, None)
    assert events(later) == ["MODIFIED"] * 4


def test_a_window_is_of_one_kind_only():
    server = Server(window=2)
    _, first = asked(server, "POST", MAPS, {"metadata": {"name": "a"}})
    for number in range(5):
        asked(server, "POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": f"s{number}"}})
    version = first["metadata"]["resourceVersion"]
    assert events(server.handle("GET", f"{MAPS}?watch=1&resourceVersion={version}", {}, None)) == []


def test_garbage_can_be_held_back():
    server = Server()
    _, owner = asked(server, "POST", MAPS, {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    asked(server, "POST", MAPS, {"metadata": {"name": "child", "ownerReferences": [reference]}})
    server.garbage.paused = True
    asked(server, "DELETE", f"{MAPS}/owner")
    assert asked(server, "GET", f"{MAPS}/child")[0] == 200
    server.garbage.paused = False
    server.garbage.collect()
    assert asked(server, "GET", f"{MAPS}/child")[0] == 404


def test_a_cycle_of_owners_goes_when_nothing_holds_it():
    server = Server()
    made = {name: asked(server, "POST", MAPS, {"metadata": {"name": name}})[1] for name in ("root", "a", "b")}

    def owned(name, *owners):
        references = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": made[owner]["metadata"]["uid"]}
            for owner in owners
        ]
        patch = {"metadata": {"ownerReferences": references}}
        asked(server, "PATCH", f"{MAPS}/{name}", patch, "application/merge-patch+json")

    owned("a", "root")
    owned("b", "a")
    asked(server, "DELETE", f"{MAPS}/root")
    assert asked(server, "GET", MAPS)[1]["items"] == []


def test_a_namespace_is_emptied_and_goes():
    server = Server()
    asked(server, "POST", "/api/v1/namespaces", {"metadata": {"name": "team"}})
    asked(server, "POST", "/api/v1/namespaces/team/configmaps", {"metadata": {"name": "a"}})
    held = {"metadata": {"name": "held", "finalizers": ["t.test/x"]}}
    asked(server, "POST", "/api/v1/namespaces/team/configmaps", held)
    asked(server, "DELETE", "/api/v1/namespaces/team")
    assert asked(server, "GET", "/api/v1/namespaces/team")[1]["status"]["phase"] == "Terminating"
    patch = {"metadata": {"finalizers": None}}
    asked(server, "PATCH", "/api/v1/namespaces/team/configmaps/held", patch, "application/merge-patch+json")
    assert asked(server, "GET", "/api/v1/namespaces/team")[0] == 404


def test_a_reader_who_is_far_behind_is_cut_off(monkeypatch):
    monkeypatch.setattr("grove_dp.testing.kubeapi.store.UNREAD", 3)
    server = Server()
    reply = server.handle("GET", f"{MAPS}?watch=1", {}, None)
    for number in range(5):
        asked(server, "POST", MAPS, {"metadata": {"name": f"m{number}"}})
    assert reply.watcher.ended
    assert len(events(reply)) == 3


def test_a_closed_watch_costs_nothing_more():
    server = Server()
    reply = server.handle("GET", f"{MAPS}?watch=1", {}, None)
    assert isinstance(reply, WatchReply)
    reply.close()
    reply.close()
    assert server.store.table(("", "configmaps")).watchers == []


def test_stored_documents_are_never_changed():
    server = Server()
    asked(server, "POST", MAPS, {"metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "1"}})
    stored = server.store.table(("", "configmaps")).get(("default", "a"))
    before = msgspec.json.encode(stored.document)
    patch = {"metadata": {"labels": {"y": "2"}}, "data": {"k": "2"}}
    asked(server, "PATCH", f"{MAPS}/a", patch, "application/merge-patch+json")
    operations = [{"op": "add", "path": "/metadata/labels/z", "value": "3"}]
    asked(server, "PATCH", f"{MAPS}/a", operations, "application/json-patch+json")
    assert msgspec.json.encode(stored.document) == before


@pytest.mark.looptime
async def test_bookmarks_come_each_minute_and_before_the_end():
    server = Server(LoopClock())
    seen = []
    async with Access(InProcess(server)) as api:
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "150"}
        began = asyncio.get_running_loop().time()
        async with api.stream(MAPS, query) as stream:
            async for chunk in stream.chunks():
                seen.append((asyncio.get_running_loop().time() - began, msgspec.json.decode(chunk)["type"]))
        assert asyncio.get_running_loop().time() - began == pytest.approx(150)
    assert [(round(at), kind) for at, kind in seen] == [
        (60, "BOOKMARK"),
        (120, "BOOKMARK"),
        (148, "BOOKMARK"),
    ]


@pytest.mark.looptime
async def test_an_informer_follows_it_for_a_day_in_no_time():
    clock = LoopClock()
    server = Server(clock)
    async with Access(InProcess(server)) as api:
        informer = Informer(api, PODS, Pod, clock=clock)
        running = asyncio.create_task(informer.run())
        await informer.synced()
        for number in range(24):
            await asyncio.sleep(3600)
            await api.create(PODS.path("default"), pod(number))
        await asyncio.sleep(1)
        assert len(informer) == 24
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_object_without_its_kind_is_not_found():
    async with Access(InProcess(Server())) as api:
        with pytest.raises(NotFound):
            await api.get("/apis/grove.io/v1alpha1/podcliquesets")


def test_a_thousand_pods_are_made_listed_and_watched_well_within_a_second():
    server = Server()
    body = [msgspec.json.encode(pod(number)) for number in range(1_000)]
    watch = server.handle("GET", "/api/v1/pods?watch=1", {}, None)
    began = time.process_time()
    for document in body:
        server.handle("POST", "/api/v1/namespaces/default/pods", {}, document)
    listed = server.handle("GET", "/api/v1/pods", {}, None)
    lines = b"".join(watch.watcher.take()).splitlines()
    took_s = time.process_time() - began
    assert len(msgspec.json.decode(listed.body)["items"]) == len(lines) == 1_000
    assert took_s < 1.0


async def test_a_watch_whose_reader_has_gone_is_forgotten(tmp_path):
    server = Server()
    async with serving(server, tmp_path) as served, await connect(served.kubeconfig) as api:
        async with api.stream(MAPS, {"watch": "1"}) as stream:
            assert stream.status == 200
            assert len(server.store.table(("", "configmaps")).watchers) == 1
        async with asyncio.timeout(5):
            while server.store.table(("", "configmaps")).watchers:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

"""An informer before the real API server, over connections that are cut, slowed, silenced and refused."""

import asyncio
import contextlib
import random
import re

import msgspec
import pytest

from grove_dp.kube.access import connect
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import Meta, Resource
from grove_dp.testing.frontend import eventually
from grove_dp.testing.net import FaultProxy

pytestmark = pytest.mark.controlplane

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


class ConfigMap(msgspec.Struct, frozen=True):
    metadata: Meta = Meta()
    data: dict[str, str] | None = None


class Shadow:
    """What a listener that believes every change holds; it must never differ from the informer."""

    def __init__(self):
        self.held, self.faults = {}, []

    def note(self, change):
        name = change.last.metadata.name
        before = self.held.get(name)
        if change.old is None and before is not None:
            self.faults.append(f"{name} came twice")
        if change.old is not None and before is None:
            self.faults.append(f"{name} changed or went before it came")
        if change.new is None:
            self.held.pop(name, None)
        else:
            if before is not None and int(before[0]) >= int(change.new.metadata.resource_version):
                self.faults.append(f"{name} went back")
            self.held[name] = (change.new.metadata.resource_version, (change.new.data or {}).get("n"))


class Rig:
    """An informer of one namespace's config maps behind a proxy, and a writer that is not."""

    def __init__(self, controlplane, namespace, proxy, kubeconfig):
        self.plane, self.namespace, self.proxy, self.kubeconfig = controlplane, namespace, proxy, kubeconfig
        self.path = CONFIG_MAPS.path(namespace)
        self.shadow = Shadow()

    @contextlib.asynccontextmanager
    async def informed(self, **options):
        async with await connect(self.kubeconfig) as api:
            informer = Informer(
                api,
                CONFIG_MAPS,
                ConfigMap,
                namespace=self.namespace,
                fields="metadata.name!=kube-root-ca.crt",
                **options,
            )
            informer.listen(self.shadow.note)
            task = asyncio.create_task(informer.run())
            yield informer
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def write(self, method, *arguments):
        return await asyncio.to_thread(getattr(self.plane.api, method), *arguments)

    async def put(self, name, n):
        document = {
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "data": {"n": str(n)},
        }
        return await self.write("create", self.path, document)

    async def truth(self):
        found = await self.write("get", self.path)
        return {
            item["metadata"]["name"]: (item["metadata"]["resourceVersion"], item["data"]["n"])
            for item in found["items"]
            if item["metadata"]["name"] != "kube-root-ca.crt"
        }

    async def agrees(self, informer, within_s=30):
        truth = await self.truth()

        async def look():
            return {held.metadata.name: (held.metadata.resource_version, held.data["n"]) for held in informer}

        await eventually(look, truth.__eq__, within_s, f"the informer holds {len(truth)} objects")
        assert self.shadow.held == truth
        assert self.shadow.faults == []


@pytest.fixture
async def rig(controlplane, kube_namespace, tmp_path):
    async with FaultProxy(controlplane.admin.port) as proxy:
        text = controlplane.admin.kubeconfig.read_text()
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(re.sub(r"https://127\.0\.0\.1:\d+", f"https://127.0.0.1:{proxy.port}", text))
        yield Rig(controlplane, kube_namespace, proxy, kubeconfig)


async def churn(rig, rng, steps):
    """Config maps come, change and go."""
    held, number = [], 0
    for step in range(steps):
        roll = rng.random()
        if not held or roll < 0.4:
            number += 1
            held.append(f"c-{number}")
            await rig.put(held[-1], step)
        elif roll < 0.8:
            await rig.write("patch", f"{rig.path}/{rng.choice(held)}", {"data": {"n": str(step)}})
        else:
            await rig.write("delete", f"{rig.path}/{held.pop(rng.randrange(len(held)))}")


async def test_every_change_is_told_once_over_a_good_connection(rig):
    async with rig.informed() as informer:
        await informer.synced()
        await churn(rig, random.Random(1), 120)
        await rig.agrees(informer)
        assert (informer.lists, informer.watches) == (1, 1)


async def test_nothing_is_lost_while_connections_are_cut_again_and_again(rig):
    async with rig.informed() as informer:
        await informer.synced()
        writing = asyncio.create_task(churn(rig, random.Random(2), 200))
        while not writing.done():
            await asyncio.sleep(0.1)
            rig.proxy.cut_all(reset=random.Random(3).random() < 0.5)
        await writing
        await rig.agrees(informer)
        assert informer.watches >= 3


async def test_a_watch_that_is_cut_goes_on_from_its_version_and_does_not_list_again(rig):
    async with rig.informed() as informer:
        await informer.synced()
        await rig.put("first", 1)  # after the list: it comes by the watch, which is there then
        await rig.agrees(informer)
        rig.proxy.cut_all()
        await rig.put("second", 1)
        await rig.agrees(informer)
        assert (informer.lists, informer.watches) == (1, 2)


async def test_what_went_while_nobody_listened_is_told_as_gone(rig):
    async with rig.informed() as informer:
        await rig.put("stays", 1)
        await rig.put("goes", 1)
        await rig.agrees(informer)
        rig.proxy.refuse()
        await rig.write("delete", f"{rig.path}/goes")
        await rig.put("comes", 1)
        await asyncio.sleep(0.5)
        assert {held.metadata.name for held in informer} == {"stays", "goes"}, "what was seen stays readable"
        await rig.proxy.listen()
        await rig.agrees(informer)


async def test_a_connection_that_fell_silent_is_left_for_another(rig):
    async with rig.informed(quiet_s=1.0) as informer:
        await rig.put("first", 1)
        await rig.agrees(informer)
        rig.proxy.pause()
        await rig.put("second", 1)
        await rig.agrees(informer, within_s=10)


async def test_a_slow_connection_is_only_slow(rig):
    rig.proxy.default.bytes_per_s = 200_000
    for number in range(60):
        await rig.put(f"m-{number}", number)
    async with rig.informed(page=7) as informer:
        await rig.agrees(informer)
        await churn(rig, random.Random(4), 30)
        await rig.agrees(informer)
        assert informer.lists == 1


async def test_an_expired_token_is_replaced_by_the_one_that_the_kubeconfig_then_names(rig, monkeypatch):
    from grove_dp.kube import cluster

    monkeypatch.setattr(cluster, "RELOAD_S", 0.0)
    account = await asyncio.to_thread(rig.plane.service_account, rig.namespace, "reader")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{rig.namespace}"
    name = {"metadata": {"name": "reader"}}
    await rig.write("create", f"{roles}/roles", {**name, "rules": rules})
    binding = {
        **name,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": rig.namespace}],
    }
    await rig.write("create", f"{roles}/rolebindings", binding)
    good = account.kubeconfig.read_text().replace(f":{account.port}", f":{rig.proxy.port}")
    old = await asyncio.to_thread(rig.plane.minted_token, rig.namespace, "reader", -60.0)
    rig.kubeconfig.write_text(good.replace(account.token, old))
    async with rig.informed() as informer:
        await rig.put("first", 1)
        await asyncio.sleep(0.3)
        assert not informer.is_synced
        rig.kubeconfig.write_text(good)
        await rig.agrees(informer, within_s=10)


async def test_our_own_writes_are_read_back_at_once(rig):
    async with rig.informed() as informer, await connect(rig.kubeconfig) as api:
        await informer.synced()
        document = {"metadata": {"name": "mine"}, "data": {"n": "1"}}
        informer.wrote(await api.create(rig.path, document, into=ConfigMap))
        assert informer.get(rig.namespace, "mine").data == {"n": "1"}
        changed = await api.merge(f"{rig.path}/mine", {"data": {"n": "2"}}, into=ConfigMap)
        informer.wrote(changed)
        assert informer.get(rig.namespace, "mine").data == {"n": "2"}
        await rig.put("another", 1)
        async with asyncio.timeout(5):
            await informer.reached(changed.metadata.resource_version)
        await rig.agrees(informer)

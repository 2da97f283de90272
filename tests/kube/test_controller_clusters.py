"""A controller behind an informer, on both API servers: it makes things right, then writes nothing more."""

import asyncio

import msgspec

from grove_dp.kube.controller import Controller, Key, own_key
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import Meta, Resource

MAPS = Resource("", "v1", "configmaps", "ConfigMap")


class ConfigMap(msgspec.Struct, frozen=True):
    metadata: Meta = Meta()
    data: dict[str, str] | None = None


class Doubling:
    """Each ConfigMap is to hold the double of its number, whoever changes it."""

    def __init__(self, api, namespace):
        self.api = api
        self.namespace = namespace
        self.maps = Informer(api, MAPS, ConfigMap, namespace=namespace, labels="double=wanted")
        self.controller = Controller("double", self.reconcile, workers=8)
        self.controller.follow(self.maps, own_key)
        self.writes = 0

    async def reconcile(self, key):
        held = self.maps.get(*key)
        if held is None or held.data["double"] == self.double(held):
            return
        self.writes += 1
        version = {"resourceVersion": held.metadata.resource_version}
        patch = {"metadata": version, "data": {"double": self.double(held)}}
        self.maps.wrote(await self.api.merge(MAPS.path(*key), patch, into=ConfigMap))

    def double(self, held):
        return str(2 * int(held.data["number"]))

    def doubles(self):
        return sorted(
            int(held.data["double"]) for held in self.maps if held.data["double"] == self.double(held)
        )


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - it is the world that is waited for
            await asyncio.sleep(0.01)


async def test_things_are_made_right_and_then_left_alone(cluster):
    async with cluster.line() as (hands, _), cluster.line() as (api, proxy):
        doubling = Doubling(api, cluster.namespace)
        running = asyncio.create_task(doubling.maps.run())
        working = asyncio.create_task(doubling.controller.run())
        for number in range(20):
            document = {
                "metadata": {"name": f"m-{number}", "labels": {"double": "wanted"}},
                "data": {"number": str(number), "double": "?"},
            }
            await hands.create(MAPS.path(cluster.namespace), document)
        await until(lambda: doubling.doubles() == list(range(0, 40, 2)))
        assert doubling.writes == 20

        proxy.cut_all()  # changes while the watch is away
        for number in range(20):
            patch = {"data": {"number": str(number + 100)}}
            await hands.merge(MAPS.path(cluster.namespace, f"m-{number}"), patch)
        await hands.delete(MAPS.path(cluster.namespace, "m-0"))
        await until(lambda: doubling.doubles() == list(range(202, 240, 2)))

        await doubling.controller.queue.idle()
        before = doubling.writes
        for number in range(20):
            doubling.controller.queue.add(Key(cluster.namespace, f"m-{number}"))
        await doubling.controller.queue.idle()
        assert doubling.writes == before
        await doubling.controller.stop()
        await working
        running.cancel()
        await asyncio.wait([running])

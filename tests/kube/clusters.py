"""Both API servers behind one face: the embedded one over HTTP, and the real one. Lines may have faults."""

from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from grove_dp.kube.access import connect
from grove_dp.testing.controlplane.api import write_kubeconfig
from grove_dp.testing.kubeapi import Server
from grove_dp.testing.kubeapi.serve import serving
from grove_dp.testing.kubeapi.serve import write_kubeconfig as write_plain
from grove_dp.testing.net import FaultProxy


class Cluster:
    """One API server, and lines to it."""

    def __init__(self, namespace, port, kubeconfig_for):
        self.namespace = namespace
        self._port = port
        self._kubeconfig_for = kubeconfig_for

    @asynccontextmanager
    async def line(self):
        """An Access of its own, and the proxy that it goes through."""
        async with FaultProxy(self._port) as proxy, await connect(self._kubeconfig_for(proxy.port)) as api:
            yield api, proxy


@asynccontextmanager
async def fake_cluster(folder):
    async with serving(Server(), folder) as served:
        yield Cluster(
            "default",
            urlsplit(served.url).port,
            lambda port: write_plain(folder / f"kubeconfig-{port}", f"http://127.0.0.1:{port}", "fake"),
        )


def real_cluster(controlplane, namespace, folder):
    def kubeconfig_for(port):
        access = msgspec.structs.replace(
            controlplane.admin, port=port, kubeconfig=folder / f"kubeconfig-{port}"
        )
        write_kubeconfig(access)
        return access.kubeconfig

    return Cluster(namespace, controlplane.admin.port, kubeconfig_for)

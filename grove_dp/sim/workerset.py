"""The demo's PodCliqueSet of workers, and the TokenAutoscaler beside it: what is asked of the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grove_dp.kube.objects import PODS
from grove_dp.scaling.kinds import AUTOSCALERS, SETS, CliqueSet
from grove_dp.sim.manifests import NAME, NAMESPACE, autoscaler, clique_set

if TYPE_CHECKING:
    from grove_dp.kube.access import Access

__all__ = ["WorkerSet"]


class WorkerSet:
    """Each call returns when it is written; what comes of it is the operator's and takes its time."""

    def __init__(self, api: Access, port: int, flags: str) -> None:
        self._api = api
        self._port = port  # of all workers: each has an address of its own
        self._flags = flags

    async def create(self, replicas: int) -> None:
        """The set, with so many workers."""
        await self._api.create(SETS.path(NAMESPACE), clique_set(replicas, self._port, self._flags))

    async def delete(self) -> None:
        """The set, and with it everything of it."""
        await self._api.delete(SETS.path(NAMESPACE, NAME))

    async def autoscale(self, most: int) -> None:
        """Have the set scaled, to at most so many."""
        await self._api.create(AUTOSCALERS.path(NAMESPACE), autoscaler(most))

    async def leave(self) -> None:
        """Have it scaled no more."""
        await self._api.delete(AUTOSCALERS.path(NAMESPACE, NAME))

    async def change(self, version: int) -> None:
        """Another template: every pod is replaced, one after the other."""
        made = clique_set(1, self._port, self._flags, version)
        patch = {"spec": {"template": {"cliques": made["spec"]["template"]["cliques"]}}}
        await self._api.merge(SETS.path(NAMESPACE, NAME), patch)

    async def is_updated(self) -> bool:
        """Whether the operator has seen the last change and is done with it."""
        found = await self._api.get(SETS.path(NAMESPACE, NAME), into=CliqueSet)
        progress, seen = found.status.update_progress, found.status.observed_generation or 0
        return seen >= found.metadata.generation and progress is not None and not progress.going_on

    async def images(self) -> set[str]:
        """Of all pods: what was deployed, or updated to."""
        pods = (await self._api.get(PODS.path(NAMESPACE)))["items"]
        return {pod["spec"]["containers"][0]["image"] for pod in pods}

"""What kube-scheduler does for a pod of higher priority, for the scheduler of the API server in this process.

A pod that is pinned to a node, and refused, takes the room of the lowest priorities there, of as few pods as
will do. They are deleted with their grace, the pod is nominated, and waits for it.
"""

import asyncio
from contextlib import asynccontextmanager, suppress

from grove_operator.api import NODES, PODS

from grove_dp.kube.errors import NotFound
from grove_dp.testing.kubeapi.scheduler import quantity
from tests.operator.scenarios.world import going, name


def priority(value, policy=None):
    """A change: the priority of all pods of a set, as the API server reads it of their class."""

    def changed(document):
        for clique in document["spec"]["template"]["cliques"]:
            clique["spec"]["podSpec"]["priority"] = value
            if policy:
                clique["spec"]["podSpec"]["preemptionPolicy"] = policy

    return changed


@asynccontextmanager
async def preempting(scene):
    """As long as this is entered, pods are ended for the sake of higher ones."""
    task = asyncio.create_task(_preempt(scene))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _preempt(scene):
    while True:
        await scene.clock.sleep(0.05)
        world = await scene.world()
        for pod in sorted(world.of(PODS), key=lambda pod: -_priority(pod)):
            node = _pinned(pod)
            refused = any(
                one.get("reason") == "Unschedulable" for one in pod["status"].get("conditions") or ()
            )
            if not (node and refused) or going(pod) or pod["status"].get("nominatedNodeName"):
                continue
            victims = _victims(await scene.world(), pod, node)
            if victims is not None:
                status = {"status": {"nominatedNodeName": node}}
                with suppress(NotFound):
                    await scene.api.merge(PODS.path(scene.namespace, name(pod), "status"), status)
                    for victim in victims:
                        await scene.api.delete(PODS.path(scene.namespace, victim))


def _victims(world, pod, node):
    """The fewest, lowest first; None where even all of them are too few."""
    total = quantity(world.named(NODES, node)["status"]["allocatable"]["memory"])
    there = [one for one in world.of(PODS) if _takes(one, node) and name(one) != name(pod)]
    lower = sorted((one for one in there if _priority(one) < _priority(pod)), key=_priority)
    left = total - _memory(pod) - sum(_memory(one) for one in there if one not in lower)
    stay = []
    for one in sorted(lower, key=_priority, reverse=True):
        if left - _memory(one) >= 0:
            left -= _memory(one)
            stay.append(one)
    return None if left < 0 else [name(one) for one in lower if one not in stay and not going(one)]


def _takes(pod, node):
    over = pod["status"].get("phase") in ("Failed", "Succeeded")
    return not over and node in (pod["spec"].get("nodeName"), pod["status"].get("nominatedNodeName"))


def _priority(pod):
    return pod["spec"].get("priority") or 0


def _memory(pod):
    return sum(quantity(one["resources"]["requests"]["memory"]) for one in pod["spec"]["containers"])


def _pinned(pod):
    """The node that it insists on, while it has none."""
    if pod["spec"].get("nodeName") or pod["spec"].get("schedulingGates"):
        return None
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms") or [
        {}
    ]
    return next((one["values"][0] for one in terms[0].get("matchFields") or ()), None)

"""What the init container does: wait until every parent clique has its minimum Ready, then end.

Only pods of our own gang are watched, and a pod counts for the clique that its label names: names do not
tell, for `x-worker-b-…` begins with `x-worker` (Grove's init container counts it for both).

No time limit: whoever waits holds no more than its node's place. A parent that fails after we ended changes
nothing. The API server may come and go meanwhile.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from grove_dp.clock import Clock
from grove_dp.errors import ConfigurationError
from grove_dp.kube.access import Access
from grove_dp.kube.informer import Change, Informer
from grove_dp.kube.objects import PODS
from grove_operator.naming import L
from grove_operator.plan.order import Parent
from grove_operator.pods import Pod

__all__ = ["read_parents", "wait_for"]

_log = logging.getLogger(__name__)


def read_parents(words: Sequence[str]) -> tuple[Parent, ...]:
    """Parents as the pod's arguments name them: `CLIQUE:MINIMUM`, several by commas. ConfigurationError."""
    found: dict[str, int] = {}
    wrong = []
    for word in (part for each in words for part in each.split(",") if part.strip()):
        name, _, minimum = word.strip().rpartition(":")
        if not name or not minimum.isascii() or not minimum.isdigit():
            wrong.append(f"--podcliques: must be CLIQUE:MINIMUM, got {word!r}")
        else:
            found[name] = max(found.get(name, 0), int(minimum))
    if wrong:
        raise ConfigurationError(wrong)
    return tuple(Parent(name, minimum) for name, minimum in found.items())


async def wait_for(
    api: Access,
    namespace: str,
    gang: str,
    parents: Sequence[Parent],
    clock: Clock,
    *,
    rng: Random | None = None,
) -> None:
    """Return once each of *parents* has its minimum of Ready pods in *gang*."""
    if all(parent.minimum <= 0 for parent in parents):
        return
    informer = Informer(
        api,
        PODS,
        Pod,
        namespace=namespace,
        labels=f"{L.GANG}={gang}",
        clock=clock,
        rng=rng,
    )
    progress = _Progress(informer, parents)
    informer.listen(progress.changed)
    watching = asyncio.create_task(informer.run())
    started = asyncio.create_task(progress.started.wait())
    try:
        await informer.synced()
        progress.look()
        await asyncio.wait({watching, started}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        started.cancel()
        await asyncio.gather(watching, started, return_exceptions=True)


class _Progress:
    """How far each parent has come."""

    def __init__(self, pods: Informer[Pod], parents: Sequence[Parent]) -> None:
        self._pods = pods
        self._parents = parents
        self._told: dict[str, int] = {}
        self.started = asyncio.Event()

    def changed(self, change: Change[Any]) -> None:
        """A pod came, changed or went."""
        if self._pods.is_synced:
            self.look()

    def look(self) -> None:
        """Count; tell what is new."""
        ready = Counter(pod.clique for pod in self._pods if pod.ready)
        for parent in self._parents:
            count = ready[parent.name]
            if self._told.get(parent.name) != count:
                facts = {"clique": parent.name, "ready": count, "needed": parent.minimum}
                _log.info("started" if count >= parent.minimum else "waiting", extra=facts)
            self._told[parent.name] = count
        if all(ready[parent.name] >= parent.minimum for parent in self._parents):
            self.started.set()

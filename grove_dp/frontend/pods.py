"""Workers that are pods: a watch of the cluster, made into registrations.

    watch (running pods that the selector chooses) ──► pod ──► one worker, or one for each data-parallel rank

    Ready                        registered and probed at once; serves after its first answer
    not Ready                    held: nothing new, what is in flight ends          reason PodNotReady
    grove-dp.io/drain-until      held, as long as the annotation stands             reason PodDrained
    deletionTimestamp            held                                               reason PodTerminating
    gone, failed, finished       leaves the registry when nothing is in flight there
    the same name, another uid   another worker: nothing that was learnt of the first holds for it

A pod is registered when it is Ready for the first time: before that there is nothing to ask. A worker's id is
its pod's name, with ~RANK for ranks above 0, and with the namespace where pods of all namespaces are watched.

    annotation grove-dp.io/port          its port; else the container port named http, else 8000
    annotation grove-dp.io/ranks         data-parallel ranks that it chooses by X-data-parallel-rank
    annotation grove-dp.io/max-inflight  as workers.max_inflight
    label grove-dp.io/role               aggregated (default), prefill, decode
    labels of Grove                      its set, scaling group, clique and component, for metrics and scaling

An API server that cannot be reached takes no worker away: what was seen last holds.
"""

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, cast, get_args

from grove_dp.clock import Clock
from grove_dp.errors import ConfigurationError
from grove_dp.frontend.discovery import with_default_model
from grove_dp.kube.access import Access, connect
from grove_dp.kube.errors import ApiError, ApiUnreachable
from grove_dp.kube.informer import Change, Informer
from grove_dp.kube.objects import PODS, Meta, Pod
from grove_dp.routing.specs import InvalidWorker, Place, Role, WorkerSpec, worker_spec
from grove_dp.routing.workers import Registry
from grove_dp.settings import Settings

__all__ = ["DRAIN", "PodWorkers", "place_of", "workers_of"]

PORT: Final = "grove-dp.io/port"
RANKS: Final = "grove-dp.io/ranks"
MAX_INFLIGHT: Final = "grove-dp.io/max-inflight"
ROLE: Final = "grove-dp.io/role"
DRAIN: Final = "grove-dp.io/drain-until"

SET: Final = "app.kubernetes.io/part-of"
SET_REPLICA: Final = "grove.io/podcliqueset-replica-index"
GROUP: Final = "grove.io/podcliquescalinggroup"
GROUP_REPLICA: Final = "grove.io/podcliquescalinggroup-replica-index"
CLIQUE: Final = "grove.io/podclique"

ALL: Final = "*"
RANKS_MAX: Final = 1_024
DEFAULT_PORT: Final = 8_000
CHECK_S: Final = 3.0  # a start does not wait longer for an API server
_ROLES: Final[tuple[str, ...]] = get_args(Role)

_log = logging.getLogger(__name__)


# ---------------------------------------------------------------- a pod as workers


def workers_of(pod: Pod, *, qualified: bool = False) -> list[WorkerSpec]:
    """The workers that a pod with an address is; InvalidWorker names what it says wrongly of itself.

    *qualified*: ids carry the namespace.
    """
    meta = pod.metadata
    ranks = _number(meta, RANKS, 1, RANKS_MAX) or 1
    address = pod.status.pod_ip
    host = f"[{address}]" if ":" in address else address
    return [
        worker_spec(
            f"http://{host}:{_port(pod)}",
            "kubernetes",
            id=f"{meta.name}.{meta.namespace}" if qualified else meta.name,
            max_inflight=_number(meta, MAX_INFLIGHT, 0, 1_000_000),
            held=_held(pod),
            rank=rank if ranks > 1 else -1,
            place=place_of(meta),
        )
        for rank in range(ranks)
    ]


def place_of(meta: Meta) -> Place:
    """What of the cluster the pod is; its component's name is the long one without the set's replica."""
    replica = f"{meta.label(SET) or ''}-{meta.label(SET_REPLICA) or ''}-"
    clique, group = meta.label(CLIQUE) or "", meta.label(GROUP) or ""
    role = meta.label(ROLE) or "aggregated"
    if role not in _ROLES:
        raise InvalidWorker(f"label {ROLE}: {role!r} is none of {', '.join(_ROLES)}")
    return Place(
        namespace=meta.namespace,
        pod=meta.name,
        pod_uid=meta.uid,
        pcs=(meta.label(SET) or "") if clique else "",
        pcsg=group,
        pclq=clique,
        component=(group or clique).removeprefix(replica),
        role=cast(Role, role),
    )


def _held(pod: Pod) -> str:
    if pod.metadata.deletion_timestamp:
        return "PodTerminating"
    if pod.metadata.annotation(DRAIN) is not None:
        return "PodDrained"
    return "" if pod.ready else "PodNotReady"


def _port(pod: Pod) -> int:
    said = _number(pod.metadata, PORT, 1, 65_535)
    if said is not None:
        return said
    for container in pod.spec.containers:
        for port in container.ports or ():
            if port.name == "http":
                return port.container_port
    return DEFAULT_PORT


def _number(meta: Meta, annotation: str, least: int, most: int) -> int | None:
    text = meta.annotation(annotation)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise InvalidWorker(f"annotation {annotation}: {text!r} is no number from {least} to {most}")
    return int(text)


# ---------------------------------------------------------------- the watch


class PodWorkers:
    """Keeps the registry's pods what the cluster's are."""

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], Settings],
        changed: Callable[[], None],
        clock: Clock,
        rng: Random,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._changed = changed
        self._clock = clock
        self._rng = rng
        self._ids: dict[str, list[str]] = {}  # uid of a pod -> ids of the workers that it is
        self._qualified = False
        self._told: dict[str, str] = {}  # uid -> what was last said to be wrong with it

    async def open(self) -> None:
        """Find the cluster; ConfigurationError when there is none to be found, or the selector is none."""
        asked, selector = self._settings().kubernetes, self._settings().workers.kubernetes or ""
        api = await connect(_path(asked.kubeconfig), asked.context)
        named = asked.namespace or api.namespace
        self._qualified = named == ALL
        namespace = None if self._qualified else named
        try:
            await _check(api, namespace, selector)
        except ConfigurationError:
            await api.close()
            raise
        facts = {"api": api.host, "namespace": named, "selector": selector}
        _log.info("workers are the cluster's pods", extra=facts)
        gc.freeze()  # PERF: each collection would go through the kubernetes package: 0.2 s and more at a time
        self._api = api
        self._pods = Informer(
            api,
            PODS,
            Pod,
            namespace=namespace,
            labels=selector,
            fields="status.phase=Running",
            clock=self._clock,
            rng=self._rng,
        )

    async def run(self) -> None:
        """Follow the cluster until cancelled; after `open`."""
        async with self._api:
            self._pods.listen(self.take)
            await self._pods.run()

    def take(self, change: Change[Pod]) -> None:
        """Make the registry's workers what this pod now is."""
        pod = change.last
        gone = change.new is None
        if change.old is not None and change.old.metadata.uid != pod.metadata.uid:
            self._leave(change.old.metadata.uid, [])  # its successor has its name already
        known = self._ids.get(pod.metadata.uid)
        if gone or not pod.status.pod_ip:
            self._leave(pod.metadata.uid, [])
            self._told.pop(pod.metadata.uid, None)
        elif known is not None or _held(pod) in ("", "PodDrained"):
            self._register(pod)

    def _register(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        try:
            specs = workers_of(pod, qualified=self._qualified)
        except InvalidWorker as error:
            self._complain(pod, str(error))
            specs = []
        self._leave(uid, [spec.id for spec in specs])
        for spec in specs:
            if refused := self._registry.put(with_default_model(spec, self._settings())):
                self._complain(pod, refused)
            else:
                self._ids.setdefault(uid, []).append(spec.id)
        self._changed()

    def _leave(self, uid: str, staying: list[str]) -> None:
        """The workers that pod *uid* was leave, but for those of *staying*."""
        for worker_id in self._ids.pop(uid, []):
            if worker_id not in staying:
                self._registry.leave(worker_id, "kubernetes", uid)
                self._changed()

    def _complain(self, pod: Pod, why: str) -> None:
        """Once for each fault, not for each event of the pod."""
        meta = pod.metadata
        if self._told.get(meta.uid) != why:
            self._told[meta.uid] = why
            _log.error("pod %s/%s is no worker: %s", meta.namespace, meta.name, why)


async def _check(api: Access, namespace: str | None, selector: str) -> None:
    """Say now what no retry would mend, and what a retry may."""
    try:
        query = {"labelSelector": selector, "limit": "1"}
        await api.get(PODS.path(namespace), query=query, timeout_s=CHECK_S)
    except ApiError as error:
        if error.code == 400:
            raise ConfigurationError(
                f"workers.kubernetes: {selector!r} is no label selector: {error}"
            ) from None
        _log.error("pods cannot be listed; give our account get, list and watch of pods: %s", error)
    except ApiUnreachable as error:
        _log.warning("the API server does not answer yet: %s", error)


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None

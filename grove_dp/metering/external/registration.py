"""The one APIService of a cluster: whether it is ours, free, or somebody else's.

`v1beta1.external.metrics.k8s.io` exists once. KEDA, prometheus-adapter, Datadog and we all want it, and who
applies last silently takes every external metric of the cluster away from the others. So we look first, and
never write to one whose service is not ours.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from grove_dp.clock import Clock
from grove_dp.kube.certificates import widened
from grove_dp.kube.errors import ApiError
from grove_dp.kube.own_certificate import Place
from grove_dp.metering.external.documents import GROUP, VERSION, Conflict

__all__ = [
    "APISERVICE",
    "APISERVICE_PATH",
    "ForeignApiService",
    "RegisteredTrust",
    "check_free",
    "check_owner",
]

_log = logging.getLogger(__name__)

TRIES: Final = 10  # each replica writes there, and the API server its status
PAUSE_S: Final = 0.02
APISERVICE: Final = f"{VERSION}.{GROUP}"
APISERVICE_PATH: Final = f"/apis/apiregistration.k8s.io/v1/apiservices/{APISERVICE}"


class ForeignApiService(Conflict):
    """Another adapter serves the cluster's external metrics."""

    reason = "ForeignApiService"


class Reader(Protocol):
    """What is needed of `grove_dp.kube.access.Access` to look."""

    async def get(self, path: str) -> dict[str, Any]: ...


class Api(Reader, Protocol):
    """And to write."""

    async def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]: ...


def check_owner(found: Mapping[str, Any], namespace: str, service: str) -> None:
    """ForeignApiService unless *found* leads to our service."""
    told = (found.get("spec") or {}).get("service") or {}
    owner = (told.get("namespace", ""), told.get("name", ""))
    if owner == (namespace, service):
        return
    labels = (found.get("metadata") or {}).get("labels") or {}
    by = labels.get("app.kubernetes.io/part-of") or labels.get("app.kubernetes.io/name") or "somebody else"
    raise ForeignApiService(
        f"APIService {APISERVICE} leads to {'/'.join(owner)} (of {by}), not to {namespace}/{service};"
        " a cluster has only one. Remove that adapter, or leave it and read our values by KEDA's metrics-api"
        f" trigger: https://{service}.{namespace}.svc/keda/v1/NAMESPACE/TARGET"
    )


async def check_free(api: Reader, namespace: str, service: str) -> None:
    """ForeignApiService if the cluster's external metrics are served by another adapter."""
    try:
        found = await api.get(APISERVICE_PATH)
    except ApiError as error:
        if error.code == 404:
            return
        raise
    check_owner(found, namespace, service)


class RegisteredTrust:
    """The APIService's caBundle, as where the API servers are told whom to trust."""

    def __init__(self, api: Api, place: Place, clock: Clock) -> None:
        self._api = api
        self._place = place
        self._clock = clock
        self._told_foreign = False

    async def trust(self, bundle: str) -> bool:
        """See that they know *bundle*; whether that was new to them. A foreign one is left alone."""
        for turn in range(TRIES):
            try:
                return await self._widen(bundle)
            except ForeignApiService as error:
                if not self._told_foreign:
                    _log.error("only KEDA can read us: %s [%s]", error, error.reason)
                self._told_foreign = True
                return False
            except ApiError as error:
                if error.code == 404:
                    return False  # not registered yet; for KEDA alone that is enough
                if error.code != 409:
                    raise
            await self._clock.sleep(PAUSE_S * turn)
        raise Conflict(f"APIService {APISERVICE}: others keep writing it; who else does?")

    async def _widen(self, bundle: str) -> bool:
        found = await self._api.get(APISERVICE_PATH)
        check_owner(found, self._place.namespace, self._place.service)
        self._told_foreign = False
        wider = widened(found["spec"].get("caBundle"), bundle, self._clock.wall())
        if wider is None:
            return False
        spec = {"caBundle": wider, "insecureSkipTLSVerify": None}
        patch = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": spec}
        await self._api.merge(APISERVICE_PATH, patch)
        return True

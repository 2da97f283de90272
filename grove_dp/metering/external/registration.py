"""The one APIService of a cluster: whether it is ours, free, or somebody else's.

`v1beta1.external.metrics.k8s.io` exists once. KEDA, prometheus-adapter, Datadog and we all want it, and who
applies last silently takes every external metric of the cluster away from the others. So we look first, and
never write to one whose service is not ours.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from grove_dp.kube.errors import ApiError
from grove_dp.metering.external.documents import GROUP, VERSION, Conflict

__all__ = ["APISERVICE", "APISERVICE_PATH", "ForeignApiService", "check_free", "check_owner"]

APISERVICE: Final = f"{VERSION}.{GROUP}"
APISERVICE_PATH: Final = f"/apis/apiregistration.k8s.io/v1/apiservices/{APISERVICE}"


class ForeignApiService(Conflict):
    """Another adapter serves the cluster's external metrics."""

    reason = "ForeignApiService"


class Api(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def get(self, path: str) -> dict[str, Any]: ...


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


async def check_free(api: Api, namespace: str, service: str) -> None:
    """ForeignApiService if the cluster's external metrics are served by another adapter."""
    try:
        found = await api.get(APISERVICE_PATH)
    except ApiError as error:
        if error.code == 404:
            return
        raise
    check_owner(found, namespace, service)

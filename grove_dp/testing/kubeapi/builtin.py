"""The kinds that every API server has, as far as they are served here."""

from __future__ import annotations

from typing import Final

from grove_dp.testing.kubeapi.answers import Document
from grove_dp.testing.kubeapi.kinds import Kind, Scale
from grove_dp.testing.kubeapi.metadata import is_label, is_service, path_segment
from grove_dp.testing.kubeapi.pods import POD_SPEC, PodRules
from grove_dp.testing.kubeapi.rules import (
    CrdRules,
    DataRules,
    Filled,
    NamespaceRules,
    NodeRules,
    SelectorRules,
    ServiceRules,
)

__all__ = ["CRDS", "NAMESPACES", "PODS", "builtin"]

_TEMPLATE = {"spec": {"replicas": 1, "template": {"metadata": {}, "spec": POD_SPEC}}}
_DEPLOYMENT = {
    "spec": {
        **_TEMPLATE["spec"],
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 10,
        "strategy": lambda _: {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
        },
    }
}
_HPA = {
    "spec": {
        "minReplicas": 1,
        "metrics": lambda _: [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ],
    }
}
_EVENT_RENAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_EVENT_TEMPLATE: Document = {
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
}
_EVENT_FIELDS = (
    "reason type involvedObject.kind involvedObject.name involvedObject.namespace involvedObject.uid "
    "involvedObject.apiVersion reportingComponent"
).split()
_POD_FIELDS = (
    "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName status.phase status.podIP "
    "status.nominatedNodeName"
).split()
_EVENT: Final = ("", "events")

PODS: Final = Kind(
    "", "v1", "pods", "Pod", status=True, rules=PodRules(), short=("po",), fields=tuple(_POD_FIELDS)
)
NAMESPACES: Final = Kind(
    "",
    "v1",
    "namespaces",
    "Namespace",
    namespaced=False,
    status=True,
    names=is_label,
    short=("ns",),
    rules=NamespaceRules(returned=True),
    fields=("status.phase",),
)
CRDS: Final = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
    status=True,
    short=("crd", "crds"),
    rules=CrdRules(counted=True, unconditional=False),
)


def builtin() -> list[Kind]:
    """Fresh ones for a server of its own: Services remember the addresses they gave."""
    return [
        PODS,
        NAMESPACES,
        CRDS,
        Kind(
            "",
            "v1",
            "nodes",
            "Node",
            namespaced=False,
            status=True,
            short=("no",),
            rules=NodeRules(),
            fields=("spec.unschedulable",),
        ),
        Kind(
            "",
            "v1",
            "services",
            "Service",
            status=True,
            names=is_service,
            short=("svc",),
            rules=ServiceRules(),
            fields=("spec.clusterIP", "spec.type"),
        ),
        Kind("", "v1", "configmaps", "ConfigMap", short=("cm",), rules=DataRules()),
        Kind("", "v1", "secrets", "Secret", rules=DataRules({"type": "Opaque"}), fields=("type",)),
        Kind("", "v1", "serviceaccounts", "ServiceAccount", short=("sa",), rules=Filled(returned=True)),
        Kind(
            "",
            "v1",
            "events",
            "Event",
            short=("ev",),
            rules=Filled(_EVENT_TEMPLATE),
            fields=tuple(_EVENT_FIELDS),
        ),
        Kind(
            "events.k8s.io",
            "v1",
            "events",
            "Event",
            short=("ev",),
            rules=Filled(_EVENT_TEMPLATE),
            fields=tuple(_EVENT_FIELDS),
            resource=_EVENT,
            renames=_EVENT_RENAMES,
        ),
        Kind(
            "apps",
            "v1",
            "deployments",
            "Deployment",
            status=True,
            short=("deploy",),
            scale=Scale(selector=".spec.selector", of_labels=True),
            rules=SelectorRules(_DEPLOYMENT, {}, counted=True),
        ),
        Kind(
            "apps",
            "v1",
            "replicasets",
            "ReplicaSet",
            status=True,
            short=("rs",),
            fields=("status.replicas",),
            scale=Scale(selector=".spec.selector", of_labels=True),
            rules=SelectorRules(_TEMPLATE, {"replicas": 0}, counted=True),
        ),
        Kind("coordination.k8s.io", "v1", "leases", "Lease", rules=Filled(unconditional=False)),
        Kind("rbac.authorization.k8s.io", "v1", "roles", "Role", names=path_segment, rules=Filled()),
        Kind(
            "rbac.authorization.k8s.io",
            "v1",
            "rolebindings",
            "RoleBinding",
            names=path_segment,
            rules=Filled(),
        ),
        Kind(
            "autoscaling",
            "v2",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            status=True,
            short=("hpa",),
            rules=Filled(_HPA, {"currentMetrics": None, "desiredReplicas": 0}),
        ),
    ]

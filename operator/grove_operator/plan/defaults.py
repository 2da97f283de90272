"""The canonical form of pod specs: without what the API server would fill in anyway.

    pod_spec_form({"restartPolicy": "Always", "containers": [{"name": "a", "image": "a:1"}]})
    == {"containers": [{"name": "a", "image": "a:1"}]}

The tables hold the defaults of core/v1 that do not depend on the cluster, as Kubernetes 1.36 sets them. A
default that a later version brings is not added here: it would change hashes that are in use.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from grove_operator.plan.quantities import quantity

__all__ = ["metrics_form", "pod_spec_form"]

Document = Mapping[str, Any]
Form = Callable[[Any], Any]

POD: Final[Document] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "hostUsers": True,
    "hostNetwork": False,
    "hostPID": False,
    "hostIPC": False,
    "shareProcessNamespace": False,
    "setHostnameAsFQDN": False,
}
CONTAINER: Final[Document] = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "stdin": False,
    "stdinOnce": False,
    "tty": False,
    "workingDir": "",
}
PORT: Final[Document] = {"protocol": "TCP", "hostPort": 0, "hostIP": "", "name": ""}
PROBE: Final[Document] = {
    "initialDelaySeconds": 0,
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
HTTP: Final[Document] = {"path": "/", "scheme": "HTTP", "host": ""}
MOUNT: Final[Document] = {"readOnly": False, "subPath": "", "subPathExpr": "", "mountPropagation": "None"}
FILE_MODE: Final = 0o644
TOKEN_S: Final = 3600


# ------------------------------------------------------------ the form


def pod_spec_form(spec: Document) -> Document:
    """*spec* without what makes no difference; the argument stays as it is."""
    form = _form(spec, POD, POD_PARTS)
    if form.get("serviceAccount") in (None, form.get("serviceAccountName", "default")):
        form.pop("serviceAccount", None)  # the old name of the same thing
    for name in ("containers", "initContainers", "ephemeralContainers"):
        if name in form:
            form[name] = [container_form(one) for one in spec[name]]
    return form


def container_form(container: Document) -> Document:
    """Of one container."""
    form = _form(container, CONTAINER, CONTAINER_PARTS)
    if form.get("imagePullPolicy") == _pull_policy(str(container.get("image", ""))):
        del form["imagePullPolicy"]
    return form


def metrics_form(metrics: Any) -> Any:
    """Of the metrics of an autoscaler, whose quantities the API server rewrites."""
    if isinstance(metrics, Mapping):
        kept = {key: metrics_form(value) for key, value in metrics.items() if _means(value)}
        return kept | {key: quantity(kept[key]) for key in ("value", "averageValue") if key in kept}
    if isinstance(metrics, (list, tuple)):
        return [metrics_form(one) for one in metrics]
    return metrics


def _form(document: Document, defaults: Document, parts: Mapping[str, Form]) -> dict[str, Any]:
    """*document* without defaults and empty fields, its parts formed in turn."""
    kept = {}
    for key, value in document.items():
        if not _means(value) or (key in defaults and _equal(defaults[key], value)):
            continue
        formed = parts[key](value) if key in parts else _pruned(value)
        if _means(formed):
            kept[key] = formed
    return kept


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)  # 0 is not False


def _means(value: Any) -> bool:
    return value is not None and value != {} and value != [] and value != ()


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        pruned = {key: _pruned(held) for key, held in value.items() if _means(held)}
        return {key: held for key, held in pruned.items() if _means(held)}
    return [_pruned(one) for one in value] if isinstance(value, (list, tuple)) else value


# ------------------------------------------------------------ parts


def _of(defaults: Document, parts: Mapping[str, Form] | None = None) -> Form:
    return lambda document: _form(document, defaults, parts or {})


def _each(form: Form) -> Form:
    return lambda items: [form(one) for one in items]


def _sorted(form: Form) -> Form:
    """Of a list whose order means nothing."""
    return lambda items: sorted((form(one) for one in items), key=_text)


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _amounts(amounts: Document) -> Document:
    return {name: quantity(amount) for name, amount in amounts.items()}


def _resources(resources: Document) -> Document:
    """A request that equals its limit is what the limit alone asks for."""
    form = _form(resources, {}, {"limits": _amounts, "requests": _amounts})
    limits = form.get("limits", {})
    requests = {name: held for name, held in form.pop("requests", {}).items() if limits.get(name) != held}
    return form | ({"requests": requests} if requests else {})


def _pull_policy(image: str) -> str:
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _volume(volume: Document) -> Document:
    """Of a volume: which source it has counts, even when that is empty; without any it is `emptyDir`."""
    sources = [key for key in volume if key != "name" and volume[key] is not None] or ["emptyDir"]
    held = {key: VOLUMES.get(key, _pruned)(volume.get(key) or {}) for key in sources}
    return {"name": volume.get("name", "")} | held


def _divided(reference: Document) -> Document:
    """Of a resourceFieldRef; a divisor of 0 or 1 is none."""
    form = {key: quantity(value) if key == "divisor" else value for key, value in reference.items()}
    return {key: value for key, value in form.items() if key != "divisor" or value not in ("0", "1")}


def _projected(sources: Any) -> Any:
    return [{key: PROJECTED.get(key, _pruned)(value) for key, value in source.items()} for source in sources]


REFERENCES: Final[Mapping[str, Form]] = {"fieldRef": _of({"apiVersion": "v1"}), "resourceFieldRef": _divided}
ACTION: Final = _of({}, {"httpGet": _of(HTTP), "grpc": _of({"service": ""})})
CHECK: Final = _of(PROBE, {"httpGet": _of(HTTP), "grpc": _of({"service": ""})})
FILES: Final = _each(_of({}, REFERENCES))
MODE: Final = {"defaultMode": FILE_MODE, "optional": False}
PROJECTED: Final[Mapping[str, Form]] = {
    "downwardAPI": _of({}, {"items": FILES}),
    "serviceAccountToken": _of({"expirationSeconds": TOKEN_S, "audience": ""}),
    "configMap": _of({"optional": False}),
    "secret": _of({"optional": False}),
}
VOLUMES: Final[Mapping[str, Form]] = {
    "emptyDir": _of({"medium": ""}, {"sizeLimit": quantity}),
    "hostPath": _of({"type": ""}),
    "configMap": _of(MODE),
    "secret": _of(MODE),
    "downwardAPI": _of(MODE, {"items": FILES}),
    "projected": _of(MODE, {"sources": _projected}),
    "persistentVolumeClaim": _of({"readOnly": False}),
}
CONTAINER_PARTS: Final[Mapping[str, Form]] = {
    "env": _each(_of({"value": ""}, {"valueFrom": _of({}, REFERENCES)})),
    "ports": _sorted(_of(PORT)),
    "resources": _resources,
    "volumeMounts": _sorted(_of(MOUNT)),
    "volumeDevices": _sorted(_pruned),
    "livenessProbe": CHECK,
    "readinessProbe": CHECK,
    "startupProbe": CHECK,
    "lifecycle": _of({}, {"preStop": ACTION, "postStart": ACTION}),
}
POD_PARTS: Final[Mapping[str, Form]] = {
    "volumes": _sorted(_volume),
    "tolerations": _sorted(_of({"operator": "Equal", "value": "", "effect": "", "key": ""})),
    "imagePullSecrets": _sorted(_pruned),
    "readinessGates": _sorted(_pruned),
    "schedulingGates": _sorted(_pruned),
    "resourceClaims": _sorted(_pruned),
    "overhead": _amounts,
    "resources": _resources,
}

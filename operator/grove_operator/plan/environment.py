"""Variables that every container finds: who it is, and where the others are.

They stand before the user's, so that those can refer to them (`$(GROVE_PCSG_NAME)-$(GROVE_PCSG_INDEX)-…`); a
user's variable of the same name is dropped.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from grove_operator import naming
from grove_operator.naming import L

__all__ = ["group_environment", "pod_environment", "with_environment"]

Document = Mapping[str, Any]


def pod_environment(set_name: str, replica: int, clique: str, namespace: str) -> list[Document]:
    """Of every pod."""
    return [
        _value("GROVE_PCS_NAME", set_name),
        _value("GROVE_PCS_INDEX", str(replica)),
        _value("GROVE_PCLQ_NAME", clique),
        _value("GROVE_HEADLESS_SERVICE", naming.service_domain(set_name, replica, namespace)),
        _label("GROVE_PCLQ_POD_INDEX", L.POD_INDEX),
    ]


def group_environment(pods: int) -> list[Document]:
    """Of pods of a scaling group whose template makes *pods* of them."""
    return [
        _label("GROVE_PCSG_NAME", L.GROUP),
        _value("GROVE_PCSG_TEMPLATE_NUM_PODS", str(pods)),
        _label("GROVE_PCSG_INDEX", L.GROUP_REPLICA),
        _label("GROVE_PCSG_POD_INDEX", L.GROUP_POD_INDEX),
    ]


def with_environment(spec: Document, variables: Iterable[Document]) -> dict[str, Any]:
    """A pod spec whose containers, those of the init kind too, begin with *variables*."""
    ours = list(variables)
    return dict(spec) | {
        key: [_container(one, ours) for one in spec[key]]
        for key in ("containers", "initContainers")
        if spec.get(key)
    }


def _container(container: Document, ours: list[Document]) -> dict[str, Any]:
    names = {variable["name"] for variable in ours}
    users = [variable for variable in container.get("env") or () if variable.get("name") not in names]
    return dict(container) | {"env": [dict(variable) for variable in ours] + users}


def _value(name: str, value: str) -> Document:
    return {"name": name, "value": value}


def _label(name: str, label: str) -> Document:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{label}']"}}}

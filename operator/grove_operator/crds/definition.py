"""A kind of ours, and the CustomResourceDefinition that makes an API server serve it."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from grove_operator.crds.schema import Rule, Schema, described, record, ruled, text

__all__ = ["AGE", "Column", "Kind", "definition"]

VERSION: Final = "v1alpha1"
_METADATA: Final[Schema] = {"type": "object"}


class Column(msgspec.Struct, frozen=True):
    """What `kubectl get` shows; of priority 1 only with `-o wide`."""

    name: str
    path: str
    type: str = "integer"
    priority: int = 0

    def document(self) -> Schema:
        """As it stands in a definition."""
        shown: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return shown | ({"priority": self.priority} if self.priority else {})


AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind, as the table of its module describes it."""

    group: str
    kind: str
    plural: str
    short: str
    about: str
    columns: Sequence[Column]
    spec: Schema
    status: Schema
    scope: str = "Namespaced"
    selector: str = ""  # of its pods, where it can be scaled
    rules: Sequence[Rule] = ()

    @property
    def file(self) -> str:
        """Where its definition is written."""
        return f"{self.group}_{self.plural}.yaml"


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
            },
            "scope": kind.scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [column.document() for column in kind.columns],
                    "schema": {"openAPIV3Schema": _schema(kind)},
                    "subresources": _subresources(kind),
                }
            ],
        },
    }


def _schema(kind: Kind) -> Schema:
    whole = record(
        kind.about,
        ["spec"],
        apiVersion=text(f"{kind.group}/{VERSION}."),
        kind=text(f"{kind.kind}."),
        metadata=_METADATA,
        spec=described(kind.spec, "What is wanted."),
        status=described(kind.status, "What is; the operator writes it."),
    )
    return ruled(whole, *kind.rules) if kind.rules else whole


def _subresources(kind: Kind) -> Schema:
    if not kind.selector:
        return {"status": {}}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": kind.selector,
    }
    return {"status": {}, "scale": scale}

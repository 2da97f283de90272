"""Documents of what is installed into a cluster: as YAML for kubectl, or applied at once."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

__all__ = ["Applier", "Document", "apply_all", "to_yaml"]

Document = dict[str, Any]


class Applier(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def apply(
        self, path: str, document: Mapping[str, Any], manager: str, *, force: bool = False
    ) -> dict[str, Any]: ...


def to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """For `kubectl apply --server-side -f -`; what is in several places is written out in each."""
    import yaml  # 15 ms that a process which serves need not spend

    class Plain(yaml.CSafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return str(yaml.dump_all(map(dict, documents), Dumper=Plain, sort_keys=False, width=110))


async def apply_all(api: Applier, documents: Iterable[Document], manager: str) -> list[str]:
    """Make it so, one after the other, as owner *manager*; tells what was applied."""
    applied = []
    for document in documents:
        await api.apply(_path(document), document, manager)
        applied.append(f"{document['kind']} {document['metadata']['name']}")
    return applied


def _path(document: Document) -> str:
    """Where the API server keeps *document*."""
    version, kind, metadata = document["apiVersion"], document["kind"], document["metadata"]
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    inside = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{inside}/{kind.lower()}s/{metadata['name']}"

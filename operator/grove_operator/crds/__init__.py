"""The CustomResourceDefinitions of Grove's API, made from tables that can be read.

    podcliqueset podclique scalinggroup topology podgang     one kind each, a line for each field
    parts                                                    what several of them share
    schema                                                   the words that the tables are written in
    core                                                     pods, metrics and claims, from a server's OpenAPI
    definition                                               from a kind to its definition

`operator/crds/*.yaml` are these definitions as files. `python -m grove_operator.crds` writes them.
"""

from collections.abc import Mapping
from typing import Any

from grove_operator.crds.core import Core
from grove_operator.crds.definition import Kind, definition
from grove_operator.crds.podclique import pod_clique
from grove_operator.crds.podcliqueset import pod_clique_set
from grove_operator.crds.podgang import pod_gang
from grove_operator.crds.scalinggroup import scaling_group
from grove_operator.crds.topology import cluster_topology_binding

__all__ = ["definition", "definitions", "kinds", "written"]


def kinds(core: Core | None = None) -> list[Kind]:
    """All five, with pods as *core* knows them."""
    core = core or Core.committed()
    return [
        pod_clique_set(core),
        pod_clique(core),
        scaling_group(),
        cluster_topology_binding(),
        pod_gang(),
    ]


def definitions() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions, ready to be applied."""
    return [definition(kind) for kind in kinds()]


def written(document: Mapping[str, Any]) -> str:
    """A definition as YAML: the same bytes each time, and nothing said by reference."""
    import yaml  # 15 ms that an operator need not spend

    class Plain(yaml.CSafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return str(yaml.dump(dict(document), Dumper=Plain, sort_keys=False, width=110, allow_unicode=True))

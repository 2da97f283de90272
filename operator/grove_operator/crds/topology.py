"""ClusterTopologyBinding: which labels of nodes say where a node is."""

from typing import Final

from grove_operator.crds.definition import AGE, Column, Kind
from grove_operator.crds.parts import CONDITIONS, GENERATION
from grove_operator.crds.schema import DOMAIN, Rule, Schema, flag, listed, record, ruled, text, whole

__all__ = ["cluster_topology_binding"]

_COLUMNS: Final = (Column("Domains", ".spec.levels[*].domain", "string"), AGE)
_LABEL_KEY: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
_LEVELS_MOST: Final = 64
_ONE_LEVEL_EACH: Final = Rule(
    "self.all(x, self.exists_one(y, y.key == x.key))", "each key must stand for one domain"
)


def cluster_topology_binding() -> Kind:
    """The kind."""
    levels = listed(
        "From the broadest domain to the narrowest.",
        record(
            "One kind of domain.",
            ["domain", "key"],
            domain=text(
                "Its name, such as region, zone, datacenter, block, rack, host or numa.",
                pattern=DOMAIN,
                least=1,
                most=63,
            ),
            key=text("The label of nodes that tells it.", pattern=_LABEL_KEY, least=1, most=63),
        ),
        by=["domain"],
        least=1,
        most=_LEVELS_MOST,
    )
    bindings = listed(
        "Topologies of schedulers that somebody else keeps; they are only compared.",
        record("One scheduler's.", ["schedulerName", "topologyReference"], **_reference()),
        by=["schedulerName"],
    )
    return Kind(
        group="grove.io",
        kind="ClusterTopologyBinding",
        plural="clustertopologybindings",
        short="ct",
        about="The domains in which pods can be kept together, and the labels of nodes that tell them.",
        columns=_COLUMNS,
        scope="Cluster",
        spec=record(
            "What a topology is.",
            ["levels"],
            levels=ruled(levels, _ONE_LEVEL_EACH),
            schedulerTopologyBindings=bindings,
        ),
        status=_status(),
    )


def _reference() -> dict[str, Schema]:
    return {
        "schedulerName": text("The scheduler."),
        "topologyReference": text("The name of its own topology object."),
    }


def _status() -> Schema:
    return record(
        "How it compares.",
        [],
        observedGeneration=GENERATION,
        conditions=CONDITIONS,
        schedulerTopologyStatuses=listed(
            "Each scheduler's topology.",
            record(
                "One scheduler's.",
                ["inSync", "schedulerName", "topologyReference"],
                **_reference(),
                inSync=flag("Whether its levels are these levels."),
                schedulerBackendTopologyObservedGeneration=whole(
                    "The generation that was compared; 0 if there is none.", bits=64
                ),
                message=text("What differs."),
            ),
        ),
    )

"""What a gang asks of the room: its free pods with their needs, beside those that have a node. Pure."""

from collections.abc import Collection, Iterable, Mapping

from grove_operator.api import PackConstraint, PodGang
from grove_operator.gang.ask import Ask, AskConfig, AskGroup, AskPod, Packing, Placement
from grove_operator.gang.members import Group, Members
from grove_operator.gang.needs import Needs, needs
from grove_operator.gang.space import PodKey
from grove_operator.plan.pods import FORMER_NODE
from grove_operator.pods import Pod

__all__ = ["claims", "demand", "pod_key", "required"]


def pod_key(pod: Pod) -> PodKey:
    """By which the room knows it."""
    return (pod.metadata.namespace, pod.metadata.name)


def demand(
    gang: PodGang,
    crowd: Members,
    wanted: Iterable[Pod],
    apart: str | None = None,
    elsewhere: Collection[str] = (),
    avoided: Collection[str] = (),
) -> Ask:
    """Places for the pods *wanted*; better not in the domains (by label *apart*) of nodes *elsewhere*, nor on
    nodes *avoided*."""
    keys = {pod_key(pod) for pod in wanted}
    return Ask(
        groups=tuple(_group(group, keys) for group in crowd.groups),
        pack=_packing(gang.spec.topology_constraint),
        configs=tuple(
            AskConfig(config.pod_group_names, _packing(config.topology_constraint))
            for config in gang.spec.topology_constraint_group_configs or ()
        ),
        apart=apart,
        elsewhere=tuple(elsewhere),
        avoided=tuple(avoided),
    )


def required(ask: Ask) -> Mapping[str, tuple[str, ...]]:
    """By group, the labels whose values its pods must share with others, from the outside in."""
    found = {}
    for group in ask.groups:
        config = next((one.pack for one in ask.configs if group.name in one.names), None)
        packs = (ask.pack, config, group.pack)
        found[group.name] = tuple(dict.fromkeys(one.required for one in packs if one and one.required))
    return found


def claims(pods: Iterable[Pod], placed: Placement) -> Mapping[PodKey, tuple[str, Needs]]:
    """What is to be reserved for them."""
    return {pod_key(pod): (placed.nodes[pod_key(pod)], needs(pod)) for pod in pods}


def _group(group: Group, wanted: set[PodKey]) -> AskGroup:
    return AskGroup(
        group.spec.name,
        pods=tuple(
            AskPod(pod_key(pod), needs(pod), pod.metadata.annotation(FORMER_NODE) or "")
            for pod in group.free
            if pod_key(pod) in wanted
        ),
        fixed=tuple(node for pod in group.released if (node := pod.spec.node_name or pod.pinned)),
        pack=_packing(group.spec.topology_constraint),
    )


def _packing(constraint: PackConstraint | None) -> Packing:
    pack = constraint.pack_constraint if constraint is not None else None
    return Packing(pack.required, pack.preferred) if pack is not None else Packing()

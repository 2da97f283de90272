"""What must hold of a world at rest, whatever happened before.

owners      each object of ours is controlled by one that is there, the one that its place says
labels      they say where in the tree it stands, and agree with its owner's
indices     of a clique's pods are 0..n-1, each once
gangs       each pod is referred to by the one gang that its label names, and no gang refers to others
surplus     no Service, HPA, gang, clique, group of what is not in the tree
finalizers  only on what lives, or is waited for
counts      there are as many pods as the tree says, and status says so, too
half gangs  none stood longer than the confirm limit
rest        a second look, by a trigger and by a new operator, writes nothing
"""

from collections import Counter

import msgspec
from grove_operator.api import (
    CLIQUES,
    GANGS,
    GROUPS,
    PODS,
    SETS,
    PodCliqueSet,
)
from grove_operator.naming import L
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.tree import Live, tree

from grove_dp.kube.objects import Meta
from tests.operator.scenarios.world import MADE, controller, going, labels, name, ours, uid

PLACE = (L.PART_OF, L.SET_REPLICA)
POD_PLACE = (*PLACE, L.GANG, L.CLIQUE, L.TEMPLATE_HASH, L.POD_INDEX, L.NAME, L.COMPONENT)


async def hold(scene):
    """All of it. With no operator running there is nothing to hold."""
    scene.check_operator()
    if scene.operator is None:
        return
    await scene.rest()
    world = await scene.world()
    faults = list(found(world, scene))
    assert not faults, "\n".join([*faults, await scene.told(world)])
    await undisturbed(scene)


async def undisturbed(scene):
    """A second look writes nothing: by the trigger, and by a new operator."""
    mark = len(scene.writes)
    for held in (await scene.world()).of(SETS):
        patch = {"metadata": {"annotations": {"grove.io/reconcile-trigger": "again"}}}
        await scene.api.merge(SETS.path(scene.namespace, name(held)), patch)
    await scene.clock.sleep(scene.hastened(20))
    told = "\n".join(map(str, scene.writes[mark:]))
    assert len(scene.writes) == mark, f"a second look wrote:\n{told}"
    await scene.restart_operator()
    await scene.clock.sleep(scene.hastened(20))
    scene.check_operator()
    told = "\n".join(map(str, scene.writes[mark:]))
    assert len(scene.writes) == mark, f"a new operator wrote:\n{told}"


def found(world, scene):
    """What is wrong."""
    yield from _half_bound(scene)
    yield from _owners(world)
    yield from _labels(world)
    yield from _finalizers(world)
    for held in world.of(SETS):
        if not going(held):
            yield from _whole(world, held)
    yield from _orphans(world)
    yield from _indices(world, scene.shrunk)
    yield from _gangs(world)


def _half_bound(scene):
    for gang, seconds in scene.diary.half_bound().items():
        if seconds > scene.half_bound_limit_s:
            yield f"gang {gang} stood half-bound for {seconds:.1f} s"


def _owners(world):
    alive = {uid(one): one for kind in (SETS, *MADE) for one in world.of(kind)}
    for kind in MADE:
        for one in filter(ours, world.of(kind)):
            owner = controller(one)
            if owner is None:
                yield f"{kind.kind} {name(one)} has no owner"
            elif owner[2] not in alive or name(alive[owner[2]]) != owner[1]:
                yield f"{kind.kind} {name(one)} is owned by {owner[0]} {owner[1]}, which is not there"
            elif kind is PODS and (owner[0], owner[1]) != (CLIQUES.kind, labels(one).get(L.CLIQUE)):
                yield f"pod {name(one)} is of clique {labels(one).get(L.CLIQUE)} and owned by {owner[1]}"


def _labels(world):
    cliques = {name(one): one for one in world.of(CLIQUES)}
    for pod in world.pods:
        missing = [key for key in POD_PLACE if not labels(pod).get(key)]
        if missing:
            yield f"pod {name(pod)} lacks {missing}"
        clique = cliques.get(labels(pod).get(L.CLIQUE))
        if clique is None:
            continue
        for key in (*PLACE, L.GANG, L.BASE_GANG, L.GROUP, L.GROUP_REPLICA):
            if labels(pod).get(key) != labels(clique).get(key):
                yield (
                    f"pod {name(pod)}: {key}={labels(pod).get(key)}, its clique has {labels(clique).get(key)}"
                )


def _finalizers(world):
    for kind in (SETS, GROUPS, CLIQUES, PODS):
        for one in world.of(kind):
            if going(one) and (ours(one) or kind is SETS):
                held = one["metadata"].get("finalizers") or []
                foreign = [mark for mark in held if "grove.io" not in mark]
                on_lost_node = kind is PODS and one["spec"].get("nodeName")
                if not foreign and not on_lost_node and not _waits(world, one):
                    yield f"{kind.kind} {name(one)} is stuck on its way out, finalizers {held}"


def _waits(world, owner):
    """Something that it owns is still there: on a lost node, or held by somebody else."""
    children = [
        one for kind in MADE for one in world.of(kind) if (controller(one) or ("",) * 3)[2] == uid(owner)
    ]
    return any(going(one) for one in children)


def _whole(world, document):
    """There is what the tree of a set says, no more, no less."""
    owner = msgspec.convert(document, PodCliqueSet)
    live = _live(world, owner)
    wanted = {kind: [] for kind in MADE}
    for one in expand(owner, live, Rules(), pods={}):
        wanted[one.resource].append(one.name)
    whose = [one for kind in MADE for one in world.of(kind) if labels(one).get(L.PART_OF) == name(document)]
    for kind in MADE:
        if kind is PODS:
            continue
        there = sorted(name(one) for one in world.of(kind) if one in whose and not going(one))
        if there != sorted(wanted[kind]):
            yield f"{kind.plural} of {name(document)}: {there}, wanted {sorted(wanted[kind])}"
    counts = {unit.name: unit.count for replica in tree(owner, live) for unit in replica.units}
    pods = Counter(labels(pod).get(L.CLIQUE) for pod in world.pods if pod in whose)
    for clique in {*counts, *pods}:
        if counts.get(clique, 0) != pods[clique]:
            yield f"clique {clique} has {pods[clique]} pods, wanted {counts.get(clique, 0)}"
    yield from _statuses(world, document, counts)


def _live(world, owner):
    def of(kind):
        return [
            one
            for one in world.of(kind)
            if labels(one).get(L.PART_OF) == owner.metadata.name and not going(one)
        ]

    return Live(
        {name(one): one["spec"]["replicas"] for one in of(CLIQUES)},
        {name(one): one["spec"]["replicas"] for one in of(GROUPS)},
        {name(one): msgspec.convert(one["metadata"], Meta) for one in of(GROUPS)},
    )


def _statuses(world, document, counts):
    for clique in filter(ours, world.of(CLIQUES)):
        if labels(clique).get(L.PART_OF) != name(document):
            continue
        status = clique.get("status") or {}
        said = (status.get("replicas", 0), status.get("readyReplicas", 0), status.get("scheduledReplicas", 0))
        of = [pod for pod in world.pods if labels(pod)[L.CLIQUE] == name(clique)]
        is_ = (
            len([pod for pod in of if world.read[name(pod)].living]),
            len([pod for pod in of if world.read[name(pod)].ready]),
            len([pod for pod in of if world.read[name(pod)].bound]),
        )
        if said != is_:
            yield f"status of clique {name(clique)}: replicas, ready, scheduled {said}; there are {is_}"
    generation = document["metadata"].get("generation")
    if (document.get("status") or {}).get("observedGeneration") != generation:
        yield f"status of {name(document)} is not of generation {generation}"


def _orphans(world):
    sets = {name(one) for one in world.of(SETS)}
    for kind in MADE:
        for one in filter(ours, world.of(kind)):
            if labels(one).get(L.PART_OF) not in sets:
                yield f"{kind.kind} {name(one)} is of set {labels(one).get(L.PART_OF)}, which is not there"


def _indices(world, shrunk):
    crews = {}
    for pod in world.pods:
        if world.read[name(pod)].living:
            crews.setdefault(labels(pod)[L.CLIQUE], []).append(int(labels(pod).get(L.POD_INDEX, -1)))
    for clique, held in crews.items():
        dense = clique in shrunk or sorted(held) == list(range(len(held)))
        if not dense or min(held) < 0 or len(set(held)) < len(held):
            yield f"indices of clique {clique}: {sorted(held)}"


def _gangs(world):
    referred = Counter()
    there = {name(pod) for pod in world.pods}
    for gang in filter(ours, world.of(GANGS)):
        for group in gang["spec"].get("podgroups") or ():
            for one in group.get("podReferences") or ():
                referred[one["name"]] += 1
                if one["name"] not in there:
                    yield f"gang {name(gang)} refers to {one['name']}, which is not there"
                    continue
                pod = next(pod for pod in world.pods if name(pod) == one["name"])
                if (labels(pod)[L.GANG], labels(pod)[L.CLIQUE]) != (name(gang), group["name"]):
                    yield f"gang {name(gang)} refers to {one['name']} of gang {labels(pod)[L.GANG]}"
    for pod in there:
        if referred[pod] != 1:
            yield f"pod {pod} is referred to by {referred[pod]} gangs"

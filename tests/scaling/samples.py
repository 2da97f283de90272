"""Trees, demands and looks to decide by."""

import msgspec

from grove_dp.kube.objects import Meta, Pod, PodSpec
from grove_dp.scaling.decide import Wish
from grove_dp.scaling.demand import Demand, Occupancy, Snapshot
from grove_dp.scaling.kinds import CLIQUES, SETS
from grove_dp.scaling.spec import Behavior, ComponentSpec, Spec
from grove_dp.scaling.tree import DRAIN, DRAIN_BY, Component, Target, Tree, Unit

BEHAVIOR = Behavior()


def target(name="chat-0-decode", replicas=2, minimum=1, index=0, **more):
    more = {"ready": replicas, "scheduled": replicas} | more
    return Target(
        resource=CLIQUES,
        namespace="ml",
        name=name,
        index=index,
        replicas=replicas,
        minimum=minimum,
        **more,
    )


def top(replicas=1, **more):
    return Target(
        resource=SETS,
        namespace="ml",
        name="chat",
        index=-1,
        replicas=replicas,
        minimum=0,
        scheduled=replicas,
        **more,
    )


def component(*targets, name="decode", gpus=1, at_first=1, **spec):
    return Component(
        spec=ComponentSpec(name=name, **spec), targets=targets or (target(),), gpus=gpus, at_first=at_first
    )


def tree(*components, replicas=1, **more):
    return Tree(top=top(replicas, **more), components=components or (component(),))


def spec(*components, **more):
    named = components or (ComponentSpec(name="decode"),)
    return Spec(pod_clique_set="chat", components=named, **more)


def wish(grow_to, shrink_to=None, reason="TokenLoad"):
    return Wish(grow_to=grow_to, shrink_to=shrink_to, reason=reason, message="because")


def demand(load=1.0, **more):
    return Demand(**({"known": 2, "workers": 2, "prefill": load, "arriving": load} | more))


def pod(name, *, until=None, by=None, placed=True):
    marks = {DRAIN: until, DRAIN_BY: by}
    annotations = {key: value for key, value in marks.items() if value is not None}
    metadata = Meta(name=name, namespace="ml", uid=f"uid-{name}", annotations=annotations)
    return Pod(metadata=metadata, spec=PodSpec(node_name="n1" if placed else ""))


def units(*pods):
    return tuple(Unit(None, (one,)) for one in pods)


def seen(now=0.0, missing=(), demands=None, **inflight):
    """*inflight* by pod; negative: the frontends have not heard of its drain."""
    pods = {f"uid-{name}": Occupancy(abs(count), count >= 0) for name, count in inflight.items()}
    return Snapshot(now=now, missing=missing, demands=demands or {"decode": demand()}, pods=pods)


def with_units(one, *pods):
    return msgspec.structs.replace(one, units=units(*pods))

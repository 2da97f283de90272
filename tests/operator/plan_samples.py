"""Sets to plan with: the workload of Grove's own tests, and smaller ones."""

import msgspec
from grove_operator.api import CLIQUES, GROUPS, PodClique, PodCliqueSet
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.tree import Live

from grove_dp.kube.objects import Meta


def clique(name, replicas=1, minimum=None, **more):
    spec = {
        "roleName": f"role-{name}",
        "podSpec": more.pop(
            "pod_spec", {"containers": [{"name": "main", "image": "registry.test/worker:1"}]}
        ),
        "replicas": replicas,
        "minAvailable": replicas if minimum is None else minimum,
    }
    for key in ("startsAfter", "autoScalingConfig"):
        if key in more:
            spec[key] = more.pop(key)
    return {"name": name, "spec": spec, **more}


def group(name, *members, replicas=1, minimum=1, **more):
    return {
        "name": name,
        "cliqueNames": list(members),
        "replicas": replicas,
        "minAvailable": minimum,
        **more,
    }


def a_set(cliques, groups=(), replicas=1, meta=None, **template):
    document = {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": "w", "namespace": "ml", "uid": "uid-w", **(meta or {})},
        "spec": {
            "replicas": replicas,
            "template": {"cliques": list(cliques), "podCliqueScalingGroups": list(groups), **template},
        },
    }
    return msgspec.convert(document, PodCliqueSet)


def workload(replicas=1, sg_replicas=2, sg_minimum=1, **template):
    """Grove's: pc-a, and a group sg-x of pc-b and pc-c."""
    return a_set(
        [clique("pc-a", 2), clique("pc-b", 1), clique("pc-c", 3)],
        [group("sg-x", "pc-b", "pc-c", replicas=sg_replicas, minimum=sg_minimum)],
        replicas,
        **template,
    )


def owners(owner, live=None):
    """*live* with all groups of *owner* there."""
    live = live or Live()
    names = [wanted.name for wanted in expand(owner, live, Rules()) if wanted.resource is GROUPS]
    metas = {name: Meta(name=name, namespace=owner.metadata.namespace, uid=f"uid-{name}") for name in names}
    return Live(live.cliques, live.groups, metas, live.minimums)


def expanded(owner, live=None, rules=None, **more):
    """All objects of a set whose groups are there, by kind and name."""
    found = expand(owner, owners(owner, live), rules or Rules(), **more)
    return {wanted.key: wanted.document for wanted in found}


def names(objects, kind):
    return [name for held, name in objects if held == kind]


def live_clique(document):
    """A PodClique as it would be read back."""
    assert document["kind"] == CLIQUES.kind
    held = document | {"metadata": document["metadata"] | {"uid": f"uid-{document['metadata']['name']}"}}
    return msgspec.convert(held, PodClique)

"""A PodCliqueSet that breaks no rule, and ways to break one."""

import copy


def clique(name, role=None, **spec):
    return {
        "name": name,
        "spec": {
            "roleName": role or name,
            "replicas": 2,
            "podSpec": {"containers": [{"name": "main", "image": "engine:1"}]},
            **spec,
        },
    }


def good_set(**template):
    """Two cliques alone, two in a group."""
    return {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": "serve", "namespace": "default"},
        "spec": {
            "replicas": 1,
            "template": {
                "cliques": [clique("router"), clique("cache"), clique("leader"), clique("worker")],
                "podCliqueScalingGroups": [
                    {"name": "decode", "cliqueNames": ["leader", "worker"], "replicas": 2, "minAvailable": 1}
                ],
                **template,
            },
        },
    }


def changed(document, path, value):
    """A copy in which *path* (`spec.template.cliques[1].name`) is *value*; None takes it away."""
    document = copy.deepcopy(document)
    owner = document
    *steps, last = _steps(path)
    for step in steps:
        owner = owner.setdefault(step, {}) if isinstance(owner, dict) else owner[step]
    if value is None:
        del owner[last]
    else:
        owner[last] = value
    return document


def _steps(path):
    for part in path.split("."):
        name, *indices = part.replace("]", "").split("[")
        yield name
        yield from map(int, indices)

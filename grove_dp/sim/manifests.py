"""What the demo applies to its cluster: a set of workers, and the autoscaler that scales it."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["NAME", "NAMESPACE", "SURGE", "autoscaler", "clique_set"]

NAMESPACE: Final = "default"
NAME: Final = "chat"
COMPONENT: Final = "worker"
SURGE: Final = 2  # one by one took 17 s where others kept the CPUs busy: longer than the rush

_EVENTS: Final = "--kv-events-endpoint tcp://$(POD_IP):0 --kv-replay-endpoint tcp://$(POD_IP):0"
_DRAIN: Final = "--shutdown-timeout 20"


def clique_set(replicas: int, port: int, flags: str, version: int = 1) -> dict[str, Any]:
    """So many workers with a GPU each; an update adds some before it takes as many away."""
    said = (
        f"worker-sim --host $(POD_IP) --port {port} --enable-prompt-tokens-details {_EVENTS} {_DRAIN} {flags}"
    )
    container = {
        "name": "worker",
        "image": f"grove-dp:{version}",
        "args": said.split(),
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": port}],
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    clique = {
        "roleName": COMPONENT,
        "replicas": replicas,
        "minAvailable": 1,
        "rollingUpdate": {"maxSurge": SURGE, "maxUnavailable": 0},
        "podSpec": {"containers": [container]},
    }
    return {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": NAME},
        "spec": {"replicas": 1, "template": {"cliques": [{"name": COMPONENT, "spec": clique}]}},
    }


def autoscaler(most: int) -> dict[str, Any]:
    """Scales the set by its tokens; its times are those of a demo, not of a cluster."""
    return {
        "apiVersion": "grove-dp.io/v1alpha1",
        "kind": "TokenAutoscaler",
        "metadata": {"name": NAME},
        "spec": {
            "podCliqueSet": NAME,
            "components": [{"name": COMPONENT, "maxReplicas": most}],
            "behavior": {
                "holdSeconds": 4,
                "startupSeconds": 3,
                "drainSeconds": 30,
                "pendingSeconds": 30,
                "queueDrainSeconds": 5,
            },
        },
    }

"""Which pods of a clique go when it has too many.

First those that someone has chosen, by the annotation that drains them; then by deletion cost, the cheapest
first; then in Grove's order: not bound before bound, Pending before Unknown before Running, not Ready before
Ready, of a former template before the current, the younger before the older. Pods that are on their way out
are not counted, and never chosen twice.
"""

from collections.abc import Iterable
from typing import Final

from grove_operator.naming import L
from grove_operator.pods import Pod

__all__ = ["COST", "DRAIN", "victims"]

DRAIN: Final = "grove-dp.io/drain-until"
COST: Final = "controller.kubernetes.io/pod-deletion-cost"
PHASES: Final = {"Pending": 0, "Unknown": 1, "Running": 2}


def victims(pods: Iterable[Pod], number: int, current: str) -> tuple[Pod, ...]:
    """*number* of *pods*, those to miss least first. *current*: the hash of the template."""
    living = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    living.sort(key=lambda pod: pod.metadata.name)
    living.sort(key=lambda pod: pod.metadata.creation_timestamp or "", reverse=True)  # the younger first
    living.sort(key=lambda pod: _worth(pod, current))  # sorts are stable
    return tuple(living[: max(0, number)])


def _worth(pod: Pod, current: str) -> tuple[int, ...]:
    return (
        pod.metadata.annotation(DRAIN) is None,
        _cost(pod.metadata.annotation(COST)),
        bool(pod.spec.node_name),
        PHASES.get(pod.status.phase, 0),
        pod.ready,
        pod.metadata.label(L.TEMPLATE_HASH) == current,
    )


def _cost(text: str | None) -> int:
    """As the ReplicaSet controller reads it; what is no number costs nothing."""
    try:
        return int(text or "0")
    except ValueError:
        return 0

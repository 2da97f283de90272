"""Targets that are known, and the zeros that are true of them.

A target without traffic has no samples, and an HPA that is told nothing does nothing: it never scales in. So
what measures traffic is 0 where every frontend answers and none has seen any. What is *wished* for is never
made up: no wish is not a wish for nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from grove_dp.metering.external.board import METRICS, Sample

__all__ = ["TRAFFIC", "KnownTarget", "with_zeros"]

TRAFFIC: Final = tuple(name for name in METRICS if name != "grove_dp_desired_replicas")


class KnownTarget(Struct, frozen=True):
    """Something that can be scaled, with the labels of its samples."""

    namespace: str
    labels: Mapping[str, str]


def with_zeros(
    samples: Iterable[Sample], targets: Iterable[KnownTarget], wall_s: float
) -> tuple[Sample, ...]:
    """*samples*, and a zero for each measure of traffic that a target lacks."""
    told = list(samples)
    seen = {(each.metric, each.namespace, *sorted(each.labels.items())) for each in told}
    for target in targets:
        known = (target.namespace, *sorted(target.labels.items()))
        told += [
            Sample(metric=metric, namespace=target.namespace, labels=target.labels, value=0.0, wall_s=wall_s)
            for metric in TRAFFIC
            if (metric, *known) not in seen
        ]
    return tuple(told)

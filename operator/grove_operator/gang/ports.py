"""Ports of hosts that are taken, by number: who asks for one asks about that one alone."""

from collections.abc import Iterator

from grove_operator.gang.needs import Needs, Port
from grove_operator.gang.space import PodKey

__all__ = ["TakenPorts"]

Claim = tuple[str, PodKey]  # node, pod


class TakenPorts:
    """On all nodes."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, str], dict[Claim, Port]] = {}

    def take(self, node: str, key: PodKey, asked: Needs) -> None:
        """Those of a pod on *node*."""
        for port in asked.ports:
            self._taken.setdefault((port.number, port.protocol), {})[node, key] = port

    def give_back(self, node: str, key: PodKey, asked: Needs) -> None:
        """It has them no more."""
        for port in asked.ports:
            self._taken.get((port.number, port.protocol), {}).pop((node, key), None)

    def clashing(self, ports: tuple[Port, ...]) -> Iterator[Claim]:
        """Who has one of these, and where."""
        for port in ports:
            for claim, taken in self._taken.get((port.number, port.protocol), {}).items():
                if port.clashes(taken):
                    yield claim

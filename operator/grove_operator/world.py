"""What rules depend on besides the set itself, as of now: settings, and the topologies that there are.

Until the ClusterTopologyBindings have been listed nothing is known of them, and then rules do not ask: a set
that names one must not be refused because the operator has just started.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from grove_dp.kube.objects import Meta
from grove_dp.kube.store import Change
from grove_operator.admission.subject import World
from grove_operator.api import ClusterTopologyBinding
from grove_operator.settings import OperatorSettings

__all__ = ["Bindings", "Surroundings"]

_log = logging.getLogger(__name__)

KAI: Final = "kai-scheduler"  # knows topologies by itself
DEFAULT: Final = "default-scheduler"


class Binding(Protocol):
    """A ClusterTopologyBinding whose spec is as it came."""

    @property
    def metadata(self) -> Meta: ...
    @property
    def spec(self) -> Mapping[str, Any]: ...


class Bindings(Protocol):
    """All of them; an Informer is that."""

    @property
    def is_synced(self) -> bool: ...
    def __iter__(self) -> Iterator[Binding]: ...
    def listen(self, told: Callable[[Change[Any]], None]) -> None: ...


class Surroundings:
    """The world, made anew after a binding has changed. Call it for the one of now."""

    def __init__(self, settings: OperatorSettings, bindings: Bindings) -> None:
        scheduler = settings.scheduler
        self._settled = World(
            schedulers=frozenset(scheduler.names),
            default_scheduler=scheduler.default,
            topology_aware=_topology_aware(settings),
            topology=settings.topology.enabled,
        )
        self._bindings = bindings
        self._known: World | None = None
        bindings.listen(self._forget)

    def __call__(self) -> World:
        if not self._bindings.is_synced:
            return self._settled
        if self._known is None:
            topologies = dict(map(_levels, self._bindings))
            self._known = msgspec.structs.replace(self._settled, topologies=topologies)
        return self._known

    def _forget(self, change: Change[Any]) -> None:
        self._known = None


def _topology_aware(settings: OperatorSettings) -> frozenset[str]:
    """Schedulers that can keep pods together: those that know how, and those for which we do it."""
    scheduler = settings.scheduler
    ours = {"own": scheduler.names, "auto": (DEFAULT,), "native": (), "none": ()}[scheduler.backend]
    return frozenset([KAI, *ours])


def _levels(held: Binding) -> tuple[str, tuple[str, ...]]:
    name = held.metadata.name
    try:
        return name, tuple(msgspec.convert({"spec": held.spec}, ClusterTopologyBinding).keys)
    except msgspec.ValidationError as error:
        _log.warning("ClusterTopologyBinding %s has no levels that can be read: %s", name, error)
        return name, ()

"""What is asked of the room, and the answers."""

from collections.abc import Mapping
from typing import Final

import msgspec

from grove_operator.gang.needs import Needs
from grove_operator.gang.space import PodKey

__all__ = ["Ask", "AskConfig", "AskGroup", "AskPod", "Packing", "Placement", "Refusal"]


class Packing(msgspec.Struct, frozen=True, gc=False):
    """Of a level, by node label keys."""

    required: str | None = None
    preferred: str | None = None


ANYWHERE: Final = Packing()


class AskPod(msgspec.Struct, frozen=True, gc=False):
    """A pod that wants a place. *former*: the node it was on before, if any."""

    key: PodKey
    needs: Needs
    former: str = ""


class AskGroup(msgspec.Struct, frozen=True):
    """Pods of one clique. *fixed*: nodes where others of it are already."""

    name: str
    pods: tuple[AskPod, ...] = ()
    fixed: tuple[str, ...] = ()
    pack: Packing = ANYWHERE


class AskConfig(msgspec.Struct, frozen=True):
    """Groups that are packed together."""

    names: tuple[str, ...]
    pack: Packing = ANYWHERE


class Ask(msgspec.Struct, frozen=True):
    """A gang, or what is left of it to place. Where there is a choice, *elsewhere*: nodes whose domains of
    *apart* are better left to others (the set's other replicas); *avoided*: nodes that refused it before."""

    groups: tuple[AskGroup, ...]
    pack: Packing = ANYWHERE
    configs: tuple[AskConfig, ...] = ()
    apart: str | None = None
    elsewhere: tuple[str, ...] = ()
    avoided: tuple[str, ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """A node for each pod. *score*: the share of preferred levels that got one domain; 1 without any."""

    nodes: Mapping[PodKey, str]
    score: float = 1.0


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no place. *ever*: False where not even empty nodes would do, all of them ready."""

    reason: str
    message: str
    ever: bool = True

    @property
    def lacks_room(self) -> bool:
        """More nodes would help."""
        return self.reason in ("InsufficientCapacity", "NoNodeMatches")

"""Nodes for a gang's pods: found in the room, or at the cost of others, and reserved.

place ─┬─ there is one
       ├─ none, but pods on their way out leave enough: wait for these
       ├─ none, but pods of lower priority are in the way: there, and the scheduler ends them
       └─ none: wait, and say why
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from grove_dp.clock import Clock
from grove_dp.kube.stamps import second_time
from grove_operator.controllers.state import Boards
from grove_operator.gang.ask import Ask, Placement, Refusal
from grove_operator.gang.columns import Flags
from grove_operator.gang.demand import claims, demand, pod_key, required
from grove_operator.gang.lookout import Lookout
from grove_operator.gang.needs import unmodelled
from grove_operator.gang.pack import place
from grove_operator.gang.preemption import Preemption, placed_without_leaving, preemption
from grove_operator.gang.queue import Turn
from grove_operator.gang.release import Labels
from grove_operator.gang.space import Imagined, PodKey
from grove_operator.held import Held
from grove_operator.pods import Pod

__all__ = ["LEAVING", "SPREAD", "Found", "Places"]

SPREAD: Final = "grove-dp.io/spread"  # annotation of a set: a node label; its replicas in different domains
LEAVING: Final = "PodsLeaving"  # the reason of who waits for pods on their way out
LEAVING_MOST_S: Final = 60.0  # who could end others waits for those whose grace is over by then,
LEAVING_LATE_S: Final = 15.0  # or was over so long ago at most: more is a node that does not answer


class Found(msgspec.Struct, frozen=True):
    """A node for each pod, or labels of the nodes among which the scheduler is to choose. *cost*: at whose,
    for people."""

    nodes: Mapping[PodKey, str] = {}
    within: Mapping[PodKey, Labels] = {}
    cost: str = ""


class Places:
    """Of all gangs that we find nodes for."""

    def __init__(
        self, lookout: Lookout, boards: Boards, clock: Clock, is_ours: Callable[[Held], bool]
    ) -> None:
        self._lookout = lookout
        self._room = lookout.room
        self._boards = boards
        self._clock = clock
        self._is_ours = is_ours

    def for_minimum(self, turn: Turn, pods: list[Pod], closed: Flags | None) -> Found | Refusal:
        """Nodes for all of *pods*, none of them *closed*; they are reserved until the gang has them."""
        return self._found(turn, pods, closed, str(turn.key))

    def for_extra(self, turn: Turn, pod: Pod, closed: Flags | None) -> Found | Refusal:
        """A node for one pod beyond the minimum; it is reserved until that pod is `settled`."""
        return self._found(turn, [pod], closed, f"{turn.key}+{pod.metadata.name}")

    def refused(self, turn: Turn, pod: Pod) -> Iterable[str]:
        """Where the scheduler would not have a pod: the node of its pin, or those of its domain."""
        if not pod.unschedulable:
            return ()
        if pod.pinned:
            return (pod.pinned,)
        node, _ = self._room.reserved(str(turn.key)).get(pod_key(pod), ("", None))
        keys = required(demand(turn.gang, turn.crowd, ())).get(pod.clique, ())
        return self._room.nodes.neighbours(node, keys[0]) if keys else ()

    def settled(self, key: object, pod: Pod) -> None:
        """Let go of what was reserved for a pod beyond the minimum: it holds its room by itself."""
        self._room.unreserve(f"{key}+{pod.metadata.name}")

    def _found(self, turn: Turn, pods: list[Pod], closed: Flags | None, owner: str) -> Found | Refusal:
        if not self._is_ours(turn.held):
            return Found()
        self._room.unreserve(owner)
        ask = self._ask(turn, pods)
        answer = place(self._room if closed is None else Imagined(self._room, closed=closed), ask)
        found = answer if isinstance(answer, Placement) else self._at_a_cost(turn, ask, closed, answer)
        if isinstance(found, Refusal):
            return found
        placement = found.placement if isinstance(found, Preemption) else found
        self._room.reserve(owner, claims(pods, placement))
        self._boards.score(*turn.key, float(placement.score))
        if any(unmodelled(pod) for pod in pods):
            return Found(within=self._within(ask, placement))
        return Found(placement.nodes, cost="" if found is placement else str(found))

    def _ask(self, turn: Turn, pods: list[Pod]) -> Ask:
        apart = turn.gang.metadata.annotation(SPREAD)
        elsewhere = set(self._lookout.siblings(turn.held)) if apart else ()
        return demand(turn.gang, turn.crowd, pods, apart, elsewhere, sorted(turn.pins.refusing))

    def _within(self, ask: Ask, placement: Placement) -> Mapping[PodKey, Labels]:
        """The domains that its pods must share."""
        keys = required(ask)
        return {
            pod.key: self._room.nodes.labels(placement.nodes[pod.key], keys[group.name])
            for group in ask.groups
            for pod in group.pods
        }

    def _at_a_cost(
        self, turn: Turn, ask: Ask, closed: Flags | None, refusal: Refusal
    ) -> Preemption | Refusal:
        priority = turn.crowd.preempts
        if priority is None or not self._room.occupants.any_below(priority):
            return refusal
        wall = self._clock.wall()
        between = second_time(wall - LEAVING_LATE_S), second_time(wall + LEAVING_MOST_S)
        if placed_without_leaving(self._room, ask, between, closed):
            return Refusal(LEAVING, "Pods on their way out leave room for it.")
        return preemption(self._room, ask, priority, closed) or refusal

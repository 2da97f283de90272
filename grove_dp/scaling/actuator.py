"""The only writes of a tick: replicas by /scale, and the drain's annotations on pods.

    grows     GET /scale, compare with what was decided from, PATCH it at that version
    shrinks   annotate who is to empty; when they are empty, the same
    cancels   take our annotations away

A scale that somebody else changed since the decision is left alone: the next tick decides from what it is
then. One write that fails does not keep the others from being made. Needs, of the Kubernetes API: get and
patch of the three /scale, patch of pods.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.errors import ApiError, Conflict, NotFound
from grove_dp.kube.objects import PODS, Pod
from grove_dp.kube.stamps import second_time
from grove_dp.scaling.decision import Decision
from grove_dp.scaling.kinds import Scale
from grove_dp.scaling.levels import Move
from grove_dp.scaling.tree import DRAIN, DRAIN_BY

__all__ = ["FIELD_MANAGER", "Actuator", "Failure", "Outcome"]

FIELD_MANAGER: Final = "grove-dp-autoscale"
COST: Final = "controller.kubernetes.io/pod-deletion-cost"
CHEAP: Final = "-100000"
_OURS: Final = {"fieldManager": FIELD_MANAGER}


class Failure(msgspec.Struct, frozen=True):
    """A write that was not made."""

    what: str
    reason: str
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    scaled: tuple[Move, ...] = ()
    marked: int = 0
    unmarked: int = 0
    failures: tuple[Failure, ...] = ()


class Actuator:
    """Carries decisions out; *dry_run*: it only says so."""

    def __init__(
        self, api: Access, *, dry_run: bool = False, holding: Callable[[], bool] = lambda: True
    ) -> None:
        """*holding*: whether we lead still; asked before every write."""
        self._api = api
        self._dry_run = dry_run
        self._holding = holding

    async def carry_out(self, decision: Decision, marker: str, drain_s: float) -> Outcome:
        """Do what stands against nothing."""
        if self._dry_run:
            return Outcome()
        scaled: list[Move] = []
        failures: list[Failure] = []
        marked = unmarked = 0
        until = second_time(decision.wall_s + drain_s)
        for pod in decision.unmark:
            unmarked += await self._tried(f"pod {pod.metadata.name}", self._unmark(pod), failures)
        for step in decision.steps:
            if step.objection is not None:
                continue
            for pod in step.drain.mark:
                marked += await self._tried(
                    f"pod {pod.metadata.name}", self._mark(pod, until, marker), failures
                )
            if step.now and await self._tried(step.move.target.key, self._scale(step.move), failures):
                scaled.append(step.move)
        return Outcome(scaled=tuple(scaled), marked=marked, unmarked=unmarked, failures=tuple(failures))

    async def release(self, pods: Iterable[Pod]) -> None:
        """Cancel drains, of an autoscaler that ends."""
        for pod in () if self._dry_run else pods:
            await self._tried(f"pod {pod.metadata.name}", self._unmark(pod), [])

    async def _tried(self, what: str, write: Any, failures: list[Failure]) -> bool:
        """Whether *write* was made."""
        if not self._holding():
            write.close()
            failures.append(Failure(what, "NotLeading", "another leads now"))
            return False
        try:
            await write
        except ApiError as error:
            failures.append(Failure(what, _word(error), str(error)))
            return False
        except GroveError as error:
            failures.append(Failure(what, error.reason, str(error)))
            return False
        return True

    async def _scale(self, move: Move) -> None:
        target = move.target
        path = target.resource.path(target.namespace, target.name, "scale")
        scale = await self._api.get(path, into=Scale)
        if scale.spec.replicas != target.replicas:
            raise ChangedMeanwhile(
                f"{target.key} has {scale.spec.replicas} replicas, {target.replicas} when it was decided"
            )
        await self._api.merge(path, scale.patch(move.to), into=Scale, query=_OURS)

    async def _mark(self, pod: Pod, until: str, marker: str) -> None:
        cost = {} if pod.metadata.annotation(COST) is not None else {COST: CHEAP}
        await self._annotate(pod, {DRAIN: until, DRAIN_BY: marker, **cost})

    async def _unmark(self, pod: Pod) -> None:
        cost = {COST: None} if pod.metadata.annotation(COST) == CHEAP else {}
        try:
            await self._annotate(pod, {DRAIN: None, DRAIN_BY: None, **cost})
        except NotFound:
            return  # it has gone: nothing is left to cancel

    async def _annotate(self, pod: Pod, annotations: dict[str, str | None]) -> None:
        path = PODS.path(pod.metadata.namespace, pod.metadata.name)
        await self._api.merge(path, {"metadata": {"annotations": annotations}}, into=Pod, query=_OURS)


class ChangedMeanwhile(GroveError):
    """Somebody else has scaled it since."""

    reason = "ChangedMeanwhile"


def _word(error: ApiError) -> str:
    return "ChangedMeanwhile" if isinstance(error, Conflict) else error.why or error.reason

"""What autoscalers are told to have done: the status of each object, and Events about it.

    decision ──► report (pure) ──► status, when it says something new ──► kubectl get, describe
    changes, failures ───────────► Events

One memory of what was written last, by object and its uid: whatever writes next (a decision, or the word that
nothing can be decided) compares with that, and an object that was deleted and made anew begins with nothing.
"""

import logging
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.events import Recorder, Reference
from grove_dp.kube.informer import Informer
from grove_dp.scaling.actuator import FIELD_MANAGER, Outcome
from grove_dp.scaling.decision import Decision
from grove_dp.scaling.kinds import AUTOSCALERS, Autoscaler, TokenAutoscaler
from grove_dp.scaling.reporting import Report, idle_status, report

__all__ = ["CONTROLLER", "Telling"]

CONTROLLER: Final = "grove-dp.io/autoscale"

_log = logging.getLogger(__name__)


class Telling:
    """Writes between `async with`; *dry_run*: nothing."""

    def __init__(
        self,
        api: Access,
        autoscalers: Informer[TokenAutoscaler],
        clock: Clock,
        rng: Random,
        *,
        identity: str,
        dry_run: bool = False,
    ) -> None:
        self._api = api
        self._autoscalers = autoscalers
        self._clock = clock
        self._dry_run = dry_run
        self._recorder = Recorder(api, CONTROLLER, identity, clock=clock, rng=rng)
        self._written: dict[str, tuple[str, Report]] = {}  # by key: the object's uid, and its status

    async def __aenter__(self) -> Self:
        await self._recorder.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._recorder.__aexit__(kind, error, trace)

    async def decided(self, one: Autoscaler, decision: Decision, outcome: Outcome) -> None:
        """A tick of *one* came to this."""
        held = self._held(one)
        if held is None:
            return
        self._record(held, outcome)
        await self._tell(one, held, report(one, decision, outcome, self._status_of(one, held)))

    async def undecided(self, one: Autoscaler, reason: str, message: str) -> None:
        """*one* cannot be scaled at all."""
        held = self._held(one)
        if held is not None:
            before = self._status_of(one, held)
            await self._tell(one, held, idle_status(one, reason, message, self._clock.wall(), before))

    def _held(self, one: Autoscaler) -> TokenAutoscaler | None:
        """The object that there is something to tell of."""
        if self._dry_run or not one.stored:
            return None
        return self._autoscalers.get(one.namespace, one.name)

    def _written_to(self, one: Autoscaler, held: TokenAutoscaler) -> Report | None:
        uid, written = self._written.get(one.key, ("", None))
        return written if uid == held.metadata.uid else None

    def _status_of(self, one: Autoscaler, held: TokenAutoscaler) -> dict[str, Any]:
        """As we wrote it last; else the conditions that the object has."""
        written = self._written_to(one, held)
        if written is not None:
            return written.status
        conditions = held.status.conditions
        return {} if conditions is None else {"conditions": list(conditions)}

    async def _tell(self, one: Autoscaler, held: TokenAutoscaler, made: Report) -> None:
        if not made.due(self._written_to(one, held)):
            return
        path = AUTOSCALERS.path(one.namespace, one.name, "status")
        try:
            await self._api.merge(path, {"status": made.status}, query={"fieldManager": FIELD_MANAGER})
        except GroveError as error:
            _log.warning("status of %s not written: %s", one.key, error)
        else:
            self._written[one.key] = held.metadata.uid, made

    def _record(self, held: TokenAutoscaler, outcome: Outcome) -> None:
        about = Reference.to(AUTOSCALERS, held.metadata)
        for move in outcome.scaled:
            note = f"{move.target.key} {move.target.replicas} -> {move.to}: {move.message}"
            self._recorder.record(about, move.reason, note, action="Scale")
        for failure in outcome.failures:
            note = f"{failure.what}: {failure.message}"
            self._recorder.record(about, failure.reason, note, action="Scale", kind="Warning")

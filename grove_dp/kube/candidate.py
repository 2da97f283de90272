"""One process's part in an election by Lease: looks at it, takes it, renews it, gives it back.

Every write is conditional on the resourceVersion that was seen, so one that comes late or twice changes
nothing. A write whose answer was lost may have come through: the next look tells, for what bears our identity
and the acquireTime that we wrote is ours. Identity alone would not do: two processes may have the same.

A Lease is taken when it has not changed for its duration by our clock, or ours if that is longer. Any write
counts as a change, for it may have been the holder's. A Lease that was given back (no holder, a duration of
1 s: client-go leaves it so, too) is taken at once. One that was emptied by hand says nothing about who still
works, and is waited for like any other. One that is absent says even less: not whether it was there a moment
ago. So an empty one is made, and waited for. A leader that finds its Lease deleted or emptied holds it still,
since all others wait, and writes itself into it again.

That makes the very first start wait for a duration; `fresh` says that there cannot be another.

Needs get, create and patch of leases.
"""

import logging
import math
from collections.abc import Coroutine
from random import Random
from typing import Any, Final, TypeVar

import msgspec

from grove_dp.clock import Clock, SystemClock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.errors import AlreadyExists, Conflict, NotFound
from grove_dp.kube.objects import LEASES, Meta
from grove_dp.kube.stamps import micro_time
from grove_dp.kube.timing import limited

__all__ = ["Candidate", "LeaseTimes"]

T = TypeVar("T")
log = logging.getLogger(__name__)

RELEASED_S: Final = 1  # the duration in a Lease that was given back
JITTER: Final = (0.8, 1.2)
RELEASE_TRIES: Final = 2


class LeaseTimes(msgspec.Struct, frozen=True, kw_only=True):
    """A dead leader is replaced after duration_s + retry_s, one that stops properly after retry_s."""

    duration_s: float = 15.0  # how long the others wait
    deadline_s: float = 10.0  # the leader gives up so long after its last renewal began
    stop_s: float = 4.0  # that the work may take to end once cancelled
    retry_s: float = 2.0  # between renewals, and between looks
    fresh: bool = False  # a Lease that is not there was never there: take it at once

    def __post_init__(self) -> None:
        if not 0.0 < self.retry_s < self.deadline_s:
            raise ValueError(
                f"retry_s must be less than deadline_s, got {self.retry_s} and {self.deadline_s}"
            )
        if not 0.0 < self.stop_s < self.duration_s - self.deadline_s:
            raise ValueError(
                f"deadline_s and stop_s must leave some of duration_s, got {self.deadline_s}, {self.stop_s} "
                f"and {self.duration_s}"
            )

    @property
    def call_s(self) -> float:
        """That one call may take: three fit into the deadline."""
        return self.deadline_s / 3

    @property
    def watch_s(self) -> float:
        """When the thread looks whether the work is gone, after the deadline: between stop_s and too late."""
        return (self.stop_s + self.duration_s - self.deadline_s) / 2


class _Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: float | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct, frozen=True, kw_only=True):
    metadata: Meta = Meta()
    spec: _Spec | None = None

    @property
    def said(self) -> _Spec:
        return self.spec or _Spec()

    @property
    def released(self) -> bool:
        """Its holder gave it back."""
        return not self.said.holder_identity and self.said.lease_duration_seconds == RELEASED_S

    @property
    def emptied(self) -> bool:
        """Somebody else took its holder out of it, or made it anew."""
        return not self.said.holder_identity and not self.released


class _Lost(GroveError):
    """Another holds it."""


class Candidate:
    """One process's part in the election."""

    def __init__(
        self,
        api: Access,
        namespace: str,
        name: str,
        identity: str,
        *,
        times: LeaseTimes | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        """*identity* is for people to see who leads."""
        self.times = times or LeaseTimes()
        self._api = api
        self.name = name
        self.identity = identity
        self.clock = clock or SystemClock()
        self._namespace = namespace
        self._path = LEASES.path(namespace, name)
        self._rng = rng or Random()
        self._lease: _Lease | None = None
        self._version: str | None = None  # of the Lease as last seen; "": there was none
        self._since = 0.0  # when it was first seen so
        self._acquired = ""  # the acquireTime that makes a Lease ours
        self._stamped_for: str | None = None  # the version that was to be taken with it
        self._transitions = 0
        self._tried: dict[str, float] = {}  # renewTimes we wrote, perhaps -> when that began
        self._until = -math.inf  # we hold it until then
        self.lapses_at = -math.inf  # the same, and kept when it is lost: when work has to be cancelled
        self._complaint = ""
        self.renewals = self.failures = 0

    @property
    def holding(self) -> bool:
        """Nobody else leads now."""
        return self.clock.now() < self._until

    @property
    def holder(self) -> str:
        """Who held it when it was last seen; empty: nobody."""
        return (self._lease.said.holder_identity if self._lease else None) or ""

    # ------------------------------------------------------------ standing by

    async def acquire(self) -> None:
        """Return once it is ours."""
        if not self.holding:
            self._until = -math.inf
        while not self.holding:
            wait_s = self._pause_s()
            try:
                if (left_s := await self._look()) > 0.0:
                    wait_s = min(left_s, wait_s)
                else:
                    await self._take()
                    wait_s = 0.0
                self._complain(None)
            except (AlreadyExists, Conflict):
                pass  # another was quicker
            except (GroveError, TimeoutError) as error:
                self._complain(error)
                wait_s = max(wait_s, min(_retry_after_s(error), self.times.duration_s))
            if not self.holding:
                await self.clock.sleep(wait_s)

    async def _look(self) -> float:
        """Read the Lease; seconds until it may be taken."""
        lease = await self._read()
        if lease is None:
            lease = await self._make()
            if self.times.fresh:
                return 0.0
        if lease.released or self._is_ours(lease):
            return 0.0
        wait_s = max(self.times.duration_s, lease.said.lease_duration_seconds or 0.0)
        return self._since + wait_s - self.clock.now()

    async def _read(self) -> _Lease | None:
        try:
            lease = await self._called(self._api.get(self._path, into=_Lease))
        except NotFound:
            lease = None
        self._see(lease)
        return lease

    async def _make(self) -> _Lease:
        """An empty one. Nobody is made its holder here: a call that comes late must find what it was for."""
        metadata = {"namespace": self._namespace, "name": self.name}
        document = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata}
        lease = await self._called(self._api.create(LEASES.path(self._namespace), document, into=_Lease))
        self._see(lease)
        return lease

    def _see(self, lease: _Lease | None) -> None:
        version = "" if lease is None else lease.metadata.resource_version
        if version != self._version:
            self._version = version
            self._since = self.clock.now()
        before, self._lease = self.holder, lease
        if self.holder != before:
            log.info("another holder of the lease", extra={"lease": self.name, "holder": self.holder})

    def _is_ours(self, lease: _Lease) -> bool:
        said = lease.said
        return said.holder_identity == self.identity and said.acquire_time == self._acquired

    async def _take(self) -> None:
        """Write ourselves into the Lease as it was last seen."""
        lease = self._lease
        assert lease is not None
        if self._is_ours(lease):  # the answer to a write of ours was lost
            return await self._renew()
        if self._stamped_for != self._version:  # else an earlier try at this version may still come through
            self._stamped_for = self._version
            self._acquired = micro_time(self.clock.wall())
        self._transitions = (lease.said.lease_transitions or 0) + 1
        return await self._write(lease, self._whole(self._transitions))

    def _whole(self, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self.times.duration_s),
            "acquireTime": self._acquired,
            "renewTime": micro_time(self.clock.wall()),
            "leaseTransitions": transitions,
        }

    # ------------------------------------------------------------ holding

    async def keep(self) -> None:
        """Renew it; return when it is lost."""
        due = self.clock.now() + self._pause_s()
        while True:
            await self.clock.sleep(max(0.0, min(due, self._until) - self.clock.now()))
            if not self.holding:
                break
            due = self.clock.now() + self._pause_s()  # from its begin: one that is not answered takes long
            try:
                await self._renew()
                self._complain(None)
            except _Lost as error:
                self._complain(error)
                break
            except (GroveError, TimeoutError) as error:
                self._complain(error)
                now = self.clock.now()
                due = max(due, now + min(_retry_after_s(error), (self._until - now) / 2))
        self._until = -math.inf

    async def _renew(self) -> None:
        """Write a new renewTime; if the Lease is not as we left it, look why."""
        lease = self._lease
        try:
            if lease is not None:
                return await self._write(lease, {"renewTime": micro_time(self.clock.wall())})
        except (Conflict, NotFound):
            pass
        found = await self._read()
        if self.holding and (found is None or found.emptied):  # nobody has taken it: all others wait
            return await self._write(found or await self._make(), self._whole(self._transitions))
        if found is None or not self._is_ours(found):
            raise _Lost(f"lease {self.name}: {self.holder or 'nobody'} holds it now")
        if (began := self._tried.get(found.said.renew_time or "")) is not None:
            return self._hold(began)  # that renewal did come through
        return await self._write(found, {"renewTime": micro_time(self.clock.wall())})

    async def _write(self, lease: _Lease, spec: dict[str, Any]) -> None:
        """Change *lease*, if it still is as it was; what we hold counts from before the call."""
        began = self.clock.now()
        self._tried.setdefault(spec["renewTime"], began)
        await self._patch(lease, spec)
        self._hold(began)

    async def _patch(self, lease: _Lease, spec: dict[str, Any]) -> None:
        patch = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        self._see(await self._called(self._api.merge(self._path, patch, into=_Lease)))

    def _hold(self, began: float) -> None:
        """A write of ours, begun then, is in the Lease."""
        self._until = self.lapses_at = began + self.times.deadline_s
        self._tried.clear()
        self.renewals += 1

    async def release(self) -> None:
        """Give it back, so that another need not wait."""
        spec = {"holderIdentity": "", "leaseDurationSeconds": RELEASED_S}
        self._until = -math.inf
        for _ in range(RELEASE_TRIES):
            lease = self._lease
            if lease is None or not self._is_ours(lease):
                return
            try:
                await self._patch(lease, spec)
                log.info("lease given back", extra={"lease": self.name})
                return
            except Conflict:  # our last renewal may have come after all
                await self._read()

    # ------------------------------------------------------------ small things

    async def _called(self, call: Coroutine[Any, Any, T]) -> T:
        """The answer, in no more time than is left if we hold it."""
        left_s = self._until - self.clock.now() if self._until > -math.inf else math.inf
        return await limited(self.clock, min(self.times.call_s, left_s), call)

    def _pause_s(self) -> float:
        return self.times.retry_s * self._rng.uniform(*JITTER)

    def _complain(self, error: Exception | None) -> None:
        """Log trouble when it begins, when it changes, and when it is over."""
        said = "" if error is None else type(error).__name__
        self.failures += error is not None
        if said == self._complaint:
            return
        self._complaint = said
        if error is None:
            log.info("the lease can be reached again", extra={"lease": self.name})
        else:
            log.warning("lease: %s", str(error) or "no answer in time", extra={"lease": self.name})


def _retry_after_s(error: Exception) -> float:
    return (error.retry_after_s or 0.0) if isinstance(error, GroveError) else 0.0

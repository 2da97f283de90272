"""Steps become calls, and their answers what we know: nobody waits for a watch to tell of our own writes.

    Steps ─► deletes ─► creates, patches (at once, a few at a time) ─► answers ─► informers

A delete is remembered by uid, for its answer may be no object: a plan made before the watch tells of it must
not take it for living. A name that is taken is looked at by itself: what has lost its labels is not in our
informers, and gets them back; what neither we control nor our labels mark is somebody else's, and is let be.

Whatever fails, the rest is done all the same. What failed is raised then, each with the object that it is
about (`NotDone`), so that statuses can tell whose trouble it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, Self

import msgspec

from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from grove_dp.kube.objects import PODS, Resource
from grove_operator.api import ROLE_BINDINGS, kind_key
from grove_operator.held import Held
from grove_operator.plan.diff import Delete, Patch, Steps, changes, is_ours
from grove_operator.plan.documents import Wanted
from grove_operator.pods import Pod
from grove_operator.slots import Slots, rank
from grove_operator.watching import Watched

__all__ = [
    "ForeignObject",
    "NotDone",
    "NotLeading",
    "WriteCounts",
    "Writer",
    "done",
    "failure",
    "taken",
    "together",
]

AT_ONCE: Final = 32  # writes in flight, of all keys together
COLLECTION_S: Final = 60.0  # the API server deletes one after the other
REMEMBERED: Final = 20_000


class ForeignObject(GroveError):
    """A name that we need is someone else's; deleting that, or another name for the set, is the remedy."""

    reason = "ForeignObject"


class NotDone(ExceptionGroup[Exception]):
    """What went wrong with one object that was to be."""

    wanted: Wanted

    def __new__(cls, wanted: Wanted, error: Exception) -> Self:
        self = super().__new__(cls, f"{wanted.resource.kind} {wanted.namespace}/{wanted.name}", [error])
        self.wanted = wanted
        return self


class NotLeading(GroveError):
    """Another operator leads; this one writes no more."""

    reason = "NotLeading"


class WriteCounts(Protocol):
    """Who counts writes."""

    def wrote(self, kind: str, verb: str, outcome: str) -> None:
        """One write."""
        ...


class Writer:
    """Every write of the operator, but for Events and the Lease."""

    def __init__(
        self, api: Access, watched: Watched, counts: WriteCounts, leading: Callable[[], bool] = lambda: True
    ) -> None:
        """*leading* is asked before each write."""
        self._api = api
        self._watched = watched
        self._counts = counts
        self._leading = leading
        self._slots = Slots(AT_ONCE)
        self._deleted: dict[str, None] = {}

    def is_deleted(self, uid: str) -> bool:
        """Whether we have deleted it, though it may still be seen."""
        return uid in self._deleted

    # ------------------------------------------------------------ steps

    async def apply(self, steps: Steps, owners: Iterable[str]) -> None:
        """Do all of them; what went wrong is raised when everything else is done."""
        failed = [await failure(together(calls)) for calls in self._calls(steps, frozenset(owners))]
        if errors := [one for one in failed if one is not None]:
            raise ExceptionGroup("writes failed", errors)

    def _calls(self, steps: Steps, owners: frozenset[str]) -> Iterator[Iterator[Awaitable[None]]]:
        """One after the other: the API server refuses a binding whose Role is not there."""

        def creates(bindings: bool) -> Iterator[Awaitable[None]]:
            wanted = (one for one in steps.creates if (one.resource == ROLE_BINDINGS) is bindings)
            return (done(one, partial(self.create, one, owners)) for one in wanted)

        yield (self.delete(one) for one in steps.deletes)
        yield chain(creates(False), (done(one.wanted, partial(self.patch, one)) for one in steps.patches))
        yield creates(True)

    async def create(self, wanted: Wanted, owners: frozenset[str]) -> None:
        """Make it; one of that name that has lost its marks is put right instead."""
        kind = wanted.resource
        try:
            answer = await self._write(
                kind,
                "create",
                lambda: self._api.create(kind.path(wanted.namespace), wanted.document, into=_struct(kind)),
            )
        except AlreadyExists:
            await self._adopt(wanted, owners)
            return
        self._watched.wrote(kind_key(kind), answer)

    async def _adopt(self, wanted: Wanted, owners: frozenset[str]) -> None:
        found = await self._api.get(wanted.path)
        if not is_ours(found, wanted, owners):
            raise _foreign(wanted)
        patch = None if found["metadata"].get("deletionTimestamp") else changes(wanted, found)
        if not patch:
            raise AlreadyExists(f"POST {wanted.path}", 409, "AlreadyExists", "it is there, and not seen yet")
        await self.patch(Patch(wanted, patch))

    async def patch(self, patch: Patch) -> None:
        """Change what differs."""
        await self.merge(patch.wanted.resource, patch.wanted.namespace, patch.wanted.name, patch.patch)

    async def delete(self, delete: Delete) -> None:
        """Delete that very object; if it is gone, or another has its name, that is as good."""
        path = delete.resource.path(delete.namespace, delete.name)
        try:
            answer = await self._write(
                delete.resource, "delete", lambda: self._api.delete(path, uid=delete.uid)
            )
        except NotFound:
            self._remember(delete.uid)
            return
        except Conflict:
            if await self._is_there(path, delete.uid):
                raise
            self._remember(delete.uid)
            return
        if answer.get("kind", "") != "Status" and (answer.get("metadata") or {}).get("deletionTimestamp"):
            self._watched.wrote(kind_key(delete.resource), msgspec.convert(answer, _struct(delete.resource)))
        else:
            self._remember(delete.uid)

    async def _is_there(self, path: str, uid: str) -> bool:
        """Whether that very object is: a conflict may be about its name, or about nothing but the moment."""
        try:
            found = await self._api.get(path)
        except NotFound:
            return False
        return bool(found["metadata"]["uid"] == uid)

    async def delete_pods(self, pods: Iterable[Pod]) -> None:
        """Delete these, those that are not on their way out already."""
        going = [pod for pod in pods if not pod.terminating and not self.is_deleted(pod.metadata.uid)]
        await together(
            self.delete(Delete(PODS, pod.metadata.namespace, pod.metadata.name, pod.metadata.uid))
            for pod in going
        )

    # ------------------------------------------------------------ single writes

    async def merge(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        sub: str | None = None,
    ) -> None:
        """Merge-patch an object, or its sub-resource; one that is gone needs no patch."""
        path = resource.path(namespace, name, sub)
        verb = "patch" if sub is None else f"patch-{sub}"
        try:
            answer = await self._write(
                resource, verb, lambda: self._api.merge(path, patch, into=_struct(resource))
            )
        except NotFound:
            return
        self._watched.wrote(kind_key(resource), answer)

    async def delete_collection(self, resource: Resource, namespace: str, labels: str) -> None:
        """Delete all that have these labels, in one call."""
        query = {"labelSelector": labels}
        path = resource.path(namespace)
        await self._write(
            resource, "deletecollection", lambda: self._api.delete(path, query=query, timeout_s=COLLECTION_S)
        )

    async def _write(self, resource: Resource, verb: str, call: Callable[[], Awaitable[Any]]) -> Any:
        async with self._slots.taken(rank(resource, verb)):
            if not self._leading():
                raise NotLeading("leading is over: nothing more is written")
            try:
                answer = await call()
            except ApiError as error:
                self._counts.wrote(resource.kind, verb, type(error).__name__)
                raise
            self._counts.wrote(resource.kind, verb, "done")
            return answer

    def _remember(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED:
            for old in list(self._deleted)[: REMEMBERED // 2]:
                del self._deleted[old]


def taken(names: Iterable[Wanted]) -> ExceptionGroup[Exception]:
    """That these names are somebody else's."""
    return ExceptionGroup("names are taken", [NotDone(one, _foreign(one)) for one in names])


def _foreign(wanted: Wanted) -> ForeignObject:
    return ForeignObject(
        f"{wanted.resource.kind} {wanted.namespace}/{wanted.name} belongs to another: delete it, or give the"
        " set another name"
    )


async def done(wanted: Wanted, call: Callable[[], Awaitable[None]]) -> None:
    """Wait for *call*, which is about *wanted*; what goes wrong says so."""
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes on
        raise NotDone(wanted, error) from None


async def failure(call: Awaitable[None]) -> Exception | None:
    """Wait for *call*: what it raised, if anything."""
    try:
        await call
    except Exception as error:  # noqa: BLE001 - whoever asks raises it
        return error
    return None


async def together(calls: Iterable[Awaitable[Any]]) -> None:
    """Wait for all; raise what went wrong when all are done."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = [one for one in outcomes if isinstance(one, BaseException)]
    for error in errors:
        if not isinstance(error, Exception):
            raise error
    if errors:
        raise ExceptionGroup("writes failed", [one for one in errors if isinstance(one, Exception)])


def _struct(resource: Resource) -> Any:
    return Pod if resource.kind == PODS.kind else Held

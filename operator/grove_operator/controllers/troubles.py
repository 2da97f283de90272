"""From what a reconcile raises to what is told of it: whose trouble it is, and whether it may pass by itself.

The error itself goes on to the controller, which counts it, says it in the log and tries again.
"""

import re
from collections.abc import Iterator
from typing import Final

from grove_dp.errors import GroveError
from grove_dp.kube.errors import AlreadyExists, ApiError, ApiUnreachable, Conflict
from grove_operator.applying import NotDone, NotLeading
from grove_operator.plan.documents import Wanted
from grove_operator.plan.troubles import PASSING_S, REFUSED_S, Trouble

__all__ = ["is_stale", "troubles"]

LATER: Final = (408, 409, 410, 429)  # the same call may be answered otherwise next time

WORD: Final = re.compile(r"[A-Z][A-Za-z0-9]*")


def troubles(error: BaseException) -> tuple[Trouble, ...]:
    """All of which *error* tells; none of it where another operator leads."""
    found = list(_parts(error, None))
    if any(isinstance(one, NotLeading) for one, _ in found):
        return ()
    return tuple(_trouble(one, wanted) for one, wanted in found)


def is_stale(error: BaseException) -> bool:
    """Whether no more is wrong than that our picture was older than the world."""
    return all(isinstance(one, (Conflict, AlreadyExists)) for one, _ in _parts(error, None))


def _parts(error: BaseException, wanted: Wanted | None) -> Iterator[tuple[BaseException, Wanted | None]]:
    if not isinstance(error, BaseExceptionGroup):
        yield error, wanted
        return
    for part in error.exceptions:
        yield from _parts(part, error.wanted if isinstance(error, NotDone) else wanted)


def _trouble(error: BaseException, wanted: Wanted | None) -> Trouble:
    return Trouble(
        code=_code(error),
        said=str(error)
        if isinstance(error, GroveError)
        else f"{error!r}: a fault of the operator, see its log",
        what="" if wanted is None else wanted.resource.kind,
        owner=("", "") if wanted is None else wanted.owner,
        lasts_s=PASSING_S if _passes(error) else REFUSED_S,
    )


def _code(error: BaseException) -> str:
    if isinstance(error, ApiError):  # a webhook may give any reason; as ours goes one word
        return error.why if WORD.fullmatch(error.why) else type(error).__name__
    return error.reason if isinstance(error, GroveError) else GroveError.reason


def _passes(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.code >= 500 or error.code in LATER
    return isinstance(error, ApiUnreachable)

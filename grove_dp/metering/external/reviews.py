"""Asking the API server whose token this is, and who may read what.

Answers hold for ten seconds, as in Kubernetes' own aggregated servers: a token that expires, or a right that
is taken away, is worth nothing ten seconds later. Tokens are remembered by their hash only. Strangers can
make us ask (every random token is a question), so questions at a time are bounded; beyond that, 429.
"""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from grove_dp.clock import Clock
from grove_dp.kube.errors import ApiError, ApiUnreachable
from grove_dp.metering.external.documents import GROUP, VERSION, Overloaded, Unavailable
from grove_dp.metering.external.expiring import Expiring
from grove_dp.metering.external.identity import User

__all__ = ["SUPERUSERS", "Act", "Reviews", "Verdict"]

T = TypeVar("T")

HOLDS_S: Final = 10.0
TOKENS_MAX: Final = 1024
VERDICTS_MAX: Final = 4096
AT_A_TIME: Final = 16
WAITING_MAX: Final = 256
TOKEN_BYTES_MAX: Final = 16 << 10
ANSWER_S: Final = 10.0
TRIES: Final = 4
PAUSE_S: Final = 0.25
SUPERUSERS: Final = "system:masters"

TOKEN_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class Api(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def create(self, path: str, document: Mapping[str, Any], *, into: type[T]) -> T: ...


class Act(Struct, frozen=True):
    """Reading a document (*path*), or a metric in a namespace (then the path is empty)."""

    path: str
    namespace: str = ""
    metric: str = ""

    def attributes(self) -> dict[str, Any]:
        """As a SubjectAccessReview puts it; a GET without a name is the verb list."""
        if not self.metric:
            return {"nonResourceAttributes": {"path": self.path, "verb": "get"}}
        return {
            "resourceAttributes": {
                "group": GROUP,
                "version": VERSION,
                "namespace": self.namespace,
                "resource": self.metric,
                "verb": "list",
            }
        }


class Verdict(Struct, frozen=True):
    """Whether one may, and why (not)."""

    allowed: bool
    reason: str = ""


class _Bearer(Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(Struct):
    authenticated: bool = False
    user: _Bearer | None = None


class _TokenReview(Struct):
    status: _TokenStatus


class _AccessStatus(Struct):
    allowed: bool = False
    denied: bool = False
    reason: str = ""


class _AccessReview(Struct):
    status: _AccessStatus


class _Nobody(Struct, frozen=True):
    """The bearer of a token that is none."""


class Reviews:
    """TokenReviews and SubjectAccessReviews, remembered."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._bearers: Expiring[bytes, User | _Nobody] = Expiring(
            clock, ttl_s=HOLDS_S, entries_max=TOKENS_MAX
        )
        self._verdicts: Expiring[tuple[User, Act], Verdict] = Expiring(
            clock, ttl_s=HOLDS_S, entries_max=VERDICTS_MAX
        )
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._waiting = 0

    async def bearer(self, token: str) -> User | None:
        """Whose token it is; None if it is nobody's. Unavailable, Overloaded."""
        if len(token) > TOKEN_BYTES_MAX:
            return None
        key = sha256(token.encode()).digest()
        found = await self._bearers.get(key, lambda: self._review_token(token))
        return found if isinstance(found, User) else None

    async def verdict(self, user: User, act: Act) -> Verdict:
        """Whether *user* may. Unavailable, Overloaded."""
        if SUPERUSERS in user.groups:
            return Verdict(True)
        return await self._verdicts.get((user, act), lambda: self._review_access(user, act))

    async def close(self) -> None:
        """Ask nothing more."""
        await self._bearers.close()
        await self._verdicts.close()

    @property
    def asked(self) -> dict[str, int]:
        """Questions that the API server was asked, by kind."""
        return {"token": self._bearers.asked, "access": self._verdicts.asked}

    # ------------------------------------------------------------ asking

    async def _review_token(self, token: str) -> User | _Nobody:
        document = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        status = (await self._ask(TOKEN_REVIEWS, document, _TokenReview)).status
        if not status.authenticated or status.user is None or not status.user.username:
            return _Nobody()
        told = status.user
        extra = tuple((name, tuple(values)) for name, values in sorted((told.extra or {}).items()))
        return User(name=told.username, uid=told.uid, groups=tuple(told.groups or ()), extra=extra)

    async def _review_access(self, user: User, act: Act) -> Verdict:
        spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups), **act.attributes()}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra}
        document = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = (await self._ask(ACCESS_REVIEWS, document, _AccessReview)).status
        return Verdict(status.allowed and not status.denied, status.reason)

    async def _ask(self, path: str, document: dict[str, Any], into: type[T]) -> T:
        """Ask the API server, again where it may help; what it does not answer nobody may."""
        if self._waiting >= WAITING_MAX:
            raise Overloaded("too many questions wait for the API server; ask again")
        self._waiting += 1
        try:
            async with asyncio.timeout(ANSWER_S), self._slots:
                return await self._ask_again(path, document, into)
        except TimeoutError:
            raise Unavailable(f"the API server does not answer in {ANSWER_S:g} s") from None
        finally:
            self._waiting -= 1

    async def _ask_again(self, path: str, document: dict[str, Any], into: type[T]) -> T:
        for last in range(TRIES):
            try:
                return await self._api.create(path, document, into=into)
            except ApiError as error:
                if error.code != 429 and error.code < 500:
                    raise Unavailable(f"we may not ask the API server: {error}") from None
                if last == TRIES - 1:
                    raise Unavailable(f"the API server does not answer: {error}") from None
            except ApiUnreachable as error:
                if last == TRIES - 1:
                    raise Unavailable(f"the API server does not answer: {error}") from None
            await self._clock.sleep(PAUSE_S * 2**last)
        raise AssertionError("the last try returns or raises")

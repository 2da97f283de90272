"""External metrics served by this frontend itself, where it is the only one.

The port is that of `grove-dp metrics-adapter`; the picture behind it has one frontend, whose signals are
read in this process. A second frontend with clients of its own would make each of the two tell a part as if
it were the sum, so the mode is called `sole`: who sets it says that there is no other. Where the Service in
front of the port is named, its endpoints are counted as well, and as long as there are several nothing is
told: a 503 that says so, as for any picture that is not whole. A rollout that runs two is such a time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from grove_dp.clock import Clock
from grove_dp.frontend.signals import SignalsFeed, query
from grove_dp.kube.access import Access, connect
from grove_dp.kube.errors import ApiError, ApiUnreachable
from grove_dp.kube.own_certificate import Place
from grove_dp.metering.external.adapter import Adapter, Options
from grove_dp.metering.external.board import Board
from grove_dp.metering.external.overview import Found, Overview
from grove_dp.metering.external.targets import KnownTargets, read_target
from grove_dp.metering.merging import Frontends
from grove_dp.settings import External, Kubernetes

__all__ = ["Alone", "Sole"]

HERE: Final = "this frontend"

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Api(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def get(self, path: str, *, into: type[T], query: dict[str, str]) -> T: ...


class _Conditions(Struct, frozen=True):
    ready: bool | None = None


class _Endpoint(Struct):
    addresses: list[str] = []
    conditions: _Conditions = _Conditions()


class _Slice(Struct):
    endpoints: list[_Endpoint] | None = None


class _Slices(Struct):
    items: list[_Slice] = []


class Alone:
    """Whether nobody else stands behind our Service."""

    def __init__(self, api: Api, namespace: str | None, service: str | None) -> None:
        self._api = api
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._service = service if namespace else None
        self._others: tuple[str, ...] = ()
        self._told = ""

    async def __call__(self) -> Found:
        """This frontend, and who else is missing from its picture."""
        if self._service is not None:
            try:
                self._others = await self._look(self._service)
            except (ApiError, ApiUnreachable) as error:  # what was seen last holds
                self._tell(f"endpoints of Service {self._service} cannot be counted: {error}")
            else:
                self._tell("")
        return Found([HERE], self._others)

    async def _look(self, service: str) -> tuple[str, ...]:
        wanted = {"labelSelector": f"kubernetes.io/service-name={service}"}
        slices = (await self._api.get(self._path, into=_Slices, query=wanted)).items
        found = [endpoint for part in slices for endpoint in part.endpoints or ()]
        ready = {
            endpoint.addresses[0] for endpoint in found if endpoint.addresses and endpoint.conditions.ready
        }
        if len(ready) < 2:
            return ()
        return (f"NotSole: Service {service} leads to {len(ready)} frontends; run grove-dp metrics-adapter",)

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._told:
            _log.warning("%s", trouble)
        self._told = trouble


class Sole:
    """Serves what this frontend alone tells."""

    def __init__(self, settings: External, feed: SignalsFeed, api: Access, clock: Clock) -> None:
        """ConfigurationError if a target is none."""
        self._api = api
        self._feed = feed
        board = Board(clock)
        known = KnownTargets(clock, map(read_target, settings.targets))
        self.adapter = Adapter(board, api, clock, _options(settings))
        self._overview = Overview(
            Alone(api, settings.namespace, settings.service),
            Frontends(self._fetch, clock, window_s=settings.window_s),
            known,
            board.publish,
            clock,
        )

    @classmethod
    async def connected(
        cls, settings: External, cluster: Kubernetes, feed: SignalsFeed, clock: Clock
    ) -> Self:
        """Before the users of *cluster*. NoCluster."""
        kubeconfig = Path(cluster.kubeconfig) if cluster.kubeconfig else None
        return cls(settings, feed, await connect(kubeconfig, cluster.context), clock)

    async def run(self, draining: Callable[[], Awaitable[None]]) -> None:
        """Serve until cancelled; not ready any more once *draining* returns."""
        async with self._api, self.adapter, asyncio.TaskGroup() as group:
            _log.info("serving external metrics of this frontend alone", extra={"port": self.adapter.port})
            group.create_task(self.adapter.run())
            group.create_task(self._overview.run())
            await draining()
            self.adapter.drain()

    async def _fetch(self, url: str) -> bytes:
        return await self._feed.answer(query(parse_qsl(urlsplit(url).query)))


def _options(settings: External) -> Options:
    def path(text: str | None) -> Path | None:
        return Path(text) if text else None

    place = None
    if settings.secret and settings.namespace and settings.service:
        place = Place(settings.namespace, settings.service, settings.secret)
    return Options(
        host=settings.host,
        port=settings.port,
        place=place,
        tls_cert_file=path(settings.tls_cert_file),
        tls_key_file=path(settings.tls_key_file),
        trust_front_proxy=settings.trust_front_proxy,
        keda_token_file=path(settings.keda_token_file),
    )

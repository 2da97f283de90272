"""The operator's webhooks in a cluster: served with a certificate that is renewed meanwhile, and registered.

    webhooks = Webhooks(api, settings, world, metrics, clock)
    await webhooks.run()         every operator: serve, keep the certificate
    await webhooks.register()    the one that leads: make the configurations, mend them

Where the certificate comes from:

    a Secret        made by whichever operator is first, renewed a month before its end, read every EVERY_S;
                    the new authority is in the caBundles before the Secret has the new certificate
    a folder        --webhook-cert-dir, as cert-manager or somebody else fills it; read as often

A standby answers, too: the API server's Service leads to every operator that is ready.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn, Protocol
from urllib.parse import urlsplit

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.certificates import expires
from grove_dp.kube.own_certificate import OwnCertificate, Place
from grove_dp.kube.tls import Certificate, CertificateFiles, Face
from grove_operator.admission.registration import Address
from grove_operator.admission.subject import World
from grove_operator.admission.webhook import serving
from grove_operator.health import CannotListen
from grove_operator.metrics import OperatorMetrics
from grove_operator.registrations import Registrations, address
from grove_operator.settings import OperatorSettings

__all__ = ["Webhooks"]

_log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
AGAIN_S: Final = 1.0


class Source(Protocol):
    """Where the certificate comes from."""

    async def read(self) -> Certificate: ...


class Webhooks:
    """Serves them. `ready` tells whether there is a certificate to show."""

    def __init__(
        self,
        api: Access,
        settings: OperatorSettings,
        world: Callable[[], World],
        metrics: OperatorMetrics,
        clock: Clock,
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._settings = settings.webhooks
        self._world = world
        self._metrics = metrics
        self._clock = clock
        self._every_s = every_s
        self._face = Face()
        self._registrations = Registrations(api, settings, clock, metrics.wrote)
        self._source = _source(api, settings, self._registrations, clock)
        self._shown: Certificate | None = None
        self._told = ""
        self.port = 0

    @property
    def ready(self) -> bool:
        """Whether they can be asked."""
        return self._face.ready and self.port != 0

    def missing(self) -> str:
        """What keeps them from being asked; for `/readyz`."""
        return "" if self.ready else (self._told or "there is no certificate yet")

    async def run(self) -> None:
        """Serve until cancelled. CannotListen."""
        try:
            served = serving(self._world, self._face.context, self._settings.host, self._settings.port)
            async with served as self.port, asyncio.TaskGroup() as group:
                group.create_task(self._registrations.run())
                group.create_task(self._keep_certificate())
        except OSError as error:
            where = f"{self._settings.host}:{self._settings.port}"
            raise CannotListen(
                f"cannot listen on {where}: {error.strerror}; end what listens there or choose another"
                " --webhook-port"
            ) from None

    async def register(self) -> NoReturn:
        """Keep them registered until cancelled; for the operator that leads, while `run` runs."""
        await self._registrations.keep()

    async def _keep_certificate(self) -> NoReturn:
        while True:
            content = await self._refresh()
            await self._clock.sleep(self._every_s if content else min(AGAIN_S, self._every_s))

    async def _refresh(self) -> bool:
        """Show the certificate that there is; whether there is one."""
        try:
            certificate = await self._source.read()
            if certificate != self._shown:
                self._face.renew(certificate)
                self._metrics.certificate_ends_s = expires(certificate)
                self._shown = certificate
        except (GroveError, ValueError) as error:
            self._trouble(str(error))
            return False
        self._trouble("")
        return True

    def _trouble(self, told: str) -> None:
        """Log what is new; what is shown stays."""
        if told and told != self._told:
            _log.warning("certificate of the webhooks: %s", told)
        self._told = told


class _Files:
    """A certificate that others keep in a folder, and the authority beside it, if they put one there."""

    def __init__(self, folder: Path, registrations: Registrations) -> None:
        self._files = CertificateFiles(folder / "tls.crt", folder / "tls.key")
        self._authority = folder / "ca.crt"
        self._registrations = registrations

    async def read(self) -> Certificate:
        """BadCertificate if it cannot be read."""
        certificate = await self._files.read()
        try:
            trusted = self._authority.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            trusted = ""
        await self._registrations.trust(trusted)
        return certificate


def _source(api: Access, settings: OperatorSettings, registrations: Registrations, clock: Clock) -> Source:
    webhooks = settings.webhooks
    if webhooks.cert_dir is not None:
        return _Files(Path(webhooks.cert_dir), registrations)
    place = Place(webhooks.namespace or api.namespace, webhooks.service, webhooks.secret)
    at = address(settings, api.namespace)
    names = (urlsplit(at.url).hostname or "",) if isinstance(at, Address) else ()
    return OwnCertificate(api, place, clock, registrations, names)

"""Keeping the port's certificate, and whom it trusts, as fresh as where they come from.

Sources are read again every ten seconds: a ConfigMap or Secret is one small GET, a file is a few kilobytes.
A watch would hear a second sooner what is prepared days ahead. What cannot be read, or does not fit together
(a pair of files caught between two writes), leaves what held before, and is logged once until it changes.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.tls import BadCertificate, Certificate, Face
from grove_dp.metering.external.identity import FrontProxy, TrustUnknown, front_proxy

__all__ = ["ClusterTrust", "Credentials", "TrustFile"]

_log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
CONFIG_MAP: Final = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


class TrustSource(Protocol):
    """Where it is told whom to trust."""

    async def read(self) -> FrontProxy: ...


class CertificateSource(Protocol):
    """Where the serving certificate comes from."""

    async def read(self) -> Certificate: ...


class Api(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def get(self, path: str) -> dict[str, Any]: ...


class ClusterTrust:
    """What the cluster says of its front proxy."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def read(self) -> FrontProxy:
        """GroveError if it cannot be read, or does not say."""
        found = await self._api.get(CONFIG_MAP)
        return front_proxy(msgspec.convert(found.get("data") or {}, dict[str, str]))


class TrustFile:
    """A CA in a file, for where the ConfigMap cannot be read."""

    def __init__(self, ca: Path, allowed_names: tuple[str, ...]) -> None:
        self._ca = ca
        self._names = allowed_names

    async def read(self) -> FrontProxy:
        """TrustUnknown if there is no such file, or no certificate in it."""
        try:
            pem = self._ca.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise TrustUnknown(f"{self._ca}: the request-header CA cannot be read: {error}") from None
        if "BEGIN CERTIFICATE" not in pem:
            raise TrustUnknown(f"{self._ca}: no certificate in it")
        return FrontProxy(ca_pem=pem, allowed_names=self._names)


class Credentials:
    """Reads both sources and renews the face when one of them has changed."""

    def __init__(
        self,
        face: Face,
        certificate: CertificateSource,
        trust: TrustSource,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        """*changed* is called after each renewal; see `MetricsPort.renewed`."""
        self._face = face
        self._certificate_source = certificate
        self._trust_source = trust
        self._clock = clock
        self._changed = changed
        self._certificate: Certificate | None = None
        self._trust: FrontProxy | None = None
        self._shown: tuple[Certificate, str] | None = None
        self._troubles: dict[str, str] = {}

    def trust(self) -> FrontProxy | None:
        """Whom to trust now; None while that is not known."""
        return self._trust

    def certificate(self) -> Certificate | None:
        """What is shown now; None while there is nothing to show."""
        return self._shown[0] if self._shown else None

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await self._clock.sleep(EVERY_S)

    async def refresh(self) -> None:
        """One pass; safe to run again at any time."""
        certificate = await self._read("certificate", self._certificate_source.read)
        trust = await self._read("trust", self._trust_source.read)
        certificate, trust = certificate or self._certificate, trust or self._trust
        if certificate is None:
            return
        wanted = (certificate, trust.ca_pem if trust else "")
        if wanted != self._shown:
            try:
                self._face.renew(*wanted)
            except BadCertificate as error:
                self._trouble("renewal", error)
                return
            self._trouble("renewal", None)
            self._shown = wanted
            self._changed()
        if trust is not None and trust.shares_ca and trust != self._trust:
            _log.error(
                "the front proxy shares its CA with clients and no name is required: nobody can be trusted"
            )
        self._certificate, self._trust = certificate, trust

    async def _read(self, what: str, read: Callable[[], Any]) -> Any:
        try:
            found = await read()
        except GroveError as error:
            self._trouble(what, error)
            return None
        self._trouble(what, None)
        return found

    def _trouble(self, what: str, error: GroveError | None) -> None:
        """Log what is new: trouble, other trouble, its end."""
        before, now = self._troubles.get(what, ""), "" if error is None else str(error)
        if now == before:
            return
        self._troubles[what] = now
        if error is not None:
            _log.warning("%s of the metrics port stays as it is: %s [%s]", what, error, error.reason)
        else:
            _log.info("%s of the metrics port can be read again", what)

"""The metrics adapter put together: a source of values, a cluster, a port.

    async with await connect() as api, Adapter(board, api, SystemClock(), Options(place=place)) as adapter:
        await adapter.run()

It opens its port as soon as there is a certificate to show, whatever else is missing: until the cluster says
whom to trust, probes and tokens are answered.
"""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from grove_dp.clock import Clock
from grove_dp.errors import ConfigurationError
from grove_dp.kube.access import Access
from grove_dp.kube.certificates import expires
from grove_dp.kube.own_certificate import OwnCertificate, Place
from grove_dp.kube.tls import CertificateFiles, Face
from grove_dp.metering.external.board import Source
from grove_dp.metering.external.credentials import (
    CertificateSource,
    ClusterTrust,
    Credentials,
    TrustFile,
    TrustSource,
)
from grove_dp.metering.external.page import AdapterReading, page
from grove_dp.metering.external.registration import RegisteredTrust
from grove_dp.metering.external.reviews import Reviews
from grove_dp.metering.external.server import MetricsPort

__all__ = ["Adapter", "Options"]

PORT: Final = 6443
AGAIN_S: Final = 1.0


class Options(Struct, frozen=True, kw_only=True):
    """How the adapter is run. Either `place`, or both TLS files."""

    host: str = "127.0.0.1"
    port: int = PORT
    place: Place | None = None  # keep a certificate in this Secret
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    requestheader_ca_file: Path | None = None  # instead of the cluster's ConfigMap
    requestheader_allowed_names: tuple[str, ...] = ()
    trust_front_proxy: bool = False
    keda_token_file: Path | None = None


class Adapter:
    """Serves *source*. Open between `async with`; `run` keeps its credentials fresh."""

    def __init__(self, source: Source, api: Access, clock: Clock, options: Options) -> None:
        """ConfigurationError if *options* name no certificate, or two."""
        self._options = options
        self._clock = clock
        self._face = Face()
        self._credentials = Credentials(
            self._face, _certificate(api, clock, options), _trust(api, options), clock, self._renewed
        )
        self._source = source
        self._reviews = Reviews(api, clock)
        self._port = MetricsPort(
            source,
            self._face,
            self._reviews,
            self._credentials.trust,
            trust_front_proxy=options.trust_front_proxy,
            keda_token_file=options.keda_token_file,
            page=page(self._reading),
        )
        self.port = 0

    def _renewed(self) -> None:
        self._port.renewed()

    def _reading(self) -> AdapterReading:
        certificate = self._credentials.certificate()
        return AdapterReading(
            answers=self._port.answers,
            reviews=self._reviews.asked,
            series=self._source.series,
            complete=self._source.complete,
            picture_age_s=self._source.age_s,
            certificate_ends_s=None if certificate is None else expires(certificate),
            renewals=self._face.renewed,
        )

    async def refresh(self) -> None:
        """Read certificate and trust again now."""
        await self._credentials.refresh()

    def drain(self) -> None:
        """Fail `/readyz` from now on; what still comes is answered."""
        self._port.drain()

    async def __aenter__(self) -> Self:
        await self._credentials.refresh()
        while not self._face.ready:  # the reason is in the log
            await self._clock.sleep(AGAIN_S)
            await self._credentials.refresh()
        self.port = await self._port.open(self._options.host, self._options.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._port.close()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._credentials.run()


def _certificate(api: Access, clock: Clock, options: Options) -> CertificateSource:
    files = (options.tls_cert_file, options.tls_key_file)
    if options.place is not None and files == (None, None):
        return OwnCertificate(api, options.place, clock, RegisteredTrust(api, options.place, clock))
    if options.place is None and files[0] is not None and files[1] is not None:
        return CertificateFiles(files[0], files[1])
    raise ConfigurationError("give either both tls_cert_file and tls_key_file, or the Secret to keep one in")


def _trust(api: Access, options: Options) -> TrustSource:
    if options.requestheader_ca_file is not None:
        return TrustFile(options.requestheader_ca_file, options.requestheader_allowed_names)
    return ClusterTrust(api)

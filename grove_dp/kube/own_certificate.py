"""A serving certificate kept in a Secret by those who show it, where no cert-manager does it.

All replicas serve the same one. Any of them may renew it: whoever writes the Secret first wins, the others
take what they find. The order is what keeps the API server from ever seeing a certificate that it cannot
verify:

    1  the registration's caBundle: add the authority to be     (`Trust`; resourceVersion must not have moved)
    2  wait until the API servers have heard of it
    3  the Secret: new certificate, its authority, the one before     (the same)
    4  every replica finds it when it reads the Secret again

Authorities leave the bundle by ending. A write that lost leaves one behind whose key no longer exists.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.certificates import decoded, encoded, fits, serving, still_valid
from grove_dp.kube.errors import ApiError
from grove_dp.kube.tls import Certificate

__all__ = ["Contended", "OwnCertificate", "Place", "Trust"]

_log = logging.getLogger(__name__)

SETTLE_S: Final = 3.0
TRIES: Final = 3


class Contended(GroveError):
    """Others keep writing what is ours."""

    reason = "Conflict"
    status = 409


class Api(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def get(self, path: str) -> dict[str, Any]: ...
    async def create(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]: ...
    async def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]: ...


class Trust(Protocol):
    """Where the API servers are told whom to trust."""

    async def trust(self, bundle: str) -> bool:
        """See that they know the authorities of *bundle*; whether any was new to them."""
        ...


class Place(Struct, frozen=True):
    """Where those who show it are installed."""

    namespace: str
    service: str
    secret: str

    @property
    def names(self) -> tuple[str, ...]:
        """What the API server (`<service>.<namespace>.svc`) and others in the cluster call it."""
        short = f"{self.service}.{self.namespace}.svc"
        return short, f"{short}.cluster.local", f"{self.service}.{self.namespace}"


class _Kept(Struct):
    """The Secret as found."""

    certificate: Certificate
    trusted: str
    version: str


class OwnCertificate:
    """A certificate source that makes what it does not find."""

    def __init__(
        self, api: Api, place: Place, clock: Clock, trust: Trust, names: tuple[str, ...] = ()
    ) -> None:
        """*names*: what the certificate is for, if not the Service's names."""
        self._api = api
        self._place = place
        self._names = names or place.names
        self._clock = clock
        self._trust = trust
        self.trusted = ""  # the authorities that verify what `read` returned last
        self._secrets = f"/api/v1/namespaces/{place.namespace}/secrets"

    async def read(self) -> Certificate:
        """The certificate of the Secret, renewed if it is time. GroveError."""
        for _ in range(TRIES):
            kept = await self._kept()
            if kept is not None and fits(kept.certificate, self._names, self._clock.wall()):
                self.trusted = still_valid([kept.trusted], self._clock.wall())
                await self._trust.trust(self.trusted)
                return kept.certificate
            renewed = await self._renew(kept)
            if renewed is not None:
                return renewed
        raise Contended(f"Secret {self._place.secret}: others keep writing it; who else uses it?")

    async def _renew(self, kept: _Kept | None) -> Certificate | None:
        """A new certificate in the Secret; None if somebody else wrote it meanwhile."""
        certificate, authority = serving(self._names, self._clock.wall())
        before = [kept.trusted] if kept else []
        trusted = still_valid([authority, *before], self._clock.wall())
        if await self._trust.trust(trusted) and kept is not None:
            await self._clock.sleep(SETTLE_S)
        try:
            await self._write(certificate, trusted, kept)
        except ApiError as error:
            if error.code == 409:
                return None
            raise
        self.trusted = trusted
        _log.info("Secret %s/%s has a new certificate", self._place.namespace, self._place.secret)
        return certificate

    # ------------------------------------------------------------ the Secret

    async def _kept(self) -> _Kept | None:
        try:
            found = await self._api.get(f"{self._secrets}/{self._place.secret}")
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        data: dict[str, str] = found.get("data") or {}
        certificate = Certificate(decoded(data.get("tls.crt")), decoded(data.get("tls.key")))
        return _Kept(certificate, decoded(data.get("ca.crt")), found["metadata"]["resourceVersion"])

    async def _write(self, certificate: Certificate, trusted: str, kept: _Kept | None) -> None:
        data = {
            "tls.crt": encoded(certificate.chain_pem),
            "tls.key": encoded(certificate.key_pem),
            "ca.crt": encoded(trusted),
        }
        if kept is not None:
            patch = {"metadata": {"resourceVersion": kept.version}, "data": data}
            await self._api.merge(f"{self._secrets}/{self._place.secret}", patch)
            return
        labels = {"app.kubernetes.io/name": "grove-dp", "app.kubernetes.io/managed-by": "grove-dp"}
        metadata = {"name": self._place.secret, "namespace": self._place.namespace, "labels": labels}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        await self._api.create(self._secrets, {**document, "type": "kubernetes.io/tls", "data": data})

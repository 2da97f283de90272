"""The serving certificate kept in a Secret by the adapters themselves, where no cert-manager does it.

All replicas serve the same one. Any of them may renew it: whoever writes the Secret first wins, the others
take what they find. The order is what keeps the aggregator from ever seeing a certificate that it cannot
verify:

    1  caBundle of the APIService: add the authority to be     (resourceVersion must not have moved)
    2  wait until the API servers have heard of it
    3  the Secret: new certificate, its authority, the one before     (the same)
    4  every replica finds it within ten seconds

Authorities leave the bundle by ending. A write that lost leaves one behind whose key no longer exists.
"""

import logging
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from grove_dp.clock import Clock
from grove_dp.kube.errors import ApiError
from grove_dp.metering.external.certificates import fits, serving, still_valid
from grove_dp.metering.external.documents import Conflict
from grove_dp.metering.external.registration import (
    APISERVICE,
    APISERVICE_PATH,
    ForeignApiService,
    check_owner,
)
from grove_dp.metering.external.tls import Certificate

__all__ = ["OwnCertificate", "Place"]

_log = logging.getLogger(__name__)

SETTLE_S: Final = 3.0
TRIES: Final = 3
TRUST_TRIES: Final = 10  # each replica writes there, and the API server its status
PAUSE_S: Final = 0.02


class Api(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def get(self, path: str) -> dict[str, Any]: ...
    async def create(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]: ...
    async def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]: ...


class Place(Struct, frozen=True):
    """Where the adapter is installed."""

    namespace: str
    service: str
    secret: str

    @property
    def names(self) -> tuple[str, ...]:
        """What the aggregator (`<service>.<namespace>.svc`) and others in the cluster call it."""
        short = f"{self.service}.{self.namespace}.svc"
        return short, f"{short}.cluster.local", f"{self.service}.{self.namespace}"


class _Kept(Struct):
    """The Secret as found."""

    certificate: Certificate
    trusted: str
    version: str


class OwnCertificate:
    """A certificate source that makes what it does not find."""

    def __init__(self, api: Api, place: Place, clock: Clock) -> None:
        self._api = api
        self._place = place
        self._clock = clock
        self._told_foreign = False
        self._secrets = f"/api/v1/namespaces/{place.namespace}/secrets"

    async def read(self) -> Certificate:
        """The certificate of the Secret, renewed if it is time. GroveError."""
        for _ in range(TRIES):
            kept = await self._kept()
            if kept is not None and fits(kept.certificate, self._place.names, self._clock.wall()):
                await self._make_trusted(kept.trusted)
                return kept.certificate
            renewed = await self._renew(kept)
            if renewed is not None:
                return renewed
        raise Conflict(f"Secret {self._place.secret}: others keep writing it; who else uses it?")

    async def _renew(self, kept: _Kept | None) -> Certificate | None:
        """A new certificate in the Secret; None if somebody else wrote it meanwhile."""
        certificate, authority = serving(self._place.names, self._clock.wall())
        before = [kept.trusted] if kept else []
        trusted = still_valid([authority, *before], self._clock.wall())
        if await self._make_trusted(trusted) and kept is not None:
            await self._clock.sleep(SETTLE_S)
        try:
            await self._write(certificate, trusted, kept)
        except ApiError as error:
            if error.code == 409:
                return None
            raise
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
        certificate = Certificate(_text(data.get("tls.crt")), _text(data.get("tls.key")))
        return _Kept(certificate, _text(data.get("ca.crt")), found["metadata"]["resourceVersion"])

    async def _write(self, certificate: Certificate, trusted: str, kept: _Kept | None) -> None:
        data = {
            "tls.crt": _base64(certificate.chain_pem),
            "tls.key": _base64(certificate.key_pem),
            "ca.crt": _base64(trusted),
        }
        if kept is not None:
            patch = {"metadata": {"resourceVersion": kept.version}, "data": data}
            await self._api.merge(f"{self._secrets}/{self._place.secret}", patch)
            return
        labels = {"app.kubernetes.io/name": "grove-dp", "app.kubernetes.io/managed-by": "grove-dp"}
        metadata = {"name": self._place.secret, "namespace": self._place.namespace, "labels": labels}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        await self._api.create(self._secrets, {**document, "type": "kubernetes.io/tls", "data": data})

    # ------------------------------------------------------------ the APIService

    async def _make_trusted(self, trusted: str) -> bool:
        """See that the API servers know *trusted*; whether that was new to them."""
        for turn in range(TRUST_TRIES):
            try:
                return await self._trust(still_valid([trusted], self._clock.wall()))
            except ForeignApiService as error:
                if not self._told_foreign:
                    _log.error("only KEDA can read us: %s [%s]", error, error.reason)
                self._told_foreign = True
                return False
            except ApiError as error:
                if error.code == 404:
                    return False  # not registered yet; for KEDA alone that is enough
                if error.code != 409:
                    raise
            await self._clock.sleep(PAUSE_S * turn)
        raise Conflict(f"APIService {APISERVICE}: others keep writing it; who else does?")

    async def _trust(self, trusted: str) -> bool:
        found = await self._api.get(APISERVICE_PATH)
        check_owner(found, self._place.namespace, self._place.service)
        self._told_foreign = False
        known = _text(found["spec"].get("caBundle"))
        if all(part in known for part in _parts(trusted)):
            return False
        bundle = still_valid([trusted, known], self._clock.wall())
        spec = {"caBundle": _base64(bundle), "insecureSkipTLSVerify": None}
        patch = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": spec}
        await self._api.merge(APISERVICE_PATH, patch)
        return True


def _parts(bundle: str) -> list[str]:
    end = "-----END CERTIFICATE-----"
    return [part.strip() for part in bundle.split(end) if part.strip()]


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _text(encoded: str | None) -> str:
    try:
        return b64decode(encoded or "").decode("ascii")
    except (NotBase64, UnicodeDecodeError):
        return ""

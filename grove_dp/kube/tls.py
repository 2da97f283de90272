"""The TLS side of a port: certificates change under it and nobody notices.

One outer context is given to the listener for good. Each handshake is handed to the context of the day
(in the callback for the server's name, which runs whether the client names one or not), so that a new
certificate or CA holds from the next connection on. Connections of yesterday's context are closed when idle:
what they showed was verified under a CA that may no longer be trusted.

Of clients' CAs only the one given is loaded, and a client certificate is asked for, not demanded: kubelet's
probes and Prometheus have none, whoever shows one of another CA is turned away in the handshake.

TLS 1.3 alone, without session tickets: a resumed session skips the client's certificate, and so the CA's
change. Keys never touch a disk: OpenSSL reads them from an anonymous file in memory.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from grove_dp.errors import GroveError

__all__ = ["BadCertificate", "Certificate", "CertificateFiles", "Face"]


class BadCertificate(GroveError):
    """A certificate, key or CA cannot be used."""

    reason = "BadCertificate"


class Certificate(Struct, frozen=True):
    """Chain and key, as PEM."""

    chain_pem: str
    key_pem: str

    def __repr__(self) -> str:
        return f"Certificate(chain of {self.chain_pem.count('BEGIN CERT')}, key)"  # a key is never logged


class CertificateFiles:
    """Chain and key in two files, as a mounted Secret shows them."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key

    async def read(self) -> Certificate:
        """BadCertificate if one cannot be read."""
        try:
            return Certificate(self._chain.read_text(encoding="ascii"), self._key.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadCertificate(f"{error}: the serving certificate cannot be read") from None


class Face:
    """The context of the day behind one that stays."""

    def __init__(self) -> None:
        self._today: ssl.SSLContext | None = None
        self.context = _bare()
        self.context.sni_callback = self._hand_over
        self.renewed = 0

    @property
    def ready(self) -> bool:
        """Whether there is a certificate to show."""
        return self._today is not None

    def renew(self, certificate: Certificate, client_ca_pem: str = "") -> None:
        """Show and trust this from the next handshake on. BadCertificate, then nothing changes."""
        fresh = _bare()
        try:
            with _in_memory(certificate.chain_pem) as chain, _in_memory(certificate.key_pem) as key:
                fresh.load_cert_chain(chain, key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise BadCertificate(f"serving certificate and key do not fit together: {error}") from None
        try:
            if client_ca_pem:
                fresh.load_verify_locations(cadata=client_ca_pem)
        except (ssl.SSLError, ValueError) as error:
            raise BadCertificate(f"request-header CA cannot be read: {error}") from None
        self._today = fresh
        self.renewed += 1

    def is_current(self, connection: ssl.SSLObject) -> bool:
        """Whether *connection* was made under the certificate and CA of today."""
        return connection.context is self._today

    def _hand_over(self, connection: ssl.SSLObject, name: str | None, outer: ssl.SSLContext) -> int | None:
        if self._today is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._today
        return None


def _bare() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; give it without a password")


@contextmanager
def _in_memory(pem: str) -> Iterator[str]:
    """A path that leads to *pem*."""
    file = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(file, pem.encode())
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)

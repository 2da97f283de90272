"""Certificates of a control plane, as the files that its programs want.

They are made as the metrics adapter makes its own: EC P-256 (all of a control plane's in 10 ms; RSA keys take
a second), valid from an hour ago. Nothing outlives the control plane's folder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from grove_dp.kube import certificates
from grove_dp.kube.certificates import private_key_pem
from grove_dp.kube.tls import Certificate

__all__ = ["Authority", "Credential", "private_key_pem", "public_key_pem"]


class Credential(msgspec.Struct, frozen=True):
    """A certificate with its key, and the authority that signed it, as PEM files."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """A certificate authority whose certificates are files in *folder*: `<name>.crt` and `<name>.key`."""

    def __init__(self, folder: Path, name: str, days: float = 2) -> None:
        self._folder = folder
        self._signer = certificates.Authority(name, time.time(), valid=timedelta(days=days))
        self._issued = 0
        self.certificate = folder / f"{name}.crt"
        self.certificate.write_text(self._signer.pem)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.read_bytes()

    def client(self, name: str, groups: Sequence[str] = (), file: str = "", days: float = 0) -> Credential:
        """A user of this name and these groups. Negative *days*: it expired so long ago."""
        valid = timedelta(days=days) if days else None
        return self._written(file or name, self._signer.client(name, groups, valid=valid))

    def server(self, hosts: Sequence[str], file: str = "") -> Credential:
        """A server under these names and addresses."""
        return self._written(file or hosts[0], self._signer.server(hosts))

    def _written(self, file: str, issued: Certificate) -> Credential:
        stem = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in file)
        self._issued += 1
        stem = f"{self._issued}-{stem}"  # the same name twice: neither takes the other's place
        built = Credential(self._folder / f"{stem}.crt", self._folder / f"{stem}.key", self.certificate)
        built.certificate.write_text(issued.chain_pem)
        built.key.touch(mode=0o600)
        built.key.write_text(issued.key_pem)
        return built


def public_key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half of a key."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )

"""Certificates of a control plane: authorities, what they sign, and the files that programs want.

EC P-256 throughout (all of a control plane's in 10 ms; RSA keys take a second). Each is valid from a day ago,
so that a clock set back does no harm, until *days* ahead. Nothing outlives the control plane's folder.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Credential", "private_key_pem", "public_key_pem"]

DAY = dt.timedelta(days=1)


class Credential(msgspec.Struct, frozen=True):
    """A certificate with its key, and the authority that signed it, as PEM files."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """A certificate authority whose certificates are files in *folder*: `<name>.crt` and `<name>.key`."""

    def __init__(self, folder: Path, name: str, days: float = 2) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(name, ())
        self._days = days
        self._issued = 0
        self.certificate = self._own_certificate(name)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.read_bytes()

    def client(self, name: str, groups: Sequence[str] = (), file: str = "", days: float = 0) -> Credential:
        """A user of this name and these groups. Negative *days*: it expired so long ago."""
        return self._issue(file or name, _subject(name, groups), (), days)

    def server(self, hosts: Sequence[str], file: str = "") -> Credential:
        """A server under these names and addresses."""
        return self._issue(file or hosts[0], _subject(hosts[0][:64], ()), hosts, 0)

    def _own_certificate(self, name: str) -> Path:
        built = (
            _builder(self._name, self._name, self._key.public_key(), self._days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signing=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{name}.crt"
        path.write_bytes(built.public_bytes(serialization.Encoding.PEM))
        return path

    def _issue(self, file: str, subject: x509.Name, hosts: Sequence[str], days: float) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(subject, self._name, key.public_key(), days or self._days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signing=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(identifier, critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        stem = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in file)
        self._issued += 1
        stem = f"{self._issued}-{stem}"  # the same name twice: neither takes the other's place
        built = Credential(self._folder / f"{stem}.crt", self._folder / f"{stem}.key", self.certificate)
        built.certificate.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        _write_secret(built.key, private_key_pem(key))
        return built


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key in the form that every program reads."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public half."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _subject(name: str, groups: Sequence[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    until = dt.datetime.now(dt.UTC) + days * DAY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(until, dt.datetime.now(dt.UTC)) - DAY)
        .not_valid_after(until)
    )


def _usage(signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signing,
        crl_sign=signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

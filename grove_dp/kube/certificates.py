"""Certificates that we make ourselves, where nobody else does.

Each serving certificate gets an authority of its own, whose key is thrown away as soon as it has signed. So
there is no authority's key to keep or to steal, and renewing the certificate *is* renewing the authority: one
path, walked every two months, instead of one that is walked first after ten years. Whoever verifies us trusts
the authorities of the last certificate and the one before (`trusted`).

EC P-256: every verifier knows it, and making both keys takes a millisecond.
"""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import islice
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from grove_dp.kube.tls import Certificate

__all__ = [
    "Authority",
    "decoded",
    "encoded",
    "expires",
    "fits",
    "private_key_pem",
    "serving",
    "still_valid",
    "widened",
]

VALID: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=30)
BUNDLE_MAX: Final = 16  # whoever deletes the Secret again and again makes a new authority each time
SKEW: Final = timedelta(hours=1)  # clocks of nodes differ


class Authority:
    """A CA that lives as long as this object."""

    def __init__(self, name: str, wall_s: float, *, valid: timedelta = VALID) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = _subject(name, ())
        self._now = datetime.fromtimestamp(wall_s, UTC)
        self._valid = valid
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            self._builder(self._name, self._key, valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signing=True), critical=True)
            .add_extension(own, critical=False)
        )
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return _pem(self._certificate)

    def server(self, names: Sequence[str]) -> Certificate:
        """A serving certificate for *names*, DNS names or addresses."""
        return self._issue(_subject(names[0][:64], ()), names, Usage.SERVER_AUTH, self._valid)

    def client(
        self, common_name: str, organizations: Sequence[str] = (), *, valid: timedelta | None = None
    ) -> Certificate:
        """A client certificate for a user and groups, as Kubernetes reads it, *valid* for as long as the
        authority itself unless told otherwise; less than nothing: it ended so long ago."""
        subject = _subject(common_name, organizations)
        return self._issue(subject, (), Usage.CLIENT_AUTH, self._valid if valid is None else valid)

    def _issue(
        self, subject: x509.Name, names: Sequence[str], use: x509.ObjectIdentifier, valid: timedelta
    ) -> Certificate:
        key = generate_private_key(SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            self._builder(subject, key, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signing=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(issuer, critical=False)
        )
        if names:
            known = x509.SubjectAlternativeName([_general(name) for name in names])
            builder = builder.add_extension(known, critical=False)
        return Certificate(_pem(builder.sign(self._key, hashes.SHA256())), private_key_pem(key))

    def _builder(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, valid: timedelta
    ) -> x509.CertificateBuilder:
        end = self._now + valid
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(self._now, end) - SKEW)
            .not_valid_after(end)
        )


def serving(names: Sequence[str], wall_s: float) -> tuple[Certificate, str]:
    """A certificate for *names* and the PEM of its authority."""
    authority = Authority(f"grove-dp {datetime.fromtimestamp(wall_s, UTC):%Y-%m-%dT%H:%M:%SZ}", wall_s)
    return authority.server(names), authority.pem


def expires(certificate: Certificate) -> float:
    """When its leaf ends, in seconds since 1970. ValueError if it is no certificate."""
    return _leaf(certificate.chain_pem).not_valid_after_utc.timestamp()


def fits(certificate: Certificate, names: Iterable[str], wall_s: float) -> bool:
    """Whether it stands for all of *names* and need not be renewed yet."""
    try:
        leaf = _leaf(certificate.chain_pem)
        known = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    now = datetime.fromtimestamp(wall_s, UTC)
    in_time = leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - RENEW_BEFORE
    return in_time and all(_general(name) in list(known) for name in names)


def still_valid(bundles: Iterable[str], wall_s: float) -> str:
    """The certificates of *bundles* that have not ended, each once, the first BUNDLE_MAX, as one PEM."""
    now = datetime.fromtimestamp(wall_s, UTC)
    kept: dict[bytes, str] = {}
    for bundle in bundles:
        for found in _certificates(bundle):
            if now < found.not_valid_after_utc:
                kept.setdefault(found.fingerprint(hashes.SHA256()), _pem(found))
    return "".join(islice(kept.values(), BUNDLE_MAX))


def widened(held: str | None, trusted: str, wall_s: float) -> str | None:
    """*held*, a caBundle as it travels, with all authorities of *trusted*; None if it has them already."""
    known = decoded(held)
    end = "-----END CERTIFICATE-----"
    parts = [part.strip() for part in trusted.split(end) if part.strip()]
    if all(part in known for part in parts):
        return None
    return encoded(still_valid([trusted, known], wall_s))


def encoded(text: str) -> str:
    """As Secrets and caBundles hold text."""
    return b64encode(text.encode()).decode()


def decoded(text: str | None) -> str:
    """What `encoded` made; empty where it is no such thing."""
    try:
        return b64decode(text or "").decode("ascii")
    except (NotBase64, UnicodeDecodeError):
        return ""


def _certificates(bundle: str) -> list[x509.Certificate]:
    if "BEGIN CERTIFICATE" not in bundle:
        return []
    try:
        return x509.load_pem_x509_certificates(bundle.encode())
    except ValueError:
        return []  # what cannot be read cannot be trusted either


def _leaf(chain_pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain_pem.encode())[0]


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subject(common_name: str, organizations: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signing: bool) -> x509.KeyUsage:
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


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_key_pem(key: EllipticCurvePrivateKey) -> str:
    """The key in the form that every program reads."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()

"""Who asks: a user vouched for by the API server's front proxy, or the bearer of a token.

The aggregator asks in the name of others: it shows a client certificate of the request-header CA and names
the user in headers. Anyone can write headers, so they are read only when that certificate was verified in the
TLS handshake *and* its common name is one that the cluster allows. What the cluster trusts stands in the
ConfigMap kube-system/extension-apiserver-authentication; it changes when CAs rotate.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from grove_dp.errors import GroveError

__all__ = ["FrontProxy", "Headers", "TrustUnknown", "User", "bearer", "common_name", "front_proxy", "proxied"]

_CA: Final = "requestheader-client-ca-file"
_NAMES: Final = "requestheader-allowed-names"
_USER: Final = "requestheader-username-headers"
_UID: Final = "requestheader-uid-headers"
_GROUP: Final = "requestheader-group-headers"
_EXTRA: Final = "requestheader-extra-headers-prefix"


class TrustUnknown(GroveError):
    """It is not known whom the API server's front proxy is."""

    reason = "TrustUnknown"
    status = 503


class User(Struct, frozen=True, kw_only=True):
    """Somebody as the API server knows them."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class FrontProxy(Struct, frozen=True, kw_only=True):
    """How to know the front proxy, and which headers it writes."""

    ca_pem: str
    allowed_names: tuple[str, ...] = ()  # none: any name that the CA signed
    user_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)
    shares_ca: bool = False  # with clients, and no name is asked for: any user could speak for all others

    def allows(self, name: str) -> bool:
        """Whether a certificate with this common name may speak for others."""
        return not self.shares_ca and (not self.allowed_names or name in self.allowed_names)


class Headers(Protocol):
    """A request's headers: names in any case, values in order."""

    def get(self, name: str, /) -> str | None: ...
    def getall(self, name: str, default: list[str], /) -> list[str]: ...
    def keys(self) -> Any: ...


def front_proxy(data: Mapping[str, str]) -> FrontProxy:
    """What the ConfigMap's *data* says. TrustUnknown if it does not say it."""
    ca = data.get(_CA, "")
    if "BEGIN CERTIFICATE" not in ca:
        raise TrustUnknown(
            f"{_CA} is missing: the API server runs without an aggregation layer;"
            " start it with --requestheader-client-ca-file"
        )
    default = FrontProxy(ca_pem=ca)
    names = _names(data, _NAMES, ())
    return FrontProxy(
        ca_pem=ca,
        allowed_names=names,
        user_headers=_names(data, _USER, default.user_headers),
        uid_headers=_names(data, _UID, default.uid_headers),
        group_headers=_names(data, _GROUP, default.group_headers),
        extra_prefixes=_names(data, _EXTRA, default.extra_prefixes),
        shares_ca=not names and _same_pem(ca, data.get("client-ca-file", "")),
    )


def _names(data: Mapping[str, str], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    text = data.get(key)
    if text is None:
        return default
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise TrustUnknown(f"{key} is no JSON list of words: {error}") from None


def _same_pem(one: str, other: str) -> bool:
    return one.split() == other.split()


# ---------------------------------------------------------------- reading a request


def common_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The common name of a verified certificate, as `ssl` describes it; None if it has none, or several."""
    if not certificate:
        return None
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return str(names[0]) if len(names) == 1 else None


def proxied(headers: Headers, proxy: FrontProxy) -> User | None:
    """The user that the front proxy speaks for. Only for a connection whose certificate `allows` that."""
    name = _first(headers, proxy.user_headers)
    if not name:
        return None
    user = User(
        name=name,
        uid=_first(headers, proxy.uid_headers),
        groups=tuple(
            group for header in proxy.group_headers for group in headers.getall(header, []) if group
        ),
        extra=_extra(headers, proxy.extra_prefixes),
    )
    return user if _is_text(user) else None


def _is_text(user: User) -> bool:
    """Whether the bytes that came were UTF-8: what was not cannot be said to the API server."""
    words = [user.name, user.uid, *user.groups]
    for key, values in user.extra:
        words += [key, *values]
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        return False
    return True


def _first(headers: Headers, names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := headers.get(name))), "")


def _extra(headers: Headers, prefixes: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for prefix in prefixes:
        for header in dict.fromkeys(str(key).lower() for key in headers.keys()):  # noqa: SIM118 - not a dict
            if header.startswith(prefix.lower()):
                key = unquote(header[len(prefix) :])
                found.setdefault(key, []).extend(headers.getall(header, []))
    return tuple((key, tuple(values)) for key, values in sorted(found.items()))


def bearer(headers: Headers) -> str | None:
    """The bearer token, if the request has one."""
    kind, _, token = (headers.get("Authorization") or "").partition(" ")
    token = token.strip()
    return token if kind.lower() == "bearer" and token.isascii() and token else None

"""A worker as somebody named it: a base URL, and what may stand beside it in a workers file or an admin call.

Only `http://HOST:PORT` is a worker's URL. What else a URL can hold would be lost silently (a path is not put
before the client's, TLS is not spoken), so it is refused, and the message says what to write.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal

import msgspec
from msgspec import Struct

from grove_dp.errors import ClientFault

__all__ = ["InvalidWorker", "Place", "Role", "Source", "WorkerSpec", "literal_address", "worker_spec"]

ID_MAX = 95  # bytes, GDP_ID_MAX less its final zero
DEFAULT_PORT = 8000
Source = Literal["config", "file", "admin", "kubernetes"]
Role = Literal["aggregated", "prefill", "decode"]


class InvalidWorker(ClientFault):
    """What was given does not describe a worker."""

    reason = "InvalidWorker"


class Place(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a cluster a worker is; empty where nobody said."""

    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    pcs: str = ""  # PodCliqueSet
    pcsg: str = ""  # PodCliqueScalingGroup
    pclq: str = ""  # PodClique
    component: str = ""  # what is scaled: the scaling group's or the clique's name inside its set
    role: Role = "aggregated"


NOWHERE = Place()


class WorkerSpec(Struct, frozen=True, kw_only=True):
    """A worker as somebody named it."""

    id: str
    host: str  # name or literal, without brackets
    port: int
    source: Source
    max_inflight: int | None = None  # None: the setting workers.max_inflight
    draining: bool = False
    held: str = ""  # why its source wants nothing new given to it, one word; lies over everything else
    models: tuple[str, ...] = ()  # given: never asked for
    rank: int = -1  # data-parallel rank that this worker is; -1: the endpoint has only one, or chooses itself
    place: Place = NOWHERE

    @property
    def authority(self) -> str:
        """host:port as in a URL; the Host header of every request to it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    @property
    def literal(self) -> str | None:
        """The address, where the host is one and needs no resolving."""
        return literal_address(self.host)


_URL = re.compile(
    r"(?P<scheme>[^:/?#]+)://(?:(?P<user>[^/?#]*)@)?(?P<host>\[[^\]/?#]*\]|[^:/?#\[\]]*)"
    r"(?::(?P<port>[^/?#]*))?(?P<path>[^?#]*)(?P<query>.*)",
    re.DOTALL,
)
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
_ID = re.compile(r"[!-~]+")
_Part = Callable[[Mapping[str, str | None]], str | None]


def _is_http(part: Mapping[str, str | None]) -> str | None:
    return None if (part["scheme"] or "").lower() == "http" else "only http:// is supported"


def _has_no_user(part: Mapping[str, str | None]) -> str | None:
    return None if part["user"] is None else "a user or password is not supported"


def _has_no_path(part: Mapping[str, str | None]) -> str | None:
    return None if part["path"] in ("", "/") else f"a path ({part['path']}) is not supported"


def _has_no_query(part: Mapping[str, str | None]) -> str | None:
    return None if not part["query"] else "a query or fragment is not supported"


def _has_a_host(part: Mapping[str, str | None]) -> str | None:
    host = part["host"] or ""
    if host.startswith("["):
        fine = (literal_address(host[1:-1]) or "").count(":") > 0
    else:
        fine = literal_address(host) is not None or _NAME.fullmatch(host.lower()) is not None
    return None if fine else f"{host!r} is neither a host name nor an address"


def _has_a_port(part: Mapping[str, str | None]) -> str | None:
    port = part["port"]
    if port is None or (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        return None
    return f"port {port!r} is not 1..65535"


_URL_CHECKS: tuple[_Part, ...] = (
    _is_http,
    _has_no_user,
    _has_no_path,
    _has_no_query,
    _has_a_host,
    _has_a_port,
)


@lru_cache(maxsize=8_192)  # PERF: asked of every worker after every change
def literal_address(host: str) -> str | None:
    """The host in its shortest form if it is an IP address, else None."""
    try:
        return str(ip_address(host)) if "%" not in host else None
    except ValueError:
        return None


def worker_spec(
    url: str,
    source: Source,
    *,
    id: str | None = None,  # noqa: A002
    max_inflight: int | None = None,
    draining: bool = False,
    held: str = "",
    models: Sequence[str] = (),
    rank: int = -1,
    place: Place = NOWHERE,
) -> WorkerSpec:
    """Read a worker's URL; InvalidWorker names the URL and what to write instead."""
    found = _URL.fullmatch(url)
    parts = found.groupdict() if found else {"scheme": None}
    objection = next((said for check in _URL_CHECKS if (said := check(parts))), None)
    if objection is not None:
        raise InvalidWorker(f"worker {url!r}: {objection}; write http://HOST:PORT")
    host = str(parts["host"]).strip("[]").lower()
    spec = WorkerSpec(
        id=id or "",
        host=literal_address(host) or host,
        port=int(parts["port"] or DEFAULT_PORT),
        source=source,
        max_inflight=max_inflight,
        draining=draining,
        held=held,
        models=tuple(models),
        rank=rank,
        place=place,
    )
    if id is None:
        spec = msgspec.structs.replace(spec, id=spec.authority)
    elif not _ID.fullmatch(id) or "/" in id:
        raise InvalidWorker(f"worker {url!r}: id {id!r} must be printable ASCII without spaces or slashes")
    if rank > 0:
        spec = msgspec.structs.replace(spec, id=f"{spec.id}~{rank}")
    if len(spec.id) > ID_MAX or len(spec.authority) > ID_MAX:
        raise InvalidWorker(f"worker {url!r}: its id is longer than {ID_MAX} bytes; give it a shorter one")
    if max_inflight is not None and max_inflight < 0:
        raise InvalidWorker(f"worker {url!r}: max_inflight must be 0 (no cap) or more, got {max_inflight}")
    return spec

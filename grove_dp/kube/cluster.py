"""The cluster over the network: the only place that knows the `kubernetes` package.

The package does what must not be written twice: kubeconfig, exec plugins, OIDC, the pod's token that changes
on disk, TLS. Its typed models are left out: they decode 124 times slower than a Struct of the few fields
wanted, and a read, changed and written object loses the fields that a newer server knows and they do not.

A refused credential (401) is read again from where it came from, once per RELOAD_S, and the call repeated. So
is the authority, where the API server shows a certificate of another. What was renewed on disk needs no
restart. Connections ask for a sign of life after KEEPALIVE_S, so one whose other end went away in silence is
noticed in half a minute.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from kubernetes.aio import client as _client
from kubernetes.aio import config as _config

from grove_dp.kube.abandoned import forgive_abandoned
from grove_dp.kube.errors import NoCluster
from grove_dp.kube.transport import Answer, Stream

__all__ = ["Cluster", "open_cluster"]

RELOAD_S: Final = 10.0
KEEPALIVE_S: Final = 15
PROBES: Final = 3
CONNECTIONS: Final = 100
READ_BUFFER: Final = 1 << 20
OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def open_cluster(kubeconfig: Path | None, context: str | None) -> "Cluster":
    """The cluster of *kubeconfig*; without one that of $KUBECONFIG, of our pod, or of ~/.kube/config.

    NoCluster says what was looked for.
    """
    files = _kubeconfig(kubeconfig)
    configuration = await _load(files, context)
    forgive_abandoned(asyncio.get_running_loop())
    return Cluster(files, context, configuration, _namespace(files, context))


def _kubeconfig(named: Path | None) -> str | None:
    """The file or files to read; None is the configuration that Kubernetes gives each pod."""
    files = str(named) if named else os.environ.get("KUBECONFIG")
    if files is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        return None
    files = files or str(Path("~/.kube/config").expanduser())
    if not any(Path(file).is_file() for file in files.split(os.pathsep)):
        raise NoCluster(f"{files}: no such kubeconfig; name one with --kubeconfig or KUBECONFIG")
    return files


async def _load(files: str | None, context: str | None) -> Any:
    configuration: Any = type.__call__(_client.Configuration)  # the package's own way past its defaults
    load_file: Any = _config.load_kube_config
    load_pod: Any = _config.load_incluster_config
    try:
        if files is None:
            load_pod(client_configuration=configuration)
        else:
            await load_file(files, context=context, client_configuration=configuration, persist_config=False)
    except (_config.ConfigException, OSError, TypeError, KeyError, ValueError, yaml.YAMLError) as error:
        raise NoCluster(f"{files or 'this pod'}: no configuration for a cluster there: {error}") from None
    return configuration


def _namespace(files: str | None, context: str | None) -> str:
    """The one that a pod is in, or that the context names."""
    if files is None:
        return OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.is_file() else "default"
    contexts: Any = _config.list_kube_config_contexts
    known, active = contexts(files)
    chosen = next((found for found in known if found["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


class Cluster:
    """A `Transport` over HTTP/1.1 and TLS."""

    def __init__(self, files: str | None, context: str | None, configuration: Any, namespace: str) -> None:
        self.namespace = namespace
        self._files = files
        self._context = context
        self._loaded_at = time.monotonic()
        self._retired: aiohttp.ClientSession | None = None
        self._take(configuration)

    def _take(self, configuration: Any) -> None:
        self._configuration = configuration
        self.host: str = configuration.host
        made: Any = _client.rest.RESTClientObject(configuration)  # reads certificates and keys
        connector = aiohttp.TCPConnector(ssl=made.ssl_context, limit=CONNECTIONS, socket_factory=_lively)
        # PERF: trust_env looks for proxies and a netrc, 400 µs a call; the configuration says its own proxy
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER,
            timeout=aiohttp.ClientTimeout(total=None),  # each caller has its own
        )
        self._options: dict[str, Any] = {"allow_redirects": False}
        if configuration.proxy:
            self._options |= {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        if configuration.tls_server_name:
            self._options["server_hostname"] = configuration.tls_server_name

    async def close(self) -> None:
        """Close its connections; what still reads from them ends."""
        await self._session.close()
        if self._retired is not None:
            await self._retired.close()
        for _ in range(2):
            await asyncio.sleep(0)  # sockets are closed in the turn after; a loop may end with this call

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """One call; a credential that is refused is read again first."""
        answer = await self._exchange(method, target, headers, body)
        if answer.status == 401 and await self._reload():
            return await self._exchange(method, target, headers, body)
        return answer

    async def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        try:
            async with self._session.request(
                method, self.host + target, data=body, headers=await self._signed(headers), **self._options
            ) as answer:
                return Answer(answer.status, _lower(answer), await answer.read())
        except aiohttp.ClientError as error:
            raise await self._unreached(error) from error

    @asynccontextmanager
    async def stream(self, target: str, headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        """An open GET."""
        signed = await self._signed(headers)
        try:
            async with self._session.get(self.host + target, headers=signed, **self._options) as answer:
                if answer.status == 401:
                    await self._reload()  # the next try has the new one
                try:
                    yield _Stream(answer)
                finally:
                    _cut(answer)
        except aiohttp.ClientError as error:
            raise await self._unreached(error) from error

    async def _unreached(self, error: aiohttp.ClientError) -> ConnectionError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            await self._reload()  # the next try may know its authority
        return ConnectionError(str(error) or type(error).__name__)

    async def _signed(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {**headers, "Authorization": token.strip()} if token else headers

    async def _reload(self) -> bool:
        """Read the configuration again; False if that was done just now, or there is none any more."""
        if time.monotonic() - self._loaded_at < RELOAD_S:
            return False
        self._loaded_at = time.monotonic()
        try:
            configuration = await _load(self._files, self._context)
            old = self._session
            self._take(configuration)
        except (NoCluster, OSError):  # half written: the old one may still do for something
            return False
        if self._retired is not None:
            await self._retired.close()
        self._retired = old  # calls under way end on it
        return True


def _cut(answer: aiohttp.ClientResponse) -> None:
    """End a connection whose answer was not read to its end: TLS would say good-bye for half a minute."""
    connection = answer.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


class _Stream:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers: Mapping[str, str] = _lower(answer)

    def chunks(self) -> AsyncIterator[bytes]:
        return self._answer.content.iter_any()

    async def read(self) -> bytes:
        return await self._answer.read()


def _lower(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _lively(address: Any) -> socket.socket:
    """A socket that notices within KEEPALIVE_S x 2 that nobody is there any more."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_S // PROBES),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", 2_000 * KEEPALIVE_S),
    ):
        if hasattr(socket, option):  # Linux has all of them
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made

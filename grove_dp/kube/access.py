"""Configuration, authentication and transport: the only place that knows the `kubernetes` package.

The package does what must not be written twice (kubeconfig, exec plugins, OIDC, the pod's token that changes
on disk, TLS). Its typed models are left out: they decode 124 times slower than a Struct of the few fields
wanted, and a read, changed and written object loses the fields that a newer server knows and they do not.
So calls take paths and plain documents and give bytes' worth of Structs:

    async with await connect() as api:
        found = await api.get("/api/v1/namespaces/kube-system/configmaps/x", into=ConfigMap)

Writes are patches of the fields that are ours, never a document that was read before.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio import client as _client
from kubernetes.aio import config as _config

from grove_dp.kube.errors import ApiUnreachable, NoCluster, refused

__all__ = ["Access", "connect"]

T = TypeVar("T")

TIMEOUT_S: Final = 10.0
JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML


async def connect(kubeconfig: Path | None = None, context: str | None = None) -> "Access":
    """The cluster of *kubeconfig*; without one that of $KUBECONFIG, of our pod, or of ~/.kube/config.

    NoCluster says what was looked for.
    """
    configuration: Any = type.__call__(_client.Configuration)  # the package's own way past its defaults
    load_file: Any = _config.load_kube_config
    load_pod: Any = _config.load_incluster_config
    files = _kubeconfig(kubeconfig)
    try:
        if files is None:
            load_pod(client_configuration=configuration)
        else:
            await load_file(files, context=context, client_configuration=configuration, persist_config=False)
    except (_config.ConfigException, OSError, TypeError, KeyError) as error:
        raise NoCluster(f"{files or 'this pod'}: no configuration for a cluster there: {error}") from None
    configuration.client_session_kwargs = {"trust_env": False}  # PERF: looking for proxies is 400 µs a call
    return Access(configuration)


def _kubeconfig(named: Path | None) -> str | None:
    """The file or files to read; None is the configuration that Kubernetes gives each pod."""
    files = str(named) if named else os.environ.get("KUBECONFIG")
    if files is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        return None
    files = files or str(Path("~/.kube/config").expanduser())
    if not any(Path(file).is_file() for file in files.split(os.pathsep)):
        raise NoCluster(f"{files}: no such kubeconfig; name one with --kubeconfig or KUBECONFIG")
    return files


class Access:
    """One cluster, as one user."""

    def __init__(self, configuration: Any) -> None:
        """*configuration* of the `kubernetes` package; see `connect`."""
        self._client: Any = _client.ApiClient(configuration)
        self._client.user_agent = "grove-dp"
        self.host: str = configuration.host

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------ calls

    @overload
    async def get(self, path: str, *, query: Mapping[str, str] = ...) -> dict[str, Any]: ...
    @overload
    async def get(self, path: str, *, into: type[T], query: Mapping[str, str] = ...) -> T: ...
    async def get(self, path: str, *, into: Any = dict[str, Any], query: Mapping[str, str] = {}) -> Any:
        """Read one object or a list."""
        return await self._call("GET", path, into, query)

    @overload
    async def create(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]: ...
    @overload
    async def create(self, path: str, document: Mapping[str, Any], *, into: type[T]) -> T: ...
    async def create(self, path: str, document: Mapping[str, Any], *, into: Any = dict[str, Any]) -> Any:
        """POST *document* to the collection, or ask a review."""
        return await self._call("POST", path, into, {}, document, JSON)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch an object; with `metadata.resourceVersion` only if it has not changed since (409)."""
        patched: dict[str, Any] = await self._call("PATCH", path, dict[str, Any], {}, patch, MERGE)
        return patched

    async def apply(
        self, path: str, document: Mapping[str, Any], manager: str, *, force: bool = False
    ) -> dict[str, Any]:
        """Server-side apply: make it so, as owner *manager* of the fields; 409 where another owns one."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        applied: dict[str, Any] = await self._call("PATCH", path, dict[str, Any], query, document, APPLY)
        return applied

    async def delete(self, path: str) -> None:
        """Delete an object; 404 if there is none."""
        await self._call("DELETE", path, msgspec.Raw, {})

    async def _call(
        self,
        method: str,
        path: str,
        into: Any,
        query: Mapping[str, str],
        document: Mapping[str, Any] | None = None,
        content: str = JSON,
    ) -> Any:
        called = f"{method} {path}"
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, body = await self._exchange(method, target, document, content)
        except TimeoutError:
            raise ApiUnreachable(f"{called}: no answer from {self.host} in {TIMEOUT_S:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnreachable(f"{called}: {self.host} cannot be reached: {error}") from None
        if status >= 400:
            raise refused(called, status, body)
        try:
            return msgspec.json.decode(body, type=into)
        except msgspec.DecodeError as error:
            raise ApiUnreachable(f"{called}: {self.host} answered something else: {error}") from None

    async def _exchange(
        self, method: str, target: str, document: Mapping[str, Any] | None, content: str
    ) -> tuple[int, bytes]:
        headers = {"Accept": JSON, "Content-Type": content}
        method, url, headers, body, _ = await self._client.param_serialize(
            method, target, header_params=headers, body=document, auth_settings=["BearerToken"]
        )
        answer = await self._client.call_api(method, url, headers, body)
        data: bytes = await answer.read()
        return answer.status, data

"""Which workers there are: the list in the settings, names and their addresses, a file that may change.

One URL is one worker. Its name is resolved when it comes and each workers.resolve_s; of several addresses
the first is used, and kept while it stays among the answers, so that a round-robin name does not make a
worker wander. A name that cannot be resolved any more keeps its last address: DNS being down is no reason
to stop serving.

The workers file is YAML (JSON is YAML too), a list of URLs or of mappings:

    - http://10.0.0.7:8000
    - {url: "http://gpu-3:8000", id: gpu-3, max_inflight: 64, draining: false, models: [llama-3-8b]}
    - {url: "http://gpu-4:8000", ranks: 8}      eight data-parallel ranks: gpu-4:8000, gpu-4:8000~1, ... ~7
    - {url: "http://10.0.0.8:8000", place: {namespace: ml, pcs: llama, component: decode, role: decode}}

It is looked at each second: by stat, then by content. That follows a ConfigMap, whose files are links that
get swapped, where inotify on the file would watch the old one for ever.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Struct

from grove_dp.clock import Clock
from grove_dp.errors import ConfigurationError
from grove_dp.frontend.followers import Followers
from grove_dp.routing.specs import InvalidWorker, Place, Source, WorkerSpec, worker_spec
from grove_dp.routing.workers import Registry, Worker
from grove_dp.settings import Settings

__all__ = ["Entry", "FileWatch", "Resolver", "listed_workers", "lookup", "read_workers"]

FILE_S = 1.0
LOOKUP_RETRY_S = 1.0

_log = logging.getLogger(__name__)


class Entry(Struct, kw_only=True, forbid_unknown_fields=True):
    """A worker in the workers file or in POST /workers."""

    url: str
    id: str | None = None
    max_inflight: int | None = None
    draining: bool = False
    model: str | None = None
    models: list[str] = []
    ranks: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    place: Place = Place()

    def specs(self, source: Source) -> list[WorkerSpec]:
        """What it says, checked: one worker for each data-parallel rank."""
        models = [*self.models, *([self.model] if self.model is not None else [])]
        return [
            worker_spec(
                self.url,
                source,
                id=self.id,
                max_inflight=self.max_inflight,
                draining=self.draining,
                models=models,
                rank=rank if self.ranks > 1 else -1,
                place=self.place,
            )
            for rank in range(self.ranks)
        ]


# ---------------------------------------------------------------- lists


def listed_workers(settings: Settings, origin: str) -> list[WorkerSpec]:
    """The workers of the setting workers.urls; ConfigurationError names each wrong entry and *origin*."""
    entries = [Entry(url=url) for url in settings.workers.urls]
    return _specs(entries, settings, "config", f"{origin}: workers.urls")


def read_workers(path: Path, settings: Settings) -> list[WorkerSpec]:
    """The workers of the workers file; ConfigurationError names file, entry and remedy."""
    try:
        return _decoded(path.read_bytes(), path, settings)
    except OSError as error:
        raise ConfigurationError(f"{path}: workers.file cannot be read: {error.strerror}") from None


def _decoded(content: bytes, path: Path, settings: Settings) -> list[WorkerSpec]:
    try:
        listed = msgspec.yaml.decode(content, type=list[str | Entry] | None) or []
    except msgspec.DecodeError as error:
        told = " ".join(str(error).split())
        raise ConfigurationError(f"{path}: {told}; write a list of `- url: http://HOST:PORT`") from None
    entries = [Entry(url=item) if isinstance(item, str) else item for item in listed]
    return _specs(entries, settings, "file", str(path))


def _specs(entries: Sequence[Entry], settings: Settings, source: Source, place: str) -> list[WorkerSpec]:
    specs: dict[str, WorkerSpec] = {}
    problems = []
    for number, entry in enumerate(entries, 1):
        try:
            found = entry.specs(source)
        except InvalidWorker as error:
            problems.append(f"{place}: entry {number}: {error}")
            continue
        for spec in found:
            if spec.id in specs:
                problems.append(f"{place}: entry {number}: worker {spec.id} is named twice; remove one")
            specs[spec.id] = with_default_model(spec, settings)
    if problems:
        raise ConfigurationError(problems)
    return list(specs.values())


def with_default_model(spec: WorkerSpec, settings: Settings) -> WorkerSpec:
    """The worker with the setting workers.model, unless it names its own."""
    model = settings.workers.model
    return spec if spec.models or model is None else msgspec.structs.replace(spec, models=(model,))


# ---------------------------------------------------------------- the file


class FileWatch:
    """Reads the workers file again when it changed."""

    def __init__(self, path: Path, reread: Callable[[], None], clock: Clock) -> None:
        self._path = path
        self._reread = reread
        self._clock = clock
        self._stamp: tuple[int, ...] | None = None
        self._content: bytes | None = None

    async def run(self) -> None:
        """Look each second until cancelled; call `moved` before the first reading."""
        while True:
            await self._clock.sleep(FILE_S)
            if self.moved():
                self._reread()

    def moved(self) -> bool:
        """True when the content is another than at the last call; a file that went away counts once."""
        try:
            stat = self._path.stat()
            stamp: tuple[int, ...] = (stat.st_mtime_ns, stat.st_ino, stat.st_dev, stat.st_size)
            if stamp == self._stamp:
                return False
            content = self._path.read_bytes()
        except OSError:
            stamp, content = (), b""
        before, self._stamp, self._content = self._content, stamp, content
        return content != before


# ---------------------------------------------------------------- names

Lookup = Callable[[str, int], Awaitable[list[str]]]


async def lookup(host: str, port: int) -> list[str]:
    """The addresses of a name in the resolver's order, asked in a thread. OSError when there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Resolver:
    """Keeps the address of every worker that has a name."""

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], Settings],
        changed: Callable[[], None],
        clock: Clock,
        lookup: Lookup = lookup,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._changed = changed
        self._clock = clock
        self._lookup = lookup
        self._followers = Followers(registry, self._watch, lambda worker: worker.spec.literal is None)
        self.follow = self._followers.follow

    async def run(self) -> None:
        """Resolve until cancelled."""
        await self._followers.run()

    async def _watch(self, worker: Worker) -> None:
        while True:
            await self._resolve(worker)
            pause_s = self._settings().workers.resolve_s
            await self._clock.sleep(min(pause_s, LOOKUP_RETRY_S) if worker.address is None else pause_s)

    async def _resolve(self, worker: Worker) -> None:
        spec = worker.spec
        try:
            addresses = await self._lookup(spec.host, spec.port)
        except OSError as error:
            if self._registry.not_resolved(worker):
                facts = {"worker": spec.id, "error": error.strerror or str(error), "kept": worker.address}
                _log.warning("name of a worker not resolved", extra=facts)
                self._changed()
            return
        if self._registry.resolved(worker, addresses):
            _log.info("name of a worker resolved", extra={"worker": spec.id, "address": worker.address})
            self._changed()

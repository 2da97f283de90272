"""The role `serve`, put together: what is started in which order, what a reload changes, how it ends.

The order of a start serves the first request as soon as it can: sockets first (the kernel queues
connections while the rest starts), then a table with every worker that is named, then the I/O threads, then
probes to all workers at once; a request that comes before the first worker is ready waits queue.no_worker_s
for it.

A bug in a control task ends the process (a supervisor starts another) rather than serve on with stale
tables.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from grove_dp.clock import Clock
from grove_dp.config import Loaded, changes
from grove_dp.errors import ConfigurationError, GroveError
from grove_dp.frontend.admin import AdminPort
from grove_dp.frontend.asking import Asker
from grove_dp.frontend.discovery import FileWatch, Resolver, listed_workers, lookup, read_workers
from grove_dp.frontend.guard import read_token
from grove_dp.frontend.health import Prober
from grove_dp.frontend.kvfeeds import KvFeeds
from grove_dp.frontend.lag import Burn, burn, watch_lag
from grove_dp.frontend.plane import DataPlane, NestedLoop
from grove_dp.frontend.pods import PodWorkers
from grove_dp.frontend.readiness import State
from grove_dp.frontend.readings import cache_reading
from grove_dp.frontend.scraper import Scraper
from grove_dp.frontend.shutdown import Stop, shut_down
from grove_dp.frontend.signals import SignalsFeed
from grove_dp.frontend.tokens import Tokenizers, TokenThread
from grove_dp.frontend.watchman import Watchman
from grove_dp.metering.prometheus import ControlMetrics, Page
from grove_dp.metering.routing import KvReading
from grove_dp.native.indexer import Indexer
from grove_dp.native.kv import ChainKey
from grove_dp.native.plane import SLOTS_MAX, Plane
from grove_dp.routing.specs import literal_address
from grove_dp.routing.workers import Registry
from grove_dp.settings import Settings

if TYPE_CHECKING:
    from grove_dp.frontend.external import Sole

__all__ = ["CannotListen", "Frontend", "Surroundings", "live_settings"]

_log = logging.getLogger(__name__)


class CannotListen(GroveError):
    """A port of ours is not to be had."""

    reason = "CannotListen"


class Surroundings(NamedTuple):
    """What a frontend takes from its process."""

    load: Callable[[], Loaded]  # read the settings again
    set_level: Callable[[str], None]  # of the log
    clock: Clock
    rng: Random
    burn: Burn | None = None


class Frontend:
    """One `grove-dp serve`."""

    def __init__(self, loaded: Loaded, around: Surroundings) -> None:
        self._loaded = loaded
        self._around = around
        self._config_error = ""
        self._listening = False
        self._stop = Stop()
        settings = loaded.settings
        self.registry = Registry(SLOTS_MAX)
        secret = _secret(settings.routing.hash_key_file, around.rng)
        self.indexer = Indexer(
            secret, settings.index.memory_bytes, settings.index.predicted_pct, settings.index.ring_bytes
        )
        self.plane = DataPlane(
            Plane(settings.http.threads, around.rng.getrandbits(63)), self.registry, settings
        )
        self.plane.native.attach(self.indexer)
        self.metrics = ControlMetrics()
        self._asker = Asker()
        self.token_thread = TokenThread(
            self.plane.native, lambda why: self.metrics.tokens_refused.labels(why).inc()
        )
        self._follow(around, secret)
        self.watchman = Watchman(self.plane, self.kv_feeds.warmed, around.clock)
        boot_id = f"{around.rng.getrandbits(64):016x}"
        self.signals = SignalsFeed(
            self.plane, boot_id, around.clock, self.metrics.startup.observe, lambda: self._stop.asked
        )
        self.admin = AdminPort(
            self.plane,
            Page(self.plane.meter, self.metrics.registry),
            self.state,
            lambda: self._loaded,
            self.signals,
            self._caches,
            self.indexer.stats,
        )
        self._external: Sole | None = None
        self._file = Path(settings.workers.file) if settings.workers.file else None
        self._watch = FileWatch(self._file, self._reread, around.clock) if self._file else None
        self._pods = None
        if settings.workers.kubernetes is not None:
            self._pods = PodWorkers(
                self.registry, self._settings, self.plane.changed, around.clock, around.rng
            )

    def _follow(self, around: Surroundings, secret: bytes) -> None:
        """Everything that has a task per worker or looks at all of them after each change."""
        registry, plane, asker, clock = self.registry, self.plane, self._asker, around.clock
        native, changed = plane.native, plane.changed
        self._prober = Prober(
            registry, self._settings, asker, changed, native.close_circuit, clock, around.rng
        )
        self._resolver = Resolver(registry, self._settings, changed, clock)
        self.kv_feeds = KvFeeds(registry, self._settings, asker, self.indexer, changed, clock)
        self._scraper = Scraper(
            registry, asker, native.scraped, self.metrics.scrape_failures.inc, changed, clock
        )
        self.tokenizers = Tokenizers(
            registry, self._settings, asker, ChainKey(secret), self.token_thread, changed, clock
        )
        plane.exact = self.tokenizers.exact
        for follower in (self._prober, self._resolver, self.kv_feeds, self._scraper, self.tokenizers):
            plane.on_change(follower.follow)

    def state(self) -> State:
        """What /readyz judges."""
        return State(self._listening, self._stop.asked, self._config_error, self.plane.published)

    def _caches(self) -> list[KvReading]:
        """What is known of each worker's cache."""
        feeds = self.kv_feeds.states()
        return [
            cache_reading(booked, feeds.get(booked.worker.slot), self.indexer, self.watchman.standings)
            for booked in self.plane.booked()
        ]

    def _settings(self) -> Settings:
        return self._loaded.settings

    # ------------------------------------------------------------ life

    async def run(self) -> int:
        """Serve until a signal ends it; the exit code."""
        try:
            with self._signals():
                self._register()
                if self._pods is not None:
                    await self._pods.open()
                port = await self._listen()
                self.plane.publish()
                with self._driven():
                    admin_port = await self._open_admin()
                    self._external = await self._open_external()
                    await self._serve(port, admin_port)
            return self._stop.exit_code
        finally:
            await self.admin.close()
            self.token_thread.close()
            self.plane.close()
            self.indexer.close()

    async def _serve(self, port: int, admin_port: int) -> None:
        async with self._asker, asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in self._loops()]
            http, admin = self._settings().http, self._settings().admin
            facts = {
                "data": f"http://{_authority(http.host, port)}",
                "admin": f"http://{_authority(admin.host, admin_port)}",
                "workers": len(self.registry),
            }
            _log.info("serving", extra=facts)
            if not len(self.registry) and self._pods is None:
                _log.warning("no workers yet; name some with --workers, workers.file or POST /workers")
            await self._stop.wait()
            await shut_down(self.plane, self._settings().drain, self._stop, self._around.clock)
            self._listening = False
            for task in tasks:
                task.cancel()

    def _loops(self) -> Iterator[Coroutine[Any, Any, None]]:
        clock = self._around.clock
        yield self._prober.run()
        yield self._resolver.run()
        yield self.kv_feeds.run()
        yield self._scraper.run()
        yield self.tokenizers.run()
        yield self.watchman.run()
        yield watch_lag(self.metrics.lag.observe, clock)
        if self._watch is not None:
            yield self._watch.run()
        if self._pods is not None:
            yield self._pods.run()
        if self._settings().http.access_log:
            self.signals.log_requests()
        yield self.signals.run()
        if self._external is not None:
            yield self._external.run(self._stop.wait)
        if self._around.burn is not None:
            yield burn(self._around.burn, clock)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.ask, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    @contextmanager
    def _driven(self) -> Iterator[None]:
        """The plane at work: in its own threads, or inside this loop."""
        self.indexer.start()
        self.token_thread.start()
        if self._settings().http.threads:
            self.plane.native.start()
            yield
        else:
            with NestedLoop(self.plane.native):
                yield

    # ------------------------------------------------------------ ports

    async def _listen(self) -> int:
        http = self._settings().http
        ip = literal_address(http.host) or (await _address("http.host", http.host))
        try:
            _check_free(ip, http.port)
            port = self.plane.native.listen(ip, http.port)
        except OSError as error:
            raise _cannot_listen("http", http.host, http.port, error) from None
        self._listening = True
        return port

    async def _open_admin(self) -> int:
        admin = self._settings().admin
        if admin.token_file:
            read_token(Path(admin.token_file))
        try:
            return await self.admin.open(admin.host, admin.port)
        except OSError as error:
            raise _cannot_listen("admin", admin.host, admin.port, error) from None

    async def _open_external(self) -> "Sole | None":
        """The port opens when there is a certificate; that it is free, and which cluster, is known now."""
        external = self._settings().external
        if external.mode == "off":
            return None
        from grove_dp.frontend.external import Sole  # PERF: 100 ms and 10 MB that most have no need of

        ip = literal_address(external.host) or (await _address("external.host", external.host))
        try:
            _check_free(ip, external.port)
        except OSError as error:
            raise _cannot_listen("external", external.host, external.port, error) from None
        cluster = self._settings().kubernetes
        return await Sole.connected(external, cluster, self.signals, self._around.clock)

    # ------------------------------------------------------------ workers and settings

    def _register(self) -> None:
        """The workers of the settings and of the file; ConfigurationError when either is wrong."""
        settings = self._settings()
        listed = listed_workers(settings, self._loaded.origins["workers.urls"])
        refused = self.registry.sync("config", listed)
        if self._file is not None and self._watch is not None:
            self._watch.moved()  # before reading: what changes from here on is seen
            refused += self.registry.sync("file", read_workers(self._file, settings))
        for why in refused:
            _log.warning("worker not taken: %s", why)

    def _reread(self) -> None:
        """The workers file changed."""
        self._reloaded(self._register, "workers file")

    def reload(self) -> None:
        """SIGHUP: read everything again, apply what is live, name what needs a restart."""
        self._reloaded(self._apply, "configuration")

    def _apply(self) -> None:
        before, read = self._loaded, self._around.load()
        settings = live_settings(before.settings, read.settings)
        listed_workers(settings, read.origins["workers.urls"])  # wrong: nothing of it is applied
        for change in changes(before.settings, read.settings):
            facts = {"setting": change.path, "before": change.before, "after": change.after}
            _log.log(
                logging.INFO if change.live else logging.WARNING,
                "setting changed" if change.live else "setting needs a restart",
                extra=facts,
            )
        self._loaded = Loaded(settings, read.origins)
        self.plane.settings = settings
        self._around.set_level(settings.log.level)
        self._register()

    def _reloaded(self, step: Callable[[], None], what: str) -> None:
        """Run a step of a reload; what is wrong is told loudly and the old state stays."""
        try:
            step()
        except ConfigurationError as error:
            self.metrics.reload_errors.inc()
            self._config_error = str(error)
            for message in error.messages:
                _log.error("%s is wrong, the old one stays: %s", what, message)
        else:
            self._config_error = ""
            _log.info("%s read again", what, extra={"workers": len(self.registry)})
        self.plane.changed()


def live_settings(before: Settings, read: Settings) -> Settings:
    """What was read, with the old value wherever a new one needs a restart."""
    kept: dict[str, dict[str, Any]] = {}
    for change in changes(before, read):
        if not change.live:
            section, _, name = change.path.partition(".")
            kept.setdefault(section, {})[name] = change.before
    sections = {
        section: msgspec.structs.replace(getattr(read, section), **values) for section, values in kept.items()
    }
    return msgspec.structs.replace(read, **sections)


def _secret(path: str | None, rng: Random) -> bytes:
    """The secret of the names of blocks: the file's, or one of this process alone."""
    if path is None:
        return rng.randbytes(32)
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"routing.hash_key_file: {path} cannot be read: {error.strerror}") from None
    if len(secret) < 16:
        raise ConfigurationError(
            f"routing.hash_key_file: {path} holds less than 16 bytes; write a longer secret"
        )
    return secret


async def _address(setting: str, host: str) -> str:
    try:
        return (await lookup(host, 0))[0]
    except OSError as error:
        raise ConfigurationError(f"{setting}: {host!r} is no address of this machine: {error}") from None


def _check_free(ip: str, port: int) -> None:
    """OSError if somebody listens there: sockets with SO_REUSEPORT would share the port with a stranger."""
    if port:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ip, port))


def _cannot_listen(section: str, host: str, port: int, error: OSError) -> CannotListen:
    flag = {"http": "--port", "admin": "--admin-port"}.get(section, f"--{section}.port")
    return CannotListen(
        f"{section}: cannot listen on {_authority(host, port)}: {error.strerror or error}; "
        f"end what listens there or choose another port with {flag}"
    )


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

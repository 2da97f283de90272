"""`grove-dp serve` as a process: started with given settings, asked through its admin port, ended by signals.

Tests see what an operator sees: two ports, an exit code, `/proc`. `settled` is the invariant that must hold
after every test whatever failed in it: nothing in flight on any worker's book, no exchange left.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from grove_dp.testing.http import Answer, RawClient

__all__ = ["PATIENCE_S", "Frontend", "eventually", "free_port"]

Section = Mapping[str, Any]
Seen = TypeVar("Seen")
PATIENCE_S = 30.0  # for what comes soon: only a test that fails waits so long, however busy the machine
START_S = 60.0
# Quick enough for tests, slow enough for a busy machine; a test that needs others says so.
TEST_SETTINGS: dict[str, Section] = {
    "health": {"interval_s": 0.1, "timeout_s": 3.0, "failures": 2, "models_interval_s": 0.3},
    "circuit": {"failures": 3, "open_s": 0.3},
    "drain": {"delay_s": 0.0, "grace_s": 5.0},
    "queue": {"no_worker_s": 0.3},
    "log": {"level": "debug"},
}


def free_port() -> int:
    """A port below the range from which the kernel takes outgoing ones."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


async def eventually(
    look: Callable[[], Awaitable[Seen]], good: Callable[[Seen], bool], within_s: float, what: str
) -> Seen:
    """Look again and again until what is seen is good; an error tells what was seen last."""
    deadline = time.monotonic() + within_s
    while not good(seen := await look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}; seen last: {seen}")
        await asyncio.sleep(0.02)
    return seen


class Frontend:
    """One process; settings are given by section: `Frontend([url], queue={"length": 2})`."""

    def __init__(
        self, urls: Sequence[str] = (), *, arguments: Sequence[str] = (), **settings: Section
    ) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.settings = _merged(TEST_SETTINGS, settings)
        self.settings["http"] = {"port": self.port, **self.settings.get("http", {})}
        self.settings["admin"] = {"port": self.admin_port, **self.settings.get("admin", {})}
        self.settings["workers"] = {"urls": list(urls), **self.settings.get("workers", {})}
        self._arguments = arguments
        self._folder = tempfile.TemporaryDirectory(prefix="grove-dp-test-")
        self._last_words = ""  # the log, once its folder is gone
        self._process: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()
        if error is not None:
            print(f"--- log of the frontend on port {self.port}\n{self.log()[-6000:]}")
        self._clean_up()

    async def start(self, ready: str = "/readyz") -> None:
        """Start and wait until *ready* on the admin port answers 200 (`/livez` where no worker will come)."""
        self._launch()
        try:
            await self.until(ready, 200, START_S)
        except BaseException:
            print(self.log()[-6000:])
            await self.end()
            self._clean_up()
            raise

    def _launch(self) -> None:
        config = Path(self._folder.name, "config.yaml")
        config.write_bytes(msgspec.json.encode(self.settings))  # JSON is YAML
        command = [sys.executable, "-m", "grove_dp", "serve", "--config", str(config), *self._arguments]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _clean_up(self) -> None:
        self._last_words = self.log()
        self._folder.cleanup()

    @property
    def _log_path(self) -> Path:
        return Path(self._folder.name, "log")

    @property
    def admin_url(self) -> str:
        """Of its control port."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What it wrote to stdout and stderr so far."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else self._last_words

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the process."""
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    async def exit_code(self, within_s: float = PATIENCE_S) -> int:
        """Wait for the process to end."""
        process = self._process
        assert process is not None, "not started"

        async def look() -> int | None:
            return process.poll()

        code = await eventually(look, lambda code: code is not None, within_s, "the process ends")
        assert code is not None
        return code

    async def end(self) -> None:
        """Two SIGTERMs (now), then SIGKILL."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self.running:
                self.signal(number)
                try:
                    await self.exit_code(3.0)
                except AssertionError:
                    continue

    # ------------------------------------------------------------ the data port

    async def client(self, receive_bytes: int = 0) -> RawClient:
        """A connection to the data port."""
        return await RawClient.open(self.port, receive_bytes=receive_bytes)

    async def ask(self, *pieces: bytes, method: str = "POST") -> Answer:
        """One request on its own connection, one answer."""
        async with await self.client() as client:
            await client.send(*pieces)
            return await client.answer(method)

    # ------------------------------------------------------------ the admin port

    async def admin(self, method: str, target: str, body: Any = None) -> Answer:
        """One call of the admin API."""
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {target} HTTP/1.1", "Host: admin", "Connection: close"]
        lines += [f"Content-Length: {len(content)}", "Content-Type: application/json"]
        async with await RawClient.open(self.admin_port) as client:
            await client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
            return await client.answer(method)

    async def until(self, target: str, status: int, within_s: float = PATIENCE_S) -> Answer:
        """Poll an admin page until it answers with *status*."""

        async def look() -> Answer | None:
            if not self.running:
                raise AssertionError(f"grove-dp serve ended with {await self.exit_code()}")
            try:
                return await self.admin("GET", target)
            except ConnectionError:
                return None

        def good(answer: Answer | None) -> bool:
            return answer is not None and answer.status == status

        answer = await eventually(look, good, within_s, f"{target} answers {status}")
        assert answer is not None
        return answer

    async def workers(self) -> dict[str, dict[str, Any]]:
        """GET /workers, by id."""
        answer = await self.admin("GET", "/workers")
        assert answer.status == 200, answer
        rows = msgspec.json.decode(answer.body)["workers"]
        return {row["id"]: row for row in rows}

    async def worker_until(
        self, worker_id: str, within_s: float = PATIENCE_S, **wanted: object
    ) -> dict[str, Any]:
        """Wait until the worker's row has these values."""

        async def look() -> dict[str, Any]:
            return (await self.workers()).get(worker_id, {})

        def good(row: dict[str, Any]) -> bool:
            return all(row.get(key) == value for key, value in wanted.items())

        return await eventually(look, good, within_s, f"{worker_id} becomes {wanted}")

    async def exchanges(self) -> list[dict[str, Any]]:
        """GET /debug/exchanges: what is in flight now."""
        answer = await self.admin("GET", "/debug/exchanges")
        assert answer.status == 200, answer
        return list(msgspec.json.decode(answer.body)["exchanges"])

    async def exchanges_until(self, count: int, within_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Wait until exactly so many exchanges are in flight."""
        wanted = f"{count} exchanges in flight"
        return await eventually(self.exchanges, lambda found: len(found) == count, within_s, wanted)

    async def settled(self, within_s: float = PATIENCE_S) -> None:
        """The books are zero: nothing in flight on any worker, no exchange left."""
        await self.exchanges_until(0, within_s)

        async def look() -> dict[str, int]:
            return {key: row["inflight"] for key, row in (await self.workers()).items() if row["inflight"]}

        await eventually(look, lambda booked: not booked, within_s, "nothing is booked")

    # ------------------------------------------------------------ /proc

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def sockets(self) -> int:
        """Open sockets of the process."""
        count = 0
        for path in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                count += str(path.readlink()).startswith("socket:")
            except FileNotFoundError:
                continue
        return count


def _merged(base: Mapping[str, Section], over: Mapping[str, Section]) -> dict[str, dict[str, Any]]:
    return {key: {**base.get(key, {}), **over.get(key, {})} for key in {**base, **over}}

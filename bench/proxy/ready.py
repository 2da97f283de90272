"""Is a proxy ready, and does it answer what the worker answers? Else its figures mean nothing."""

from __future__ import annotations

import http.client
import re
import subprocess
import time

from bench.proxy.bodies import BodySet, chat_bodies
from bench.proxy.tools import BenchError

__all__ = ["check_answers", "wait_ready"]

STAMP = re.compile(rb" t[0-9a-f]{16}")
ROUNDS = 8  # twice around four workers
PLAIN, STREAMED = (chat_bodies(BodySet(300, 16, stream=stream))[0] for stream in (False, True))


def _ask(port: int, body: bytes) -> tuple[int, bytes]:
    """Status and body (without its chunk framing), send times masked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, STAMP.sub(b" t", answer.read())
    finally:
        connection.close()


def wait_ready(port: int, process: subprocess.Popen[bytes], limit_s: float = 20.0) -> None:
    """Returns when the proxy has answered ROUNDS requests in a row."""
    end, good, last = time.monotonic() + limit_s, 0, "no answer yet"
    while good < ROUNDS:
        if process.poll() is not None:
            raise BenchError(f"ProxyEnded: exit status {process.returncode}")
        if time.monotonic() > end:
            raise BenchError(f"ProxyNotReady: after {limit_s:.0f} s, last: {last}")
        try:
            status, _ = _ask(port, PLAIN)
        except (OSError, http.client.HTTPException) as error:
            status, last = 0, repr(error)
        if status == 200:
            good += 1
        else:
            good, last = 0, f"status {status}" if status else last
            time.sleep(0.1)


def check_answers(port: int, worker_port: int) -> None:
    """The proxy's answers are the worker's, byte for byte."""
    for body in (PLAIN, STREAMED):
        direct, proxied = _ask(worker_port, body), _ask(port, body)
        if direct != proxied:
            raise BenchError(f"AnswerAltered:\n  worker: {direct!r}\n  proxy:  {proxied!r}")

"""Progress of what takes minutes: a line that rewrites itself on a terminal, now and then a line elsewhere.

A thread of its own tells it, because a compiler is silent while it links and a lock while somebody holds it.
What is over within two seconds says nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["Progress", "Task"]

SILENT_S = 2.0
TERMINAL_S = 0.2
LINES_S = 15.0


class Task:
    """What is being done, and how much of it is."""

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self._total = total
        self._done = 0
        self._began = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """So much more is done."""
        self._done += count

    def line(self) -> str:
        """What is done of it now."""
        share = (
            f": {self._done:,} of {self._total:,}" if self._total else f": {self._done:,}" * bool(self._done)
        )
        return f"{self.what}{share}, {_duration(time.monotonic() - self._began)}"


class Progress:
    """Tells on *stream*; *shown* may wrap a write, as a test runner that captures output needs."""

    def __init__(
        self, stream: TextIO | None = None, shown: Callable[[Callable[[], None]], None] | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._shown = shown or (lambda write: write())

    @contextmanager
    def task(self, what: str, total: int = 0) -> Iterator[Task]:
        """Tell of it until the block ends."""
        task, ended = Task(what, total), threading.Event()
        teller = threading.Thread(target=self._tell, args=(task, ended), daemon=True)
        teller.start()
        try:
            yield task
        finally:
            ended.set()
            teller.join()

    def _tell(self, task: Task, ended: threading.Event) -> None:
        if ended.wait(SILENT_S):
            return
        while True:
            over = ended.is_set()
            line = task.line()
            self._shown(lambda: self._write(line, over))  # noqa: B023  # called at once
            if over:
                return
            ended.wait(TERMINAL_S if self._stream.isatty() else LINES_S)

    def _write(self, line: str, over: bool) -> None:
        text = f"\r\x1b[K{line}" + "\n" * over if self._stream.isatty() else f"{line}\n"
        self._stream.write(text)
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"

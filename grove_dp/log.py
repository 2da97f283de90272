"""Logging: one line per event on stderr, for people (text) or machines (json), never blocking a loop.

A line is made where it is logged (24 µs) and written by a thread of its own, because a full pipe blocks a
write for as long as its reader likes. The queue between them is bounded; when it is full, lines are dropped
and counted, and the next line that gets through tells how many. Facts go into `extra`, not into the sentence:

    log.info("worker ejected", extra={"worker": "10.0.0.7:8000", "reason": "ConnectRefused"})

    2026-11-21T10:00:00.123Z info frontend.health: worker ejected worker=10.0.0.7:8000 reason=ConnectRefused
    {"ts":"2026-11-21T10:00:00.123Z","level":"info","logger":"frontend.health","message":"worker ejected",...}
"""

import contextlib
import logging
import queue
import sys
import threading
import time
from types import TracebackType
from typing import Any, Literal, Self, TextIO

import msgspec

__all__ = ["JsonFormatter", "LogWriter", "TextFormatter"]

QUEUE_LINES = 8192
CLOSE_S = 1.0
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """For people; a value with a space is quoted."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_stamp(record)} {record.levelname.lower()} {_logger(record)}: {record.getMessage()}"
        facts = "".join(f" {name}={_word(value)}" for name, value in _facts(record).items())
        return line + facts + "".join(f"\n{text}" for text in _traces(self, record))


class JsonFormatter(logging.Formatter):
    """For machines; facts stand beside the fixed fields, which they cannot replace."""

    def format(self, record: logging.LogRecord) -> str:
        fixed = {
            "ts": _stamp(record),
            "level": record.levelname.lower(),
            "logger": _logger(record),
            "message": record.getMessage(),
        }
        line = fixed | {name: value for name, value in _facts(record).items() if name not in fixed}
        if traces := _traces(self, record):
            line["exception"] = "\n".join(traces)
        return msgspec.json.encode(line, enc_hook=str).decode()


class LogWriter(logging.Handler):
    """Owns the root logger's output inside a `with`; what is queued at its end gets a second to go out."""

    def __init__(
        self,
        level: Literal["debug", "info", "warning", "error"] = "info",
        form: Literal["text", "json"] = "text",
        stream: TextIO | None = None,
    ) -> None:
        super().__init__(level.upper())
        self.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
        self.dropped = 0
        self._stream = stream or sys.stderr
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUE_LINES)
        self._thread = threading.Thread(target=self._write, name="gdp-log", daemon=True)

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._before = root.level, root.handlers[:]
        root.handlers[:] = [self]
        self.set_level(logging.getLevelName(self.level))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        root = logging.getLogger()
        root.level, root.handlers[:] = self._before
        with contextlib.suppress(queue.Full):  # a reader that still does not read cannot keep us from ending
            self._lines.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)

    def set_level(self, level: str) -> None:
        """Change the least severity while running."""
        self.setLevel(level.upper())
        logging.getLogger().setLevel(level.upper())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            dropped = self.dropped
            self._lines.put_nowait(f"{line}\n{self._told(dropped)}" if dropped else line)
            self.dropped -= dropped
        except queue.Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - a wrong log call must not break its caller
            self.handleError(record)

    def _told(self, dropped: int) -> str:
        facts = {"name": "grove_dp.log", "levelname": "WARNING", "msg": "log lines dropped", "lines": dropped}
        return self.format(logging.makeLogRecord(facts))

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1  # the reader has gone; the service goes on without its log


def _stamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _logger(record: logging.LogRecord) -> str:
    return record.name.removeprefix("grove_dp.")


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _traces(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    traces = [formatter.formatException(record.exc_info)] if record.exc_info else []
    return [*traces, formatter.formatStack(record.stack_info)] if record.stack_info else traces


def _word(value: Any) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(sign in text for sign in ' "=')
    return text if plain else msgspec.json.encode(text).decode()

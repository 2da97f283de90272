"""Twin of `grove_dp.native.sse`: an event is cut off by a regular expression and its lines are split."""

import re
from typing import NamedTuple

__all__ = ["COMMENT", "DATA", "DONE", "ERROR", "Event", "fingerprint", "next_event"]

COMMENT, DATA, DONE, ERROR = range(4)
MORE = -2

BLANKS = rb"[ \t\r\n]*"
KEY = rb"(?<!\\)\"%s\"" + BLANKS + rb":" + BLANKS


class Event(NamedTuple):
    kind: int
    finish: bool
    usage: bool
    usage_only: bool
    data: bytes
    name: bytes


def next_event(data: bytes) -> tuple[int, Event | None]:
    """Bytes of the first event and what it is, or (MORE, None)."""
    at = 0
    for line in re.finditer(rb"([^\r\n]*)(\r\n|\n|\r)", data):
        if line[2] == b"\r" and line.end() == len(data):
            break
        at = line.end()
        if not line[1]:
            return at, read_event(data[:at])
    return MORE, None


def read_event(event: bytes) -> Event:
    lines = re.split(rb"\r\n|\n|\r", event)
    values = [value for line in lines if (value := field(line, b"data")) is not None]
    names = [value for line in lines if (value := field(line, b"event")) is not None]
    name = names[-1] if names else b""
    kind = DATA if values else COMMENT
    if values and values[0] == b"[DONE]":
        kind = DONE
    elif values and re.match(BLANKS + rb"\{" + BLANKS + key(b"error") + rb"[^n]", values[0], re.DOTALL):
        kind = ERROR
    if name in (b"error", b"response.failed"):
        kind = ERROR
    finish = any(
        re.search(key(b"finish_reason") + rb"(?![ \t\r\n])[^n]", value, re.DOTALL) for value in values
    )
    with_usage = [value for value in values if re.search(key(b"usage") + rb"\{", value)]
    empty = [value for value in values if re.search(key(b"choices") + rb"\[" + BLANKS + rb"\]", value)]
    usage_only = carried(values)
    assert not usage_only or (with_usage and empty)
    return Event(kind, finish, bool(with_usage), usage_only, values[0] if values else b"", name)


def carried(values: list[bytes]) -> bool:
    """True when a data line with empty choices has usage in it or in a line before it."""
    usage = False
    for value in values:
        usage = usage or bool(re.search(key(b"usage") + rb"\{", value))
        if usage and re.search(key(b"choices") + rb"\[" + BLANKS + rb"\]", value):
            return True
    return False


def key(name: bytes) -> bytes:
    return KEY % re.escape(name)


def field(line: bytes, name: bytes) -> bytes | None:
    if line == name:
        return b""
    if not line.startswith(name + b":"):
        return None
    value = line[len(name) + 1 :]
    return value[1:] if value.startswith(b" ") else value


def fingerprint(event: bytes) -> tuple[int, int]:
    """Offset and length of `"system_fingerprint":"..."`, or (0, 0)."""
    string = rb"\"(?:[^\"\\\x00-\x1f]|\\[^\x00-\x1f])*\""
    found = re.search(key(b"system_fingerprint") + string, event)
    return (found.start(), len(found[0])) if found else (0, 0)

"""Twin of `grove_dp.native.http1`: a complete head is split into lines, and each line is matched."""

import re
from typing import NamedTuple

__all__ = ["BAD", "MORE", "Chunked", "Header", "Request", "Response", "list_has", "request", "response"]

BAD, MORE = -1, -2

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")

# In the order of gdp_header_id; the last eight are hop by hop.
KNOWN = (
    *(b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"expect"),
    *(b"x-request-id", b"traceparent", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
    *(b"retry-after", b"date", b"server"),
    *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization"),
    *(b"te", b"trailer", b"upgrade"),
)
NEVER_NOMINATED = (b"host", b"content-length", b"transfer-encoding")

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
HOST = rb"[!$%&'()*+\-.:;=\[\]_~0-9A-Za-z]+"
TARGET = rb"[!\"$-~]+"
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
NOMINATED_MAX = 64


class Bad(Exception):
    """The head is refused; the argument is the word of gdp_http_why."""


class Header(NamedTuple):
    name: bytes
    value: bytes
    id: int
    nominated: bool


class Request(NamedTuple):
    method: bytes
    target: bytes
    path: bytes
    query: bytes
    method_id: int
    minor: int
    keep_alive: bool
    chunked: bool
    expect_continue: bool
    length: int | None
    headers: tuple[Header, ...]


class Response(NamedTuple):
    status: int
    reason: bytes
    minor: int
    keep_alive: bool
    chunked: bool
    length: int | None
    event_stream: bool
    json: bool
    headers: tuple[Header, ...]


class Framing(NamedTuple):
    keep_alive: bool
    chunked: bool
    length: int | None


# ---------------------------------------------------- heads


def request(data: bytes, max_headers: int = 128) -> tuple[int, Request | str | None]:
    """Bytes of the head and what it says; (BAD, why); or (MORE, None)."""
    start = 0
    while start < 8 and data.startswith(b"\r\n", start):
        start += 2
    if data[start:] in (b"", b"\r") and (start < 8 or data[start:] == b""):
        return MORE, None
    if not re.match(TOKEN, data[start:]):
        return BAD, "BAD_LINE_END" if data[start] == 0x0A else "BAD_REQUEST_LINE"
    try:
        lines, size = head_lines(data[start:])
        return (start + size, read_request(lines, max_headers)) if lines else (MORE, None)
    except Bad as bad:
        return BAD, str(bad)


def response(data: bytes) -> tuple[int, Response | str | None]:
    """Bytes of the head and what it says; (BAD, why); or (MORE, None)."""
    if data[:5] != b"HTTP/"[: len(data)]:
        return BAD, "BAD_STATUS_LINE"
    try:
        lines, size = head_lines(data)
        return (size, read_response(lines)) if lines else (MORE, None)
    except Bad as bad:
        return BAD, str(bad)


def head_lines(data: bytes) -> tuple[list[bytes], int]:
    """The lines up to the empty one, and the bytes they take; no lines when it has not come yet."""
    end = re.search(rb"\r\n\r\n|(?<!\r)\n", data)
    if not end:
        return [], 0
    if end[0] == b"\n":
        raise Bad("BAD_LINE_END")
    return data[: end.start()].split(b"\r\n"), end.end()


def read_request(lines: list[bytes], max_headers: int) -> Request:
    method, target, minor = request_line(lines[0])
    path, query = split_target(method, target)
    headers = field_lines(lines[1:], min(max_headers, 128))
    framing = read_framing(headers, minor)
    expect_continue = request_headers(headers, minor)
    known = METHODS.index(method) if method in METHODS else len(METHODS)
    keep_alive, chunked, length = framing
    return Request(
        method, target, path, query, known, minor, keep_alive, chunked, expect_continue, length, headers
    )


def read_response(lines: list[bytes]) -> Response:
    minor, rest = read_version(lines[0], "BAD_STATUS_LINE")
    found = re.fullmatch(rb" ([1-5][0-9][0-9])(?: (.*)|(\r.*))?", rest, re.DOTALL)
    if not found:
        raise Bad("BAD_STATUS_LINE")
    reason = found[2] or found[3] or b""
    if wrong := CONTROL.search(reason):
        raise Bad("BAD_LINE_END" if wrong[0] == b"\r" else "BAD_STATUS_LINE")
    headers = field_lines(lines[1:], 128)
    keep_alive, chunked, length = read_framing(headers, minor)
    kinds = [h.value for h in headers if h.name.lower() == b"content-type"][-1:]
    stream = any(re.match(rb"(?i:text/event-stream)($|[; \t])", kind) for kind in kinds)
    json = any(re.match(rb"(?i:application/json)($|[; \t])", kind) for kind in kinds)
    return Response(int(found[1]), reason, minor, keep_alive, chunked, length, stream, json, headers)


def request_line(line: bytes) -> tuple[bytes, bytes, int]:
    found = re.match(TOKEN, line)
    method = found[0] if found else b""
    after = line[len(method) : len(method) + 1]
    if after in (b"", b"\r"):
        raise Bad("BAD_REQUEST_LINE")
    if after != b" " or len(method) > 32:
        raise Bad("BAD_METHOD")
    found = re.match(TARGET, line[len(method) + 1 :])
    target = found[0] if found else b""
    rest = line[len(method) + 1 + len(target) :]
    if not target or rest[:1] in (b"", b"\r"):
        raise Bad("BAD_REQUEST_LINE")
    if rest[:1] != b" ":
        raise Bad("BAD_TARGET")
    minor, tail = read_version(rest[1:], "BAD_REQUEST_LINE")
    if tail:
        raise Bad("BAD_LINE_END" if tail[:1] == b"\r" else "BAD_REQUEST_LINE")
    return method, target, minor


def read_version(text: bytes, otherwise: str) -> tuple[int, bytes]:
    found = re.match(rb"HTTP/([0-9])\.([0-9])", text)
    if not found:
        raise Bad(otherwise)
    if found[1] != b"1":
        raise Bad("BAD_VERSION")
    return int(found[2] != b"0"), text[8:]


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    if target == b"*":
        if method != b"OPTIONS":
            raise Bad("BAD_TARGET")
        return target, b""
    found = re.fullmatch(rb"(?:(?i:http)://" + HOST + rb"(?=[/?]|$))?(/[^?]*)?(?:\?(.*))?", target)
    if not found or not (found[1] or target[:1] != b"?"):
        raise Bad("BAD_TARGET")
    return found[1] or b"/", found[2] or b""


# ---------------------------------------------------- headers


def field_lines(lines: list[bytes], most: int) -> tuple[Header, ...]:
    pairs: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            raise Bad("OBS_FOLD")
        name = found[0] if (found := re.match(TOKEN, line)) else b""
        after = line[len(name) : len(name) + 1]
        if not name or after != b":":
            raise Bad("BAD_LINE_END" if after == b"\r" else "BAD_HEADER_NAME")
        if len(pairs) == most:
            raise Bad("TOO_MANY_HEADERS")
        value = line[len(name) + 1 :]
        if wrong := CONTROL.search(value):
            raise Bad("BAD_LINE_END" if wrong[0] == b"\r" else "BAD_HEADER_VALUE")
        pairs.append((name, value.strip(b" \t")))
    options = (b"", b"close", b"keep-alive")
    words = {w for name, value in pairs if name.lower() == b"connection" for w in list_of(value)}
    words.difference_update(options, NEVER_NOMINATED)
    return tuple(Header(name, value, header_id(name), name.lower() in words) for name, value in pairs)


def header_id(name: bytes) -> int:
    return KNOWN.index(name.lower()) + 1 if name.lower() in KNOWN else 0


def list_of(value: bytes) -> list[bytes]:
    return [word.strip(b" \t").lower() for word in value.split(b",")]


def list_has(value: bytes, token: bytes) -> bool:
    return token.lower() in list_of(value)


def read_framing(headers: tuple[Header, ...], minor: int) -> Framing:
    names = [h.name.lower() for h in headers]
    if b"content-length" in names and b"transfer-encoding" in names:
        raise Bad("LENGTH_AND_CHUNKED")
    length, chunked = None, False
    options: list[bytes] = []
    for name, value in zip(names, (h.value for h in headers), strict=True):
        if name == b"content-length":
            if length is not None or not re.fullmatch(rb"[0-9]{1,19}", value):
                raise Bad("BAD_CONTENT_LENGTH")
            length = int(value)
        elif name == b"transfer-encoding":
            if chunked or minor == 0:
                raise Bad("BAD_TRANSFER_ENCODING")
            check_coding(value)
            chunked = True
        elif name == b"connection":
            options += list_of(value)
            if len([w for w in options if w not in (b"close", b"keep-alive", b"")]) > NOMINATED_MAX:
                raise Bad("BAD_HEADER_VALUE")
    keep_alive = b"close" not in options and (minor == 1 or b"keep-alive" in options)
    return Framing(keep_alive, chunked, length)


def check_coding(value: bytes) -> None:
    codings = list_of(value)
    if b"chunked" in codings[:-1] or not all(re.fullmatch(TOKEN, coding) for coding in codings):
        raise Bad("BAD_TRANSFER_ENCODING")
    if codings != [b"chunked"]:
        raise Bad("UNKNOWN_CODING")


def request_headers(headers: tuple[Header, ...], minor: int) -> bool:
    hosts = 0
    expects = False
    for name, value in ((h.name.lower(), h.value) for h in headers):
        if name == b"host":
            hosts += 1
            if hosts > 1 or not re.fullmatch(HOST, value):
                raise Bad("BAD_HOST")
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Bad("BAD_EXPECT")
            expects = True
    if hosts == 0 and minor == 1:
        raise Bad("BAD_HOST")
    return expects and minor == 1


# ---------------------------------------------------- chunks


class Chunked:
    """Decoder of a chunked body; `next` keeps all bytes given so far and reads them again from the start."""

    def __init__(self) -> None:
        self._seen = b""
        self.done = False
        self.boundary = False

    def next(self, data: bytes) -> tuple[int, bytes]:
        """Bytes consumed and the payload among them, or (BAD, b"")."""
        before = len(self._seen)
        whole = self._seen + data
        if self.done:
            return 0, b""
        end, payload, self.boundary, self.done = chunk_step(whole, before)
        if end == BAD:
            return BAD, b""
        self._seen = whole[:end]
        return end - before, payload


def chunk_step(data: bytes, before: int) -> tuple[int, bytes, bool, bool]:
    """Where the call that begins at *before* stops, its payload, whether that is a boundary, the end."""
    at = 0
    while True:
        if not (
            line := re.compile(rb"([0-9A-Fa-f]{1,15})(;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n").match(data, at)
        ):
            return partial(rb"[0-9A-Fa-f]{0,15}|[0-9A-Fa-f]{1,15}(;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?", data, at)
        if len(line[0]) - 2 > len(line[1]) and not extension_fits(line[0][:-2], line[1]):
            return BAD, b"", False, False
        size, at = int(line[1], 16), line.end()
        if size == 0:
            return trailers(data, at)
        payload = data[max(at, before) : at + size]
        if len(data) < at + size:
            return len(data), payload, False, False
        at += size
        rest = data[at : at + 2]
        if not b"\r\n".startswith(rest):
            return BAD, b"", False, False
        if len(rest) < 2:
            return len(data), payload, False, False
        at += 2
        if (payload or at == len(data)) and at > before:
            return at, payload, True, False


def extension_fits(line: bytes, digits: bytes) -> bool:
    """The size and what follows its semicolon are at most 255 bytes."""
    return len(line) - 1 <= 255 or len(line) == len(digits)


def partial(pattern: bytes, data: bytes, at: int) -> tuple[int, bytes, bool, bool]:
    """The rest of data is the beginning of a line, or wrong."""
    line = data[at:]
    fits = b";" not in line or len(line.rstrip(b"\r")) - 1 <= 255
    if re.fullmatch(pattern, line) and fits:
        return len(data), b"", line == b"" and at > 0, False
    return BAD, b"", False, False


def trailers(data: bytes, at: int) -> tuple[int, bytes, bool, bool]:
    field = rb"(?:" + TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*"
    found = re.compile(field + rb"\r\n").match(data, at)
    if found and found.end() - at <= 8192:
        return found.end(), b"", True, True
    begun = field + rb"(?:\r?|" + TOKEN + rb"|" + TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*\r?)"
    if not found and len(data) - at <= 8192 and re.fullmatch(begun, data[at:]):
        return len(data), b"", False, False
    return BAD, b"", False, False

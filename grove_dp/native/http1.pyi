from typing import NamedTuple

BAD: int
MORE: int
WHY: tuple[str, ...]

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

def request(data: bytes, seen: int = 0, max_headers: int = 128) -> tuple[int, Request | str | None]: ...
def response(data: bytes, seen: int = 0) -> tuple[int, Response | str | None]: ...
def status(why: str) -> tuple[int, str]: ...
def list_has(value: bytes, token: bytes) -> bool: ...

class Chunked:
    def next(self, data: bytes) -> tuple[int, bytes]: ...
    @property
    def done(self) -> bool: ...
    @property
    def boundary(self) -> bool: ...

from typing import NamedTuple

MORE: int
COMMENT: int
DATA: int
DONE: int
ERROR: int

class Event(NamedTuple):
    kind: int
    finish: bool
    usage: bool
    usage_only: bool
    data: bytes
    name: bytes

def next_event(data: bytes, seen: int = 0) -> tuple[int, Event | None]: ...
def fingerprint(event: bytes) -> tuple[int, int]: ...

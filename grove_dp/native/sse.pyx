"""Server-sent events in a payload: the shell of csrc/wire/sse.c."""

from collections import namedtuple

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "gdp/sse.h" nogil:
    ctypedef struct gdp_span:
        uint32_t off
        uint32_t len
    ctypedef struct gdp_event:
        uint8_t kind
        bint finish, usage, usage_only
        gdp_span data, name
    int64_t gdp_sse_next(const char *, size_t, size_t, gdp_event *)
    gdp_span gdp_sse_fingerprint(const char *, size_t)

MORE = -2
COMMENT, DATA, DONE, ERROR = range(4)

Event = namedtuple("Event", "kind finish usage usage_only data name")


def next_event(bytes data, size_t seen=0):
    """Bytes of the first event in *data* and what it is, or (MORE, None)."""
    cdef gdp_event e
    cdef const char *p = data
    cdef int64_t size = gdp_sse_next(p, len(data), seen, &e)
    if size < 0:
        return size, None
    return size, Event(
        e.kind, e.finish, e.usage, e.usage_only,
        p[e.data.off:e.data.off + e.data.len], p[e.name.off:e.name.off + e.name.len],
    )


def fingerprint(bytes event):
    """Offset and length of `"system_fingerprint":"..."` in an event's bytes, or (0, 0)."""
    cdef gdp_span found = gdp_sse_fingerprint(event, len(event))
    return found.off, found.len

"""HTTP/1.1 heads and chunked bodies, strictly: the shell of csrc/wire/http1.c and chunked.c."""

from collections import namedtuple

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "gdp/http1.h" nogil:
    enum:
        GDP_HEADERS_MAX
    ctypedef struct gdp_span:
        uint32_t off
        uint32_t len
    ctypedef struct gdp_header:
        gdp_span name
        gdp_span value
        uint8_t id
        bint nominated
    ctypedef struct gdp_request:
        gdp_span method, target, path, query
        uint8_t method_id, minor, why
        bint keep_alive, chunked, expect_continue, has_length
        uint16_t n_headers
        uint64_t length
        gdp_header *headers
    ctypedef struct gdp_response:
        uint16_t status, n_headers
        uint8_t minor, why
        bint keep_alive, chunked, has_length, event_stream, json
        gdp_span reason
        uint64_t length
        gdp_header *headers
    ctypedef struct gdp_chunked:
        bint done, boundary
    ctypedef int gdp_http_why
    int gdp_http1_request(const char *, size_t, size_t, unsigned int, gdp_request *)
    int gdp_http1_response(const char *, size_t, size_t, gdp_response *)
    int gdp_http1_status(gdp_http_why)
    const char *gdp_http1_text(gdp_http_why)
    bint gdp_http1_list_has(const char *, size_t, const char *)
    int64_t gdp_chunked_next(gdp_chunked *, const char *, size_t, gdp_span *)

BAD = -1
MORE = -2

# The words of gdp_http_why, in its order.
WHY = (
    "OK", "BAD_REQUEST_LINE", "BAD_METHOD", "BAD_TARGET", "BAD_VERSION", "BAD_HEADER_NAME",
    "BAD_HEADER_VALUE", "BAD_LINE_END", "OBS_FOLD", "TOO_MANY_HEADERS", "HEAD_TOO_LARGE", "BAD_HOST",
    "BAD_CONTENT_LENGTH", "LENGTH_AND_CHUNKED", "BAD_TRANSFER_ENCODING", "UNKNOWN_CODING", "BAD_EXPECT",
    "BAD_STATUS_LINE", "BAD_CHUNK",
)

Header = namedtuple("Header", "name value id nominated")
Request = namedtuple(
    "Request",
    "method target path query method_id minor keep_alive chunked expect_continue length headers",
)
Response = namedtuple(
    "Response", "status reason minor keep_alive chunked length event_stream json headers"
)


cdef bytes slice_of(const char *base, gdp_span span):
    return base[span.off:span.off + span.len]


cdef tuple headers_of(const char *base, const gdp_header *headers, unsigned int n):
    cdef list found = []
    for h in headers[:n]:
        found.append(Header(slice_of(base, h.name), slice_of(base, h.value), h.id, h.nominated))
    return tuple(found)


def request(bytes data, size_t seen=0, unsigned int max_headers=GDP_HEADERS_MAX):
    """Bytes of the head at the start of *data* and what it says; (BAD, why); or (MORE, None)."""
    cdef gdp_request q
    cdef const char *p = data
    cdef int size = gdp_http1_request(p, len(data), seen, max_headers, &q)
    if size < 0:
        return size, WHY[q.why] if size == BAD else None
    return size, Request(
        slice_of(p, q.method), slice_of(p, q.target), slice_of(p, q.path), slice_of(p, q.query), q.method_id,
        q.minor, q.keep_alive, q.chunked, q.expect_continue, q.length if q.has_length else None,
        headers_of(p, q.headers, q.n_headers),
    )


def response(bytes data, size_t seen=0):
    """Bytes of the head at the start of *data* and what it says; (BAD, why); or (MORE, None)."""
    cdef gdp_response q
    cdef const char *p = data
    cdef int size = gdp_http1_response(p, len(data), seen, &q)
    if size < 0:
        return size, WHY[q.why] if size == BAD else None
    return size, Response(
        q.status, slice_of(p, q.reason), q.minor, q.keep_alive, q.chunked, q.length if q.has_length else None,
        q.event_stream, q.json, headers_of(p, q.headers, q.n_headers),
    )


def status(str why):
    """The HTTP status that answers a request refused for *why*, and a sentence."""
    cdef int code = WHY.index(why)
    return gdp_http1_status(<gdp_http_why>code), gdp_http1_text(<gdp_http_why>code).decode()


def list_has(bytes value, bytes token):
    """True when the comma list *value* has *token*, whatever the case."""
    return gdp_http1_list_has(value, len(value), token)


cdef class Chunked:
    """Decoder of a chunked body."""

    cdef gdp_chunked _c

    def next(self, bytes data):
        """Bytes consumed (framing and at most one run of payload) and that payload, or (BAD, b"")."""
        cdef gdp_span run
        cdef const char *p = data
        cdef int64_t used = gdp_chunked_next(&self._c, p, len(data), &run)
        return used, slice_of(p, run) if used >= 0 else b""

    @property
    def done(self):
        return self._c.done

    @property
    def boundary(self):
        return self._c.boundary

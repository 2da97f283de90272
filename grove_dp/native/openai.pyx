"""What a router must know of an OpenAI-style body: the shell of csrc/wire/{openai,usage,multipart}.c."""

from collections import namedtuple

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

cdef extern from "<stdbool.h>":
    ctypedef bint cbool "bool"

cdef extern from "gdp/openai.h" nogil:
    ctypedef struct gdp_span:
        uint32_t off
        uint32_t len
    ctypedef struct gdp_body:
        uint8_t why, options, include_usage, continuous_usage
        uint32_t where
        bint has_model, model_escaped, stream, options_empty, many, has_priority
        int32_t n
        int64_t max_tokens, priority
        gdp_span model, cache_salt, previous_id, kv_transfer, messages, prompt, tools
    ctypedef struct gdp_splice:
        uint32_t at, cut, text_len
        const char *text
    ctypedef struct gdp_usage:
        int64_t prompt, output, cached
    int gdp_openai_scan(const char *, size_t, gdp_body *)
    int gdp_openai_splice_usage(const gdp_body *, gdp_splice *)
    int64_t gdp_openai_unescape(const char *, size_t, char *, size_t)
    int gdp_openai_usage(const char *, size_t, gdp_usage *)
    gdp_span gdp_openai_response_id(const char *, size_t)
    int gdp_multipart_scan(const char *, size_t, const char *, size_t, gdp_span *, cbool *)

BAD = -1
MORE = -2
WHY = ("OK", "EMPTY", "NOT_OBJECT", "SYNTAX", "TOO_DEEP", "BAD_MODEL", "BAD_STREAM")  # of gdp_json_why

Body = namedtuple(
    "Body",
    "why model model_escaped stream options options_empty include_usage continuous_usage many n max_tokens"
    " priority cache_salt previous_id kv_transfer messages prompt tools",
    defaults=(None, False, False, 0, False, 0, 0, False, 1, -1, None, b"", b"", b"", b"", b"", b""),
)


cdef bytes slice_of(const char *base, gdp_span span):
    return base[span.off:span.off + span.len]


def scan(bytes data):
    """What the body says, or a Body with the `why` of its refusal and nothing else."""
    cdef gdp_body b
    cdef const char *p = data
    if gdp_openai_scan(p, len(data), &b) < 0:
        return Body(WHY[b.why])
    return Body(
        "OK", slice_of(p, b.model) if b.has_model else None, b.model_escaped, b.stream, b.options,
        b.options_empty, b.include_usage, b.continuous_usage, b.many, b.n, b.max_tokens,
        b.priority if b.has_priority else None, slice_of(p, b.cache_salt), slice_of(p, b.previous_id),
        slice_of(p, b.kv_transfer), slice_of(p, b.messages), slice_of(p, b.prompt), slice_of(p, b.tools),
    )


def where(bytes data):
    """Offset of the fault that makes `scan` refuse the body."""
    cdef gdp_body b
    gdp_openai_scan(data, len(data), &b)
    return b.where


def splice_usage(bytes data):
    """The body with include_usage switched on, or None when it must stay as it is."""
    cdef gdp_body b
    cdef gdp_splice s
    if gdp_openai_scan(data, len(data), &b) < 0 or gdp_openai_splice_usage(&b, &s) == 0:
        return None
    return data[:s.at] + s.text[:s.text_len] + data[s.at + s.cut:]


def unescape(bytes text, size_t room):
    """The inside of a JSON string as UTF-8, BAD, or MORE when it does not fit into *room* bytes."""
    out = bytearray(room + 1)
    cdef char *p = out
    cdef int64_t size = gdp_openai_unescape(text, len(text), p, room)
    return bytes(out[:size]) if size >= 0 else size


def usage(bytes data):
    """(0 or MORE, prompt, output, cached) of the last usage object; -1 where a count is not there."""
    cdef gdp_usage u
    u.prompt = u.output = u.cached = -1
    return gdp_openai_usage(data, len(data), &u), u.prompt, u.output, u.cached


def response_id(bytes data):
    """The first "resp_..." id in *data*, or b""."""
    return slice_of(data, gdp_openai_response_id(data, len(data)))


def multipart(bytes kind, bytes data):
    """(0, model, stream) of a form whose Content-Type is *kind*; (MORE, ...) without a model; (BAD, ...)."""
    cdef gdp_span model
    cdef cbool stream
    cdef int code = gdp_multipart_scan(kind, len(kind), data, len(data), &model, &stream)
    return code, slice_of(data, model), stream

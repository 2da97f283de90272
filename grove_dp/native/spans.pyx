"""One level of JSON as spans, texts as turns, keys for what came so far: the shell of csrc/wire/spans.c."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from "Python.h":
    int PyUnicode_KIND(object)
    void *PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)

cdef extern from "gdp/spans.h" nogil:
    ctypedef struct gdp_span:
        uint32_t off
        uint32_t len
    ctypedef struct gdp_field:
        gdp_span key, value
    int64_t gdp_json_fields(const char *, size_t, gdp_field *, size_t)
    int64_t gdp_json_items(const char *, size_t, gdp_span *, size_t)
    size_t gdp_text_cuts(const char *, size_t, const char *, size_t, size_t, size_t, uint32_t *, size_t)
    uint64_t gdp_text_key(const void *, size_t, uint64_t)

cdef extern from "gdp/prompt.h" nogil:
    uint64_t gdp_prompt_key(const char *, size_t, uint64_t)

cdef extern from "gdp/load.h" nogil:
    uint64_t gdp_hash(const void *, size_t, uint64_t)

cdef enum:
    FIELDS_MAX = 256
    ITEMS_MAX = 65536
    CUTS_MAX = 4096


def hash64(const unsigned char[::1] data, uint64_t seed=0):
    """The core's hash of bytes."""
    return gdp_hash(&data[0] if data.shape[0] else NULL, data.shape[0], seed)


def key64(const unsigned char[::1] data, uint64_t seed):
    """64 bits that name *data* behind what *seed* names."""
    return gdp_text_key(&data[0] if data.shape[0] else NULL, data.shape[0], seed)


def prompt_key(bytes data, uint64_t seed):
    """64 bits that name the prompt which the body *data* asks for; 0: it has no name."""
    return gdp_prompt_key(data, len(data), seed)


def fields(bytes data):
    """{key: (start, end) of its value} of the object *data*, the last of equal keys; keys as written.

    None when it is no object, or has more than 256 keys."""
    cdef gdp_field found[FIELDS_MAX]
    cdef const char *p = data
    cdef int64_t n = gdp_json_fields(p, len(data), found, FIELDS_MAX), i
    if n < 0:
        return None
    told = {}
    for i in range(n):
        key, value = found[i].key, found[i].value
        told[p[key.off:key.off + key.len]] = (value.off, value.off + value.len)
    return told


def items(bytes data, size_t start, size_t end, uint64_t key):
    """The items of the array data[start:end]: [(start, end)] in *data*, and keys.

    keys[0] is key64(item 0, *key*), keys[i] is key64(item i, keys[i-1]). None when it is no array, or has
    more than 65,536 items."""
    if not start <= end <= <size_t>len(data):
        raise ValueError(f"no part of {len(data)} bytes: {start}..{end}")
    cdef const char *p = data
    cdef size_t room = min((end - start) // 2 + 1, <size_t>ITEMS_MAX)
    cdef gdp_span *found = <gdp_span *>malloc(room * sizeof(gdp_span))
    if found is NULL:
        raise MemoryError
    cdef int64_t n, i
    cdef size_t at
    try:
        with nogil:
            n = gdp_json_items(p + start, end - start, found, room)
        if n < 0:
            return None
        spans, keys = [], []
        for i in range(n):
            at = start + found[i].off
            key = gdp_text_key(p + at, found[i].len, key)
            spans.append((at, at + found[i].len))
            keys.append(key)
        return spans, keys
    finally:
        free(found)


def cuts(str text, str mark, size_t least, uint64_t key):
    """Where *text* may be cut: before a *mark*, *least* characters or more behind the cut before. And keys.

    keys[0] names text[:cuts[0]] behind *key*, keys[i] names text[cuts[i-1]:cuts[i]] behind keys[i-1], each a
    key64 of characters as Python holds them, 1, 2 or 4 bytes each as the widest of *text* asks for, which
    enters the first key. (A conversation in which a wider character turns up has other keys from then on.) At
    most 4,096 cuts; what stands behind the last is in no key."""
    cdef size_t unit = PyUnicode_KIND(text), n, i, start = 0
    if not mark or not least:
        raise ValueError("mark and least must not be empty")
    if PyUnicode_KIND(mark) > unit:
        return [], []
    cdef bytes sought = mark.encode("latin-1" if unit == 1 else "utf-16-le" if unit == 2 else "utf-32-le")
    cdef uint32_t found[CUTS_MAX]
    cdef uint64_t told[CUTS_MAX]
    cdef const char *p = <const char *> PyUnicode_DATA(text)
    cdef const char *m = sought
    cdef size_t size = unit * <size_t> PyUnicode_GET_LENGTH(text), mark_size = len(sought)
    key ^= <uint64_t> unit << 32
    with nogil:
        n = gdp_text_cuts(p, size, m, mark_size, unit, unit * least, found, CUTS_MAX)
        for i in range(n):
            key = told[i] = gdp_text_key(p + start, found[i] - start, key)
            start = found[i]
    return [found[i] // unit for i in range(n)], [told[i] for i in range(n)]

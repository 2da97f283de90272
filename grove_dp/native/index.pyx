"""Which worker holds which prefix: the shell of csrc/route/index*.c."""

from collections import namedtuple

import numpy as np

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp cimport bool

cdef extern from "gdp/index.h" nogil:
    enum: GDP_BAD, GDP_ORPHAN, GDP_INDEX_SLOTS
    enum: GDP_ON_GPU, GDP_ON_CPU, GDP_ON_STORAGE, GDP_PREDICTED, GDP_INDEX_MEDIA
    ctypedef struct gdp_index_options:
        uint64_t bytes_max
        uint32_t predicted_pct
    ctypedef struct gdp_index_stats:
        uint64_t bytes, bytes_max, table_bytes, segment_bytes, cover_bytes
        uint64_t blocks, predicted_blocks, segments, covers
        uint64_t stored, removed, orphans, misfits, evicted, expired, refused, forgotten, copies
    ctypedef struct gdp_index:
        pass
    ctypedef struct gdp_index_reader:
        pass
    gdp_index *gdp_index_new(const gdp_index_options *)
    void gdp_index_free(gdp_index *)
    int64_t gdp_index_store(gdp_index *, uint32_t, unsigned, uint64_t, bool, const uint64_t *, size_t, bool *,
                            uint32_t)
    int64_t gdp_index_predict(gdp_index *, uint32_t, const uint64_t *, size_t, uint32_t, uint32_t)
    int gdp_index_remove(gdp_index *, uint32_t, unsigned, uint64_t)
    void gdp_index_clear(gdp_index *, uint32_t)
    size_t gdp_index_step(gdp_index *, uint32_t, size_t)
    bool gdp_index_holds(gdp_index *, uint32_t, unsigned, uint64_t)
    int64_t gdp_index_depth(gdp_index *, uint64_t)
    void gdp_index_count(gdp_index *, gdp_index_stats *)
    gdp_index_reader *gdp_index_reader_new(gdp_index *)
    void gdp_index_reader_free(gdp_index_reader *)
    size_t gdp_index_match(gdp_index_reader *, const uint64_t *, size_t, uint32_t, uint32_t, uint32_t **)

SLOTS = GDP_INDEX_SLOTS
GPU, CPU, STORAGE, PREDICTED = GDP_ON_GPU, GDP_ON_CPU, GDP_ON_STORAGE, GDP_PREDICTED

Match = namedtuple("Match", "known gpu cpu storage predicted")
Stats = namedtuple(
    "Stats",
    "bytes bytes_max table_bytes segment_bytes cover_bytes blocks predicted_blocks segments covers "
    "stored removed orphans misfits evicted expired refused forgotten copies",
)


class UnknownParent(LookupError):
    """The block that a store goes on from is not known: it never was, or was forgotten at the cap."""

    reason = "UnknownParent"


class Misfit(ValueError):
    """A block of a store is known behind another parent: two hash functions, or two keys, are mixed."""

    reason = "Misfit"


cdef uint32_t _slot(slot) except? 0:
    if not 0 <= slot < GDP_INDEX_SLOTS:
        raise ValueError(f"BadSlot: {slot} is not in 0..{GDP_INDEX_SLOTS - 1}")
    return slot


cdef uint32_t _medium(medium, uint32_t most) except? 0:
    if not 0 <= medium <= most:
        more = ", PREDICTED" if most == GDP_PREDICTED else ""
        raise ValueError(f"BadMedium: {medium} is none of GPU, CPU, STORAGE{more}")
    return medium


cdef int _array(object array, Py_buffer *view, int flags, Py_ssize_t itemsize) except -1:
    """The memory of a contiguous array of unsigned integers: a tenth of what a typed memoryview costs."""
    PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
    if view.ndim == 1 and view.itemsize == itemsize and view.format[0] in b"LQI" and view.format[1] == 0:
        return 0
    PyBuffer_Release(view)
    raise ValueError(f"BadArray: one dimension of np.uint{8 * itemsize} is wanted")


cdef class Index:
    """One index, for threads as the GIL lets them in. Time is what step() was told last."""

    cdef gdp_index *_index
    cdef gdp_index_reader *_reader
    cdef readonly uint32_t now_s
    cdef readonly uint32_t slots
    cdef object _empty, _type

    def __cinit__(self, *, uint64_t bytes_max=256 << 20, uint32_t predicted_percent=10, **_of_subclasses):
        cdef gdp_index_options options
        options.bytes_max, options.predicted_pct = bytes_max, predicted_percent
        self._index = gdp_index_new(&options)
        if not self._index:
            raise MemoryError
        self._reader = gdp_index_reader_new(self._index)
        self._empty, self._type = np.empty, np.dtype(np.uint32)

    def __init__(self, **_of_cinit):
        pass

    def __dealloc__(self):
        if self._reader:
            gdp_index_reader_free(self._reader)
        gdp_index_free(self._index)

    def store(self, slot, const uint64_t[::1] blocks not None, *, parent=None, medium=GDP_ON_GPU):
        """*slot* holds *blocks*, in a row behind *parent* (None: the root). Returns how many were kept."""
        cdef uint32_t at = _slot(slot), where = _medium(medium, GDP_ON_STORAGE)
        cdef uint64_t behind = 0 if parent is None else parent
        cdef size_t n = blocks.shape[0]
        cdef int64_t kept = gdp_index_store(
            self._index, at, where, behind, parent is None, &blocks[0] if n else NULL, n, NULL, self.now_s)
        if kept == GDP_ORPHAN:
            raise UnknownParent(
                f"UnknownParent: block {behind:#x} is not known; store it and what is before it first")
        self._grow(at)
        return self._kept(kept)

    def predict(self, slot, const uint64_t[::1] blocks not None, *, uint32_t ttl_s):
        """*slot* probably holds *blocks*, from the root on, for *ttl_s* seconds. Returns how many are."""
        cdef uint32_t at = _slot(slot)
        cdef size_t n = blocks.shape[0]
        self._grow(at)
        return self._kept(gdp_index_predict(
            self._index, at, &blocks[0] if n else NULL, n, self.now_s, self.now_s + ttl_s))

    cdef void _grow(self, uint32_t slot) noexcept:
        if slot >= self.slots:
            self.slots = slot + 1

    cdef _kept(self, int64_t kept):
        if kept == GDP_BAD:
            raise Misfit("Misfit: a block stands behind another parent; use one hash function and one key")
        return kept

    def remove(self, slot, const uint64_t[::1] blocks not None, *, medium=GDP_ON_GPU):
        """*slot* holds none of *blocks* on *medium* any more. Returns how many it did."""
        cdef uint32_t at = _slot(slot), where = _medium(medium, GDP_ON_STORAGE)
        cdef size_t i, held = 0
        for i in range(<size_t>blocks.shape[0]):
            held += gdp_index_remove(self._index, at, where, blocks[i])
        return held

    def clear(self, slot):
        """*slot* holds nothing any more, on any medium. At once; step() cleans up what is left."""
        gdp_index_clear(self._index, _slot(slot))

    def step(self, now_s, size_t budget=4096):
        """Time is *now_s*, never less than before: ends predictions, cleans up, looks at *budget* segments at
        most. Returns about how many are left to look at; 0: nothing to do."""
        if now_s < self.now_s:
            raise ValueError(f"BackInTime: {now_s} s is before {self.now_s} s")
        self.now_s = now_s
        return gdp_index_step(self._index, self.now_s, budget)

    def match(self, blocks, *, slots=None, medium=GDP_ON_GPU, out=None):
        """uint32 array: how many of *blocks*, from the root on, each slot has. *slots*: of how many;
        None: up to the highest that ever had something. *out*: written instead of a new array."""
        cdef Py_buffer names, reached
        cdef uint32_t *reach[GDP_INDEX_MEDIA]
        cdef uint32_t where = _medium(medium, GDP_PREDICTED)
        if out is None:
            out = self._empty(self.slots if slots is None else slots, self._type)
        _array(blocks, &names, 0, 8)
        try:
            _array(out, &reached, PyBUF_WRITABLE, 4)
            reach[:] = [NULL, NULL, NULL, NULL]
            reach[where] = <uint32_t *>reached.buf
            gdp_index_match(
                self._reader, <const uint64_t *>names.buf, names.shape[0], self.now_s,
                <uint32_t>reached.shape[0], reach)
            PyBuffer_Release(&reached)
        finally:
            PyBuffer_Release(&names)
        return out

    def lookup(self, const uint64_t[::1] blocks not None, *, slots=None):
        """All there is to know of *blocks*: how many are known at all, and match() for each medium."""
        cdef uint32_t *reach[GDP_INDEX_MEDIA]
        cdef size_t n = blocks.shape[0], known
        cdef uint32_t wide = self.slots if slots is None else slots
        columns = np.zeros((GDP_INDEX_MEDIA, wide), np.uint32)
        cdef uint32_t[:, ::1] out = columns
        cdef int m
        reach[:] = [NULL, NULL, NULL, NULL]
        if wide:
            for m in range(GDP_INDEX_MEDIA):
                reach[m] = &out[m, 0]
        known = gdp_index_match(self._reader, &blocks[0] if n else NULL, n, self.now_s, wide, reach)
        return Match(known, *columns)

    def holds(self, slot, uint64_t block, *, medium=GDP_ON_GPU):
        """Does *slot* hold *block* on *medium*, whatever is before it?"""
        return gdp_index_holds(self._index, _slot(slot), _medium(medium, GDP_PREDICTED), block)

    def depth(self, uint64_t block):
        """How many blocks are before *block*; None when it is not known."""
        cdef int64_t depth = gdp_index_depth(self._index, block)
        return None if depth < 0 else depth

    @property
    def stats(self):
        """Sizes now and counts since the beginning, as csrc/include/gdp/index.h explains them."""
        cdef gdp_index_stats s
        gdp_index_count(self._index, &s)
        return Stats(
            s.bytes, s.bytes_max, s.table_bytes, s.segment_bytes, s.cover_bytes, s.blocks,
            s.predicted_blocks, s.segments, s.covers, s.stored, s.removed, s.orphans, s.misfits, s.evicted,
            s.expired, s.refused,
            s.forgotten, s.copies,
        )

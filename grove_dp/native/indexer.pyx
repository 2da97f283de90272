"""The index thread as control sees it. The contract is indexer.pyi, what C offers is indexer.pxd."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

import os

import numpy as np

MEDIA = ("gpu", "cpu", "storage", "predicted")
SLOTS_MAX = GDP_INDEX_SLOTS


cdef int _check_slot(unsigned int slot) except -1:
    if slot >= GDP_INDEX_SLOTS:
        raise ValueError(f"slot must be 0..{GDP_INDEX_SLOTS - 1}, got {slot}")
    return 0


cdef class Indexer:
    """The index thread and the index that it writes."""

    def __cinit__(self, bytes secret, uint64_t index_bytes, unsigned int predicted_pct=10,
                  uint64_t ring_bytes=0):
        cdef gdp_indexer_options options
        cdef const unsigned char[::1] key = secret if secret else b"\0"
        options.index_bytes = index_bytes
        options.predicted_pct = predicted_pct
        options.ring_bytes = ring_bytes
        options.secret = &key[0]
        options.secret_len = len(secret)
        self._ix = gdp_indexer_new(&options)
        if self._ix is NULL:
            raise MemoryError("no memory for the prefix index")

    def __dealloc__(self):
        self._free()

    cdef _free(self):
        cdef gdp_indexer *ix = self._ix
        self._ix = NULL
        if ix is NULL:
            return
        if self._reader is not NULL:
            gdp_index_reader_free(self._reader)
        with nogil:
            gdp_indexer_free(ix)

    cdef gdp_indexer *open_(self) except NULL:
        if self._ix is NULL:
            raise ValueError("the indexer is closed")
        return self._ix

    def start(self):
        cdef int error = gdp_indexer_start(self.open_())
        if error:
            raise OSError(-error, os.strerror(-error))

    def close(self):
        if self._planes:
            raise RuntimeError("a plane reads this index: close it first")
        self._free()

    def open(self, unsigned int slot, str model):
        cdef bytes name = model.encode()
        _check_slot(slot)
        if gdp_indexer_open(self.open_(), slot, <const char *> name, len(name)):
            raise MemoryError(f"no memory for what slot {slot} tells")

    def release(self, unsigned int slot):
        _check_slot(slot)
        gdp_indexer_close(self.open_(), slot)

    def push(self, unsigned int slot, int kind, const uint8_t[::1] payload not None):
        cdef uint8_t none = 0
        cdef const uint8_t *data = &payload[0] if payload.shape[0] else &none
        _check_slot(slot)
        return gdp_indexer_push(self.open_(), slot, <gdp_feed_kind> kind, data, payload.shape[0]) == 0

    def predict(self, unsigned int slot, const uint64_t[::1] chain not None, double ttl_s):
        _check_slot(slot)
        if chain.shape[0]:
            gdp_indexer_predict(self.open_(), slot, &chain[0], <uint32_t> chain.shape[0], 0,
                                gdp_indexer_now_s() + <uint32_t> ttl_s)

    def match(self, const uint64_t[::1] chain not None, unsigned int slots):
        cdef gdp_indexer *ix = self.open_()
        cdef uint32_t *reach[4]
        cdef uint64_t none = 0
        cdef const uint64_t *data = &chain[0] if chain.shape[0] else &none
        cdef size_t known
        if slots > GDP_INDEX_SLOTS:
            raise ValueError(f"slots must be 0..{GDP_INDEX_SLOTS}, got {slots}")
        if self._reader is NULL:
            self._reader = gdp_index_reader_new(gdp_indexer_index(ix))
            if self._reader is NULL:
                raise RuntimeError("all readers of the index are taken")
        found = np.zeros((4, max(slots, 1)), np.uint32)
        cdef uint32_t[:, ::1] rows = found
        cdef int medium
        for medium in range(4):
            reach[medium] = &rows[medium, 0]
        known = gdp_index_match(self._reader, data, chain.shape[0], gdp_indexer_now_s(), slots, reach)
        return known, found[:, :slots]

    def settle(self, double timeout_s):
        cdef gdp_indexer *ix = self.open_()
        cdef int timeout_ms = <int> (timeout_s * 1000)
        cdef bint done
        with nogil:
            done = gdp_indexer_settle(ix, timeout_ms)
        return bool(done)

    def stats(self):
        cdef gdp_indexer_stats s
        gdp_indexer_look(self.open_(), &s)
        return {
            "bytes": s.index.bytes, "bytes_max": s.index.bytes_max, "blocks": s.index.blocks,
            "predicted_blocks": s.index.predicted_blocks, "segments": s.index.segments,
            "stored": s.index.stored, "removed": s.index.removed, "orphans": s.index.orphans,
            "misfits": s.index.misfits, "evicted": s.index.evicted, "expired": s.index.expired,
            "refused": s.index.refused, "messages": s.messages, "predictions": s.predictions,
            "stale": s.stale, "feed_bytes": s.feed_bytes, "ring_lost": s.ring_lost,
            "ring_used": s.ring_used, "ring_size": s.ring_size,
        }

    def slot(self, unsigned int slot):
        cdef gdp_indexer_slot s
        _check_slot(slot)
        gdp_indexer_look_slot(self.open_(), slot, &s)
        return {
            "open": bool(s.open), "held": s.held, "bytes": s.bytes, "batches": s.batches,
            "malformed": s.malformed, "unfit": s.unfit, "stored": s.feed.stored,
            "removed": s.feed.removed, "cleared": s.feed.cleared, "copies": s.feed.copies,
            "waiting": s.feed.waiting, "joined": s.feed.joined, "dropped": s.feed.dropped,
            "unknown_removed": s.feed.unknown_removed, "unknown_hash": s.feed.unknown_hash,
            "other_groups": s.feed.other_groups, "uneven": s.feed.uneven,
        }

"""What indexer.pyx and plane.pyx use of the core: csrc/include/gdp/indexer.h, index.h."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "gdp/index.h" nogil:
    enum: GDP_INDEX_SLOTS, GDP_INDEX_MEDIA
    ctypedef struct gdp_index:
        pass
    ctypedef struct gdp_index_reader:
        pass
    ctypedef struct gdp_index_stats:
        uint64_t bytes, bytes_max, table_bytes, segment_bytes, cover_bytes
        uint64_t blocks, predicted_blocks, segments, covers, stored, removed
        uint64_t orphans, misfits, evicted, expired, refused, forgotten, copies
    gdp_index_reader *gdp_index_reader_new(gdp_index *index)
    void gdp_index_reader_free(gdp_index_reader *reader)
    size_t gdp_index_match(gdp_index_reader *reader, const uint64_t *chain, size_t n, uint32_t now_s,
                           uint32_t slots, uint32_t **reach)

cdef extern from "gdp/kvfeed.h" nogil:
    ctypedef struct gdp_kvfeed_counts:
        uint64_t stored, removed, cleared, copies, waiting, joined, dropped
        uint64_t unknown_removed, unknown_hash, other_groups, uneven

cdef extern from "gdp/indexer.h" nogil:
    ctypedef struct gdp_indexer:
        pass
    ctypedef struct gdp_indexer_options:
        uint64_t index_bytes
        uint32_t predicted_pct
        uint64_t ring_bytes
        const void *secret
        size_t secret_len
    ctypedef enum gdp_feed_kind:
        GDP_FEED_EVENTS
    ctypedef struct gdp_indexer_slot:
        bint open
        uint64_t held, bytes, batches, malformed, unfit
        gdp_kvfeed_counts feed
    ctypedef struct gdp_indexer_stats:
        gdp_index_stats index
        uint64_t messages, predictions, stale, feed_bytes, ring_lost, ring_used, ring_size
    gdp_indexer *gdp_indexer_new(const gdp_indexer_options *options)
    int gdp_indexer_start(gdp_indexer *ix)
    void gdp_indexer_free(gdp_indexer *ix)
    int gdp_indexer_open(gdp_indexer *ix, uint32_t slot, const char *model, size_t n)
    void gdp_indexer_close(gdp_indexer *ix, uint32_t slot)
    int gdp_indexer_push(gdp_indexer *ix, uint32_t slot, gdp_feed_kind kind, const void *payload, size_t n)
    void gdp_indexer_look(gdp_indexer *ix, gdp_indexer_stats *out)
    void gdp_indexer_look_slot(gdp_indexer *ix, uint32_t slot, gdp_indexer_slot *out)
    bint gdp_indexer_settle(gdp_indexer *ix, int timeout_ms)
    void gdp_indexer_predict(gdp_indexer *ix, uint32_t slot, const uint64_t *chain, uint32_t n,
                             uint32_t held, uint32_t expires_s)
    gdp_index *gdp_indexer_index(gdp_indexer *ix)
    uint32_t gdp_indexer_now_s()

cdef class Indexer:
    cdef gdp_indexer *_ix
    cdef gdp_index_reader *_reader
    cdef int _planes  # that read it
    cdef gdp_indexer *open_(self) except NULL
    cdef _free(self)

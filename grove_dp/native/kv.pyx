"""Names for prefixes, and what engines say about theirs: the shell of csrc/route/{chain,kvwire,kvfeed}.c."""

from collections import namedtuple

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool

cdef extern from "gdp/chain.h" nogil:
    ctypedef struct gdp_chain_key:
        pass
    ctypedef struct gdp_scope:
        const char *model
        const char *lora
        const char *salt
        size_t model_len, lora_len, salt_len
        uint32_t block_size
    ctypedef int gdp_extra_kind
    void gdp_chain_key_init(gdp_chain_key *, const void *, size_t)
    uint64_t gdp_chain_root(const gdp_chain_key *, const gdp_scope *)
    uint64_t gdp_chain_extra(const gdp_chain_key *, uint64_t, gdp_extra_kind, const void *, size_t, int64_t)
    size_t gdp_chain(const gdp_chain_key *, uint64_t, const uint32_t *, size_t, uint32_t, const uint64_t *,
                     uint64_t *)
    uint64_t gdp_chain_partial(const gdp_chain_key *, uint64_t, const uint32_t *, size_t, uint64_t)

cdef extern from "gdp/kvwire.h" nogil:
    ctypedef struct gdp_span:
        uint32_t off
        uint32_t len
    ctypedef struct gdp_kv_hash:
        uint64_t lo, hi
    ctypedef struct gdp_kv_event:
        uint8_t kind, medium
        bint full, told, has_parent
        int32_t group, lora_id
        uint32_t block_size, hash_at, n_hashes, token_at, n_tokens, extra_at, n_extras, copy_at, n_copies
        uint32_t n_lookahead
        gdp_kv_hash parent
        gdp_span lora
    ctypedef struct gdp_kv_extra:
        uint32_t block
        uint8_t kind
        gdp_span id
        int64_t offset
    ctypedef struct gdp_kv_batch:
        double ts
        int32_t rank
        uint32_t n_events, n_unknown
        gdp_kv_event *events
        gdp_kv_hash *hashes
        uint32_t *tokens
        gdp_kv_extra *extras
        uint32_t *copies
        const char *why
        uint32_t at
    int64_t gdp_kv_decode(gdp_kv_batch *, const void *, size_t)
    void gdp_kv_batch_free(gdp_kv_batch *)

cdef extern from "gdp/kvfeed.h" nogil:
    ctypedef struct gdp_kv_sink:
        void *self
        int (*store)(void *, uint32_t, uint8_t, uint64_t, bool, const uint64_t *, uint32_t,
                     bool *) noexcept nogil
        void (*remove)(void *, uint32_t, uint8_t, uint64_t) noexcept nogil
        void (*clear)(void *, uint32_t) noexcept nogil
        void (*ahead)(void *, const uint64_t *, uint32_t, bool) noexcept nogil
    ctypedef struct gdp_kvfeed_counts:
        uint64_t stored, removed, cleared, copies, waiting, joined, dropped, unknown_removed, unknown_hash
        uint64_t other_groups, uneven
    ctypedef struct gdp_kvfeed:
        pass
    ctypedef struct gdp_kvfeed_options:
        uint32_t slot
        const gdp_chain_key *key
        const char *model
        size_t model_len
        gdp_kv_sink sink
        uint32_t blocks, waiting_max
    gdp_kvfeed *gdp_kvfeed_new(const gdp_kvfeed_options *)
    void gdp_kvfeed_free(gdp_kvfeed *)
    int gdp_kvfeed_apply(gdp_kvfeed *, const gdp_kv_batch *, const char *, uint32_t)
    void gdp_kvfeed_clear(gdp_kvfeed *)
    size_t gdp_kvfeed_held(const gdp_kvfeed *)
    size_t gdp_kvfeed_bytes(const gdp_kvfeed *)
    const gdp_kvfeed_counts *gdp_kvfeed_counted(const gdp_kvfeed *)
    uint32_t gdp_kvfeed_find(const gdp_kvfeed *, uint8_t, gdp_kv_hash, uint64_t *)

STORED, REMOVED, CLEARED = range(3)
GPU, CPU, STORAGE, ELSEWHERE = range(4)
BARE, LORA, MM, SALT, EMBEDS, OTHER = range(6)
EXTRA_MM, EXTRA_EMBEDS, EXTRA_OTHER, EXTRA_SALT = range(1, 5)

Batch = namedtuple("Batch", "ts rank unknown events")
Event = namedtuple(
    "Event",
    "kind medium full told group lora lora_id block_size parent hashes tokens lookahead copies extras",
)
Counts = namedtuple(
    "Counts",
    "stored removed cleared copies waiting joined dropped unknown_removed unknown_hash other_groups uneven",
)


class BadPayload(ValueError):
    """A payload that is no batch of KV events: why, in a word, and near which byte."""

    def __init__(self, reason, at):
        super().__init__(f"{reason} near byte {at} of a KV-event payload; it was ignored")
        self.reason, self.at = reason, at


# ------------------------------------------------- chains -------------------------------------------------


cdef class ChainKey:
    """The secret that names depend on; frontends that compare names share it."""

    cdef gdp_chain_key _key

    def __init__(self, bytes secret):
        gdp_chain_key_init(&self._key, <const char *>secret, len(secret))

    def root(self, scope):
        """The state before the first block of prompts in *scope*, which has model, lora, salt, block_size."""
        return root(self, scope.model, scope.lora, scope.salt, scope.block_size)

    def __call__(self, uint64_t parent, const uint32_t[::1] tokens, uint32_t block_size):
        """Names of the whole blocks of *tokens*, going on from *parent*."""
        return chain(self, parent, tokens, block_size)


cdef bytes _bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def root(ChainKey key not None, model, lora="", salt="", uint32_t block_size=16):
    """The state before the first block of a scope."""
    cdef bytes name = _bytes(model), adapter = _bytes(lora), tenant = _bytes(salt)
    cdef gdp_scope scope
    scope.model, scope.lora, scope.salt = name, adapter, tenant
    scope.model_len, scope.lora_len, scope.salt_len = len(name), len(adapter), len(tenant)
    scope.block_size = block_size
    return gdp_chain_root(&key._key, &scope)


def chain(
    ChainKey key not None, uint64_t parent, const uint32_t[::1] tokens not None, uint32_t block_size,
    const uint64_t[::1] extras=None,
):
    """Names of the whole blocks of *tokens* behind *parent*; *extras*: one value per block, see extra()."""
    if block_size == 0:
        raise ValueError("block_size is at least 1 token")
    cdef size_t n = tokens.shape[0], blocks = n // block_size
    names = np.empty(blocks, np.uint64)
    if blocks == 0:
        return names
    cdef const uint64_t *with_extras = NULL
    if extras is not None:
        if <size_t>extras.shape[0] != blocks:
            raise ValueError(f"{extras.shape[0]} extras for {blocks} blocks")
        with_extras = &extras[0]
    cdef uint64_t[::1] out = names
    with nogil:
        gdp_chain(&key._key, parent, &tokens[0], n, block_size, with_extras, &out[0])
    return names


def extra(ChainKey key not None, uint64_t before, int kind, bytes name, int64_t offset=-1):
    """One more key of a block mixed into *before* (0: none yet)."""
    return gdp_chain_extra(&key._key, before, kind, <const char *>name, len(name), offset)


def partial(ChainKey key not None, uint64_t parent, const uint32_t[::1] tokens not None, uint64_t extra=0):
    """Name of a block that holds less than it could."""
    cdef size_t n = tokens.shape[0]
    return gdp_chain_partial(&key._key, parent, &tokens[0] if n else NULL, n, extra)


# ------------------------------------------------- events -------------------------------------------------


cdef _hash(gdp_kv_hash h):
    return <object>h.hi << 64 | h.lo


cdef _event(const gdp_kv_batch *b, const gdp_kv_event *e, const char *p):
    cdef uint32_t i
    keys = []
    for i in range(e.extra_at, e.extra_at + e.n_extras):
        name = p[b.extras[i].id.off:b.extras[i].id.off + b.extras[i].id.len]
        keys.append((b.extras[i].block, b.extras[i].kind, name, b.extras[i].offset))
    return Event(
        e.kind, e.medium, e.full, e.told, e.group, p[e.lora.off:e.lora.off + e.lora.len], e.lora_id,
        e.block_size, _hash(e.parent) if e.has_parent else None,
        [_hash(b.hashes[i]) for i in range(e.hash_at, e.hash_at + e.n_hashes)],
        [b.tokens[i] for i in range(e.token_at, e.token_at + e.n_tokens)],
        e.n_lookahead, [b.copies[i] for i in range(e.copy_at, e.copy_at + e.n_copies)], keys,
    )


cdef class _Batch:
    """The arrays of a batch, for one payload."""

    cdef gdp_kv_batch batch

    def __dealloc__(self):
        gdp_kv_batch_free(&self.batch)

    cdef int64_t read(self, bytes payload) except -1:
        cdef int64_t got = gdp_kv_decode(&self.batch, <const char *>payload, len(payload))
        if got == -3:
            raise MemoryError
        if got < 0:
            raise BadPayload(self.batch.why.decode(), self.batch.at)
        return got


def decode(bytes payload):
    """What a payload says, for tests and tools; the index thread reads payloads in C. Raises BadPayload."""
    cdef _Batch b = _Batch()
    cdef int64_t i, n = b.read(payload)
    events = [_event(&b.batch, &b.batch.events[i], payload) for i in range(n)]
    return Batch(b.batch.ts, b.batch.rank, b.batch.n_unknown, events)


# ------------------------------------------------- feeds --------------------------------------------------


cdef int _store(void *self, uint32_t slot, uint8_t medium, uint64_t parent, bool first, const uint64_t *chain,
                uint32_t n, bool *held) noexcept with gil:
    cdef uint32_t i
    for i in range(n):
        held[i] = (medium, chain[i]) in <set>self
        (<set>self).add((medium, chain[i]))
    return 0


cdef void _remove(void *self, uint32_t slot, uint8_t medium, uint64_t chain) noexcept with gil:
    (<set>self).discard((medium, chain))


cdef void _clear(void *self, uint32_t slot) noexcept with gil:
    (<set>self).clear()


cdef class Feed:
    """A worker's KV events applied, for tests and tools: `index` is a set of (medium, chain)."""

    cdef gdp_kvfeed *_feed
    cdef ChainKey _key
    cdef readonly set index

    def __cinit__(self, ChainKey key not None, model, *, uint32_t blocks=0, uint32_t waiting_max=0):
        cdef bytes m = _bytes(model)
        cdef gdp_kvfeed_options o
        self._key = key
        self.index = set()
        o.slot, o.blocks, o.waiting_max = 0, blocks, waiting_max
        o.key, o.model, o.model_len = &key._key, m, len(m)
        o.sink.self = <void *>self.index
        o.sink.store, o.sink.remove, o.sink.clear, o.sink.ahead = _store, _remove, _clear, NULL
        self._feed = gdp_kvfeed_new(&o)
        if self._feed is NULL:
            raise MemoryError

    def __dealloc__(self):
        gdp_kvfeed_free(self._feed)

    def apply(self, bytes payload, *, bint asked=False):
        """All events of a payload, in order. Raises BadPayload, and then nothing was applied."""
        cdef _Batch b = _Batch()
        b.read(payload)
        if gdp_kvfeed_apply(self._feed, &b.batch, <const char *>payload, asked) < 0:
            raise MemoryError

    def clear(self):
        """Everything this worker holds is gone."""
        gdp_kvfeed_clear(self._feed)

    def find(self, uint8_t medium, digest):
        """(copies, chain) of an engine's hash, as decode() tells it; None when it is not held."""
        cdef gdp_kv_hash h
        cdef uint64_t chain
        h.lo, h.hi = digest & 0xFFFFFFFFFFFFFFFF, digest >> 64
        cdef uint32_t copies = gdp_kvfeed_find(self._feed, medium, h, &chain)
        return (copies, chain) if copies else None

    def __len__(self):
        return gdp_kvfeed_held(self._feed)

    @property
    def bytes_held(self):
        """Of memory, all of it."""
        return gdp_kvfeed_bytes(self._feed)

    @property
    def counts(self):
        """What has come and gone so far."""
        cdef const gdp_kvfeed_counts *c = gdp_kvfeed_counted(self._feed)
        return Counts(
            c.stored, c.removed, c.cleared, c.copies, c.waiting, c.joined, c.dropped, c.unknown_removed,
            c.unknown_hash, c.other_groups, c.uneven,
        )

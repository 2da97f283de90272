"""The books on their own: choose a worker by cost, book it, settle. The contract is books.pyi."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cimport cython

from grove_dp.native.plane cimport GDP_SLOTS_MAX, gdp_books, gdp_hash, gdp_terms, gdp_worker

from collections import namedtuple

import numpy as np

from grove_dp.native.plane import CLASSES, POLICIES

cdef extern from "gdp/cost.h" nogil:
    ctypedef struct gdp_ask:
        uint32_t prompt_tokens, block_tokens
        double output_tokens
        const uint32_t *reach[3]
        const uint64_t *chain
        uint32_t blocks
        uint64_t salt

cdef extern from "gdp/load.h" nogil:
    ctypedef struct gdp_circuit_rule:
        uint32_t failures_max
        uint64_t open_ns, max_open_ns
    ctypedef struct gdp_wish:
        uint8_t policy
        bint has_session, stream
        uint64_t session
        gdp_ask ask
    ctypedef struct gdp_booking:
        uint32_t slot
    ctypedef struct gdp_placement:
        uint32_t chosen
        gdp_booking booking
        uint32_t n_candidates, tied, n_shown
        gdp_terms shown[4]
    gdp_books *gdp_books_new(uint64_t seed)
    void gdp_books_free(gdp_books *b)
    int gdp_place(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                  const gdp_wish *wish, uint64_t now_ns, gdp_placement *out)
    gdp_terms gdp_books_terms(gdp_books *b, const gdp_worker *worker, const gdp_wish *wish, uint64_t now_ns)
    void gdp_begin(gdp_books *b, gdp_booking *booking, uint64_t now_ns)
    int gdp_settle(gdp_books *b, gdp_booking *booking, int end, int64_t tokens, const gdp_circuit_rule *rule,
                   uint64_t now_ns)
    void gdp_book_reset(gdp_books *b, uint32_t slot)
    void gdp_book_scraped(gdp_books *b, uint32_t slot, double kv_capacity, double kv_tokens)

Terms = namedtuple("Terms", "cached_tokens queue_s prefill_s stall_s decode_s memory_s total")

cdef uint8_t READY = 1
cdef int END_OK = 0, END_NEUTRAL = 1


cdef _told(const gdp_terms *t):
    return Terms(t.cached_tokens, t.queue_s, t.prefill_s, t.stall_s, t.decode_s, t.memory_s, t.total)


@cython.no_gc_clear  # __dealloc__ needs the books
cdef class Booked:
    """One placement."""

    cdef Books _books
    cdef gdp_booking _booking
    cdef bint _open
    cdef readonly unsigned int slot
    cdef readonly object terms

    def first_token(self, double now_s):
        if self._open:
            gdp_begin(self._books._b, &self._booking, _ns(now_s))

    def end(self, double now_s, int64_t output_tokens=-1):
        cdef gdp_circuit_rule rule
        memset(&rule, 0, sizeof(rule))
        if not self._open:
            raise ValueError("this placement has ended already")
        self._open = False
        gdp_settle(self._books._b, &self._booking, END_OK if output_tokens >= 0 else END_NEUTRAL,
                   output_tokens, &rule, _ns(now_s))

    def __dealloc__(self):
        cdef gdp_circuit_rule rule
        memset(&rule, 0, sizeof(rule))
        if self._open:
            gdp_settle(self._books._b, &self._booking, END_NEUTRAL, -1, &rule, 0)


cdef uint64_t _ns(double now_s):
    return <uint64_t> (now_s * 1e9)


cdef class Question:
    """What is asked for a prompt; keeps the arrays that it points into."""

    cdef gdp_ask _ask
    cdef const uint64_t[::1] _chain
    cdef const uint32_t[::1] _reach

    def __init__(self, const uint64_t[::1] chain not None, const uint32_t[::1] reach not None,
                 unsigned int prompt_tokens, unsigned int block_tokens, double output_tokens):
        self._chain, self._reach = chain, reach
        memset(&self._ask, 0, sizeof(gdp_ask))
        self._ask.prompt_tokens, self._ask.block_tokens = prompt_tokens, block_tokens
        self._ask.output_tokens = output_tokens
        self._ask.chain = &chain[0] if chain.shape[0] else NULL
        self._ask.blocks = <uint32_t> chain.shape[0]
        self._ask.reach[0] = &reach[0] if reach.shape[0] else NULL


cdef class Books:
    """Workers by slot, and what is booked on them."""

    cdef gdp_books *_b
    cdef gdp_worker *_workers  # by slot
    cdef uint32_t *_candidates
    cdef readonly int count

    def __cinit__(self, uint64_t seed=1):
        self._b = gdp_books_new(seed)
        self._workers = <gdp_worker *> calloc(GDP_SLOTS_MAX, sizeof(gdp_worker))
        self._candidates = <uint32_t *> calloc(GDP_SLOTS_MAX, sizeof(uint32_t))
        if self._b is NULL or self._workers is NULL or self._candidates is NULL:
            raise MemoryError

    def __dealloc__(self):
        gdp_books_free(self._b)
        free(self._workers)
        free(self._candidates)

    def add(self, unsigned int slot, str name, unsigned int max_inflight=0, unsigned int class_of=0):
        cdef bytes key = name.encode()
        if slot >= GDP_SLOTS_MAX:
            raise ValueError(f"slot must be 0..{GDP_SLOTS_MAX - 1}, got {slot}")
        if class_of >= CLASSES:
            raise ValueError(f"class_of must be 0..{CLASSES - 1}, got {class_of}")
        self.remove(slot)
        gdp_book_reset(self._b, slot)
        cdef gdp_worker *w = &self._workers[slot]
        memset(w, 0, sizeof(gdp_worker))
        w.slot, w.max_inflight, w.class_of = slot, max_inflight, <uint16_t> class_of
        w.key, w.state = gdp_hash(<const char *> key, len(key), 0), READY
        self._candidates[self.count] = slot
        self.count += 1

    def remove(self, unsigned int slot):
        cdef int i
        for i in range(self.count):
            if self._candidates[i] == slot:
                self.count -= 1
                self._candidates[i] = self._candidates[self.count]
                return

    def load(self, unsigned int slot, double kv_capacity, double kv_tokens):
        if slot < GDP_SLOTS_MAX:
            gdp_book_scraped(self._b, slot, kv_capacity, kv_tokens)

    def place(self, str policy, Question question not None, bint stream, double now_s):
        cdef gdp_wish wish
        cdef gdp_placement at
        self._wish(&wish, question)
        wish.policy, wish.stream = POLICIES.index(policy), stream
        cdef int result = gdp_place(self._b, self._workers, self._candidates, self.count, &wish, _ns(now_s),
                                    &at)
        if result:
            return None
        cdef Booked booked = Booked.__new__(Booked)
        booked._books, booked._booking, booked._open = self, at.booking, True
        booked.slot, booked.terms = at.booking.slot, _told(&at.shown[0])
        return booked

    def terms(self, unsigned int slot, Question question not None, double now_s):
        cdef gdp_wish wish
        self._wish(&wish, question)
        if slot >= <uint32_t> question._reach.shape[0]:
            raise ValueError(f"reach has {question._reach.shape[0]} slots, asked about slot {slot}")
        cdef gdp_terms t = gdp_books_terms(self._b, &self._workers[slot], &wish, _ns(now_s))
        return _told(&t)

    def costs(self, Question question not None, double now_s):
        cdef gdp_wish wish
        cdef int i
        cdef uint32_t slot
        self._wish(&wish, question)
        found = np.full(question._reach.shape[0], np.inf)
        cdef double[::1] row = found
        for i in range(self.count):
            slot = self._candidates[i]
            row[slot] = gdp_books_terms(self._b, &self._workers[slot], &wish, _ns(now_s)).total
        return found

    cdef int _wish(self, gdp_wish *wish, Question question) except -1:
        cdef int i
        cdef uint32_t slots = <uint32_t> question._reach.shape[0]
        for i in range(self.count):
            if self._candidates[i] >= slots:
                raise ValueError(f"reach has {slots} slots, a worker has slot {self._candidates[i]}")
        memset(wish, 0, sizeof(gdp_wish))
        wish.ask = question._ask
        return 0

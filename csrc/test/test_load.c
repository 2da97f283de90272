/* test_load.c -- the books against their rules: choice, caps, circuits, and counts that never lose a booking. */
#include "gdp/load.h"
#include "test.h"

void gdp_test_load(void);
void gdp_bench_load(void);

#define MS 1000000ull
#define N 6

static gdp_worker workers[N];
static const uint32_t ALL[N] = {0, 1, 2, 3, 4, 5};
static const gdp_circuit_rule RULE = {.failures_max = 2, .open_ns = 10 * MS, .max_open_ns = 35 * MS};

static gdp_booking last; /* of the last place() */

static void set_up(void) {
    for (uint32_t i = 0; i < N; i++) workers[i] = (gdp_worker){.slot = i, .key = 1000 + i, .state = GDP_READY};
}

static int place(gdp_books *b, gdp_policy policy, uint64_t now) {
    gdp_wish wish = {.policy = policy};
    gdp_placement at;
    gdp_placing r = gdp_place(b, workers, ALL, N, &wish, now, &at);
    if (r == GDP_PLACED) last = at.booking;
    return r == GDP_PLACED ? (int)at.chosen : -(int)r;
}

/* The end of a booking that was no probe. */
static gdp_circuit end_of(gdp_books *b, uint32_t slot, gdp_end end) {
    return gdp_settle(b, &(gdp_booking){.slot = slot}, end, -1, &RULE, 1);
}

static void least_load_keeps_the_loads_even(gdp_books *b) {
    uint64_t random = 5;
    uint32_t inflight[N] = {0};
    for (int i = 0; i < 5000; i++) {
        if (gdp_random(&random) % 3) {
            int w = place(b, GDP_LEAST_LOAD, 1);
            for (int k = 0; k < N; k++) CHECK(inflight[w] <= inflight[k]);
            inflight[w]++;
        } else {
            uint32_t w = gdp_random(&random) % N;
            if (inflight[w]) end_of(b, w, GDP_END_OK), inflight[w]--;
        }
    }
    for (uint32_t k = 0; k < N; k++) {
        gdp_book book;
        gdp_book_copy(b, k, 1, &book);
        CHECK(book.inflight == inflight[k]);
        while (inflight[k]) end_of(b, k, GDP_END_OK), inflight[k]--;
    }
}

static void a_session_stays_and_moves_only_when_it_must(gdp_books *b) {
    unsigned moved = 0;
    for (uint64_t session = 1; session <= 600; session++) {
        gdp_wish wish = {.policy = GDP_SESSION, .has_session = true, .session = session * 77};
        gdp_placement first, again, third;
        CHECK(gdp_place(b, workers, ALL, N, &wish, 1, &first) == GDP_PLACED);
        CHECK(gdp_place(b, workers, ALL, N, &wish, 1, &again) == GDP_PLACED && again.chosen == first.chosen);
        workers[5].state = GDP_DRAINING;
        CHECK(gdp_place(b, workers, ALL, N, &wish, 1, &third) == GDP_PLACED && third.chosen != 5);
        workers[5].state = GDP_READY;
        CHECK(first.chosen == 5 || third.chosen == first.chosen);
        moved += first.chosen == 5;
        end_of(b, first.chosen, GDP_END_OK), end_of(b, again.chosen, GDP_END_OK);
        end_of(b, third.chosen, GDP_END_OK);
    }
    CHECK(moved > 60 && moved < 140); /* a sixth */
}

static void a_circuit_opens_probes_and_closes(gdp_books *b) {
    for (uint32_t i = 1; i < N; i++) workers[i].state = GDP_STARTING;
    CHECK(place(b, GDP_RANDOM, 0) == 0);
    CHECK(gdp_settle(b, &last, GDP_END_FAILED, -1, &RULE, 0) == GDP_CLOSED);
    CHECK(place(b, GDP_RANDOM, 0) == 0);
    CHECK(gdp_settle(b, &last, GDP_END_FAILED, -1, &RULE, 0) == GDP_OPEN);
    CHECK(gdp_next_probe(b, 0) == 10 * MS);
    CHECK(place(b, GDP_RANDOM, 10 * MS - 1) == -GDP_NONE_READY);
    CHECK(gdp_next_probe(b, 10 * MS) == 0); /* its time has come: nothing to wait for */
    CHECK(place(b, GDP_RANDOM, 10 * MS) == 0);
    CHECK(place(b, GDP_RANDOM, 10 * MS) == -GDP_NONE_READY); /* one at a time */
    CHECK(gdp_settle(b, &last, GDP_END_FAILED, -1, &RULE, 10 * MS) == GDP_OPEN);
    CHECK(gdp_next_probe(b, 10 * MS) == 30 * MS); /* twice as long */
    CHECK(place(b, GDP_RANDOM, 30 * MS) == 0);
    CHECK(gdp_settle(b, &last, GDP_END_LEAVING, -1, &RULE, 30 * MS) == GDP_OPEN);
    CHECK(gdp_next_probe(b, 30 * MS) == 65 * MS); /* capped */
    CHECK(place(b, GDP_RANDOM, 65 * MS) == 0);
    CHECK(gdp_settle(b, &last, GDP_END_NEUTRAL, -1, &RULE, 65 * MS) == GDP_HALF_OPEN); /* the probe may be tried again */
    CHECK(place(b, GDP_RANDOM, 65 * MS) == 0);
    CHECK(gdp_settle(b, &last, GDP_END_OK, -1, &RULE, 65 * MS) == GDP_CLOSED);
    CHECK(gdp_next_probe(b, 65 * MS) == 0);
    for (uint32_t i = 1; i < N; i++) workers[i].state = GDP_READY;
}

static void only_its_probe_moves_a_half_open_circuit(gdp_books *b) {
    for (uint32_t i = 1; i < N; i++) workers[i].state = GDP_STARTING;
    for (int i = 0; i < 5; i++) CHECK(place(b, GDP_RANDOM, 70 * MS) == 0); /* under way when the circuit opens */
    gdp_booking old = last;
    CHECK(gdp_settle(b, &old, GDP_END_LEAVING, -1, &RULE, 70 * MS) == GDP_OPEN);
    CHECK(gdp_settle(b, &old, GDP_END_OK, -1, &RULE, 75 * MS) == GDP_OPEN);
    CHECK(place(b, GDP_RANDOM, 80 * MS) == 0 && last.probe && !old.probe);
    CHECK(gdp_settle(b, &old, GDP_END_OK, -1, &RULE, 81 * MS) == GDP_HALF_OPEN);
    CHECK(gdp_settle(b, &old, GDP_END_FAILED, -1, &RULE, 81 * MS) == GDP_HALF_OPEN);
    CHECK(gdp_settle(b, &old, GDP_END_NEUTRAL, -1, &RULE, 81 * MS) == GDP_HALF_OPEN);
    gdp_booking probe = last;
    CHECK(place(b, GDP_RANDOM, 81 * MS) == -GDP_NONE_READY); /* the probe is still under way */
    CHECK(gdp_settle(b, &probe, GDP_END_OK, -1, &RULE, 82 * MS) == GDP_CLOSED);
    for (uint32_t i = 1; i < N; i++) workers[i].state = GDP_READY;
}

static void full_is_not_the_same_as_none(gdp_books *b) {
    for (uint32_t i = 0; i < N; i++) workers[i].max_inflight = 2;
    for (int i = 0; i < 2 * N; i++) CHECK(place(b, GDP_ROUND_ROBIN, 70 * MS) >= 0);
    CHECK(place(b, GDP_ROUND_ROBIN, 70 * MS) == -GDP_ALL_BUSY);
    for (uint32_t i = 0; i < N; i++) workers[i].state = GDP_UNHEALTHY;
    CHECK(place(b, GDP_ROUND_ROBIN, 70 * MS) == -GDP_NONE_READY);
    for (uint32_t i = 0; i < N; i++) {
        gdp_book book;
        gdp_book_reset(b, i); /* a new owner: what is under way for the old one still counts until it ends */
        gdp_book_copy(b, i, 1, &book);
        CHECK(book.inflight == 2 && book.placed == 0);
        end_of(b, i, GDP_END_OK), end_of(b, i, GDP_END_OK);
    }
}

void gdp_test_load(void)
{
    gdp_books *b = gdp_books_new(3);
    CHECK(b != NULL);
    set_up();
    least_load_keeps_the_loads_even(b);
    a_session_stays_and_moves_only_when_it_must(b);
    a_circuit_opens_probes_and_closes(b);
    only_its_probe_moves_a_half_open_circuit(b);
    full_is_not_the_same_as_none(b);
    gdp_books_free(b);
}

typedef struct {
    gdp_books *books;
    uint32_t n, all[64];
    gdp_worker workers[64];
    gdp_policy policy;
} bench_room;

static void bench_place(void *arg) {
    bench_room *r = arg;
    gdp_wish wish = {.policy = (uint8_t)r->policy, .has_session = true, .session = 12345};
    gdp_placement at;
    gdp_place(r->books, r->workers, r->all, r->n, &wish, 1, &at);
    gdp_settle(r->books, &at.booking, GDP_END_OK, 10, &RULE, 1);
}

void gdp_bench_load(void)
{
    static bench_room r;
    static const char *const NAMES[] = {"round robin", "random", "least load", "session", "kv", "approx"};
    r.books = gdp_books_new(1);
    for (uint32_t i = 0; i < 64; i++) r.all[i] = i, r.workers[i] = (gdp_worker){.slot = i, .key = i * 99, .state = GDP_READY};
    for (r.n = 4; r.n <= 64; r.n *= 16)
        for (unsigned p = 0; p < GDP_POLICIES; p++) {
            char name[64];
            r.policy = (gdp_policy)p;
            snprintf(name, sizeof name, "place and settle, %s, %u workers", NAMES[p], r.n);
            gdp_bench_row(name, 0, gdp_bench_ns(bench_place, &r));
        }
    gdp_books_free(r.books);
}

/* test_ring.c -- the ring against a queue in plain memory, and in a storm of writers. */
#include "gdp/ring.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "test.h"

void gdp_test_ring(void);
void gdp_test_ring_storm(void);
void gdp_oom_ring(void);
void gdp_bench_ring(void);

/* A payload that says itself what it must be: its length, and bytes from a seed. */
static void fill(unsigned char *room, uint32_t len, uint32_t seed)
{
    for (uint32_t i = 0; i < len; i++) room[i] = (unsigned char)(seed + i * 7 + 1);
}

static bool is_filled(const unsigned char *data, uint32_t len, uint32_t seed)
{
    for (uint32_t i = 0; i < len; i++)
        if (data[i] != (unsigned char)(seed + i * 7 + 1)) return false;
    return true;
}

static bool zeroed(const unsigned char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i]) return false;
    return true;
}

/* Random writes and reads: what comes out is what went in, in order, and room is refused only where there is none. */
static void it_is_a_queue(void)
{
    gdp_ring *r = gdp_ring_new(1000, -1);
    uint64_t random = 11, lost = 0;
    struct {
        uint32_t len, tag;
    } kept[256];
    uint32_t first = 0, last = 0;
    CHECK(gdp_ring_look(r).size == GDP_RING_MIN && gdp_ring_longest(r) == GDP_RING_MIN / 2 - GDP_RING_HEAD);
    for (uint32_t i = 0; i < 200000; i++) {
        gdp_ring_message m;
        if (gdp_random(&random) % 2) {
            uint32_t len = gdp_random(&random) % (gdp_random(&random) % 8 ? 60 : 505);
            uint64_t used = gdp_ring_look(r).used;
            unsigned char *room = gdp_ring_claim(r, i, len);
            if (!room) {
                lost++;
                CHECK(used + 2 * (GDP_RING_HEAD + len + 7) > GDP_RING_MIN); /* twice: the filler is shorter than it */
                continue;
            }
            CHECK((uintptr_t)room % 8 == 0 && zeroed(room, (len + 7u) & ~7u));
            CHECK(first != last || !gdp_ring_peek(r, &m)); /* claimed is not published */
            fill(room, len, i);
            gdp_ring_publish(r, room, len);
            kept[last % 256].len = len, kept[last % 256].tag = i, last++;
        } else if (first == last) {
            CHECK(!gdp_ring_peek(r, &m));
            CHECK(gdp_ring_look(r).used == 0);
        } else {
            CHECK(gdp_ring_peek(r, &m) && m.len == kept[first % 256].len && m.tag == kept[first % 256].tag);
            CHECK(is_filled(m.data, m.len, m.tag));
            gdp_ring_drop(r), first++;
        }
    }
    CHECK(lost > 1000 && gdp_ring_look(r).lost == lost);
    gdp_ring_free(r);
}

static void the_longest_fits_an_empty_ring_wherever_its_tail_is(void)
{
    gdp_ring *r = gdp_ring_new(GDP_RING_MIN, -1);
    static const unsigned char payload[GDP_RING_MIN];
    gdp_ring_message m;
    for (int i = 0; i < 500; i++) {
        CHECK(gdp_ring_push(r, 1, payload, gdp_ring_longest(r)) == 0);
        CHECK(gdp_ring_peek(r, &m) && m.len == gdp_ring_longest(r));
        gdp_ring_drop(r);
        CHECK(gdp_ring_push(r, 2, NULL, 0) == 0 && gdp_ring_peek(r, &m) && m.len == 0 && m.tag == 2);
        gdp_ring_drop(r);
    }
    CHECK(gdp_ring_push(r, 1, payload, gdp_ring_longest(r) + 1) == GDP_BAD);
    CHECK(gdp_ring_look(r).lost == 1 && gdp_ring_look(r).lost_bytes == gdp_ring_longest(r) + 1);
    while (gdp_ring_push(r, 3, payload, 100) == 0) {}
    CHECK(gdp_ring_push(r, 3, payload, 100) == GDP_MORE && gdp_ring_look(r).lost == 3);
    gdp_ring_free(r);
}

static bool rings(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) == (ssize_t)sizeof count;
}

static void only_a_sleeper_is_woken(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    gdp_ring *r = gdp_ring_new(0, fd);
    gdp_ring_message m;
    CHECK(gdp_ring_push(r, 1, "a", 1) == 0 && !rings(fd));
    CHECK(!gdp_ring_sleep(r)); /* something is there */
    CHECK(gdp_ring_push(r, 2, "b", 1) == 0 && !rings(fd));
    while (gdp_ring_peek(r, &m)) gdp_ring_drop(r);
    CHECK(gdp_ring_sleep(r));
    CHECK(gdp_ring_push(r, 3, "c", 1) == 0 && rings(fd));
    CHECK(gdp_ring_push(r, 4, "d", 1) == 0 && !rings(fd)); /* once is enough */
    while (gdp_ring_peek(r, &m)) gdp_ring_drop(r);
    CHECK(gdp_ring_sleep(r));
    gdp_ring_awake(r); /* something else woke it */
    CHECK(gdp_ring_push(r, 5, "e", 1) == 0 && !rings(fd));
    gdp_ring_free(r);
    close(fd);
}

void gdp_test_ring(void)
{
    it_is_a_queue();
    the_longest_fits_an_empty_ring_wherever_its_tail_is();
    only_a_sleeper_is_woken();
    gdp_ring_free(NULL);
}

void gdp_oom_ring(void)
{
    gdp_ring_free(gdp_ring_new(4096, -1));
}

/* ---- storm: per writer the messages come whole and in order, none twice, and lost ones were refused ----------- */

#define WRITERS 4
#define MESSAGES 20000u

typedef struct {
    gdp_ring *r;
    uint32_t index;
    uint64_t sent, refused;
} writer;

static void *write_all(void *arg)
{
    writer *w = arg;
    uint64_t random = w->index + 1;
    unsigned char payload[400];
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t len = 4 + gdp_random(&random) % (sizeof payload - 4);
        memcpy(payload, &i, 4);
        fill(payload + 4, len - 4, i);
        bool fits = gdp_ring_push(w->r, w->index, payload, len) == 0;
        w->sent += fits, w->refused += !fits;
        if (i % 512 == 0) usleep(50); /* let the reader fall asleep now and then */
    }
    return NULL;
}

static void read_all(gdp_ring *r, int fd, const _Atomic bool *ended, uint64_t got[WRITERS])
{
    uint32_t next[WRITERS] = {0};
    for (;;) {
        bool last = atomic_load(ended); /* before the look, so that nothing is left behind */
        gdp_ring_message m;
        while (gdp_ring_peek(r, &m)) {
            uint32_t number;
            CHECK(m.tag < WRITERS && m.len >= 4);
            memcpy(&number, m.data, 4);
            CHECK(number >= next[m.tag] && number < MESSAGES);
            CHECK(is_filled((const unsigned char *)m.data + 4, m.len - 4, number));
            next[m.tag] = number + 1;
            got[m.tag]++;
            gdp_ring_drop(r);
        }
        if (last) return;
        if (!gdp_ring_sleep(r)) continue;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        CHECK(poll(&p, 1, 20000) == 1); /* a lost wake-up would end here */
        CHECK(rings(fd));
        gdp_ring_awake(r);
    }
}

typedef struct {
    pthread_t *threads;
    gdp_ring *r;
    int fd;
    _Atomic bool *ended;
} closing;

/* Waits for the writers, then wakes the reader a last time. */
static void *close_all(void *arg)
{
    closing *c = arg;
    for (int i = 0; i < WRITERS; i++) pthread_join(c->threads[i], NULL);
    atomic_store(c->ended, true);
    if (write(c->fd, &(uint64_t){1}, sizeof(uint64_t)) < 0) abort(); /* CHECK belongs to the main thread */
    return NULL;
}

static void storm(size_t bytes)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    gdp_ring *r = gdp_ring_new(bytes, fd);
    _Atomic bool ended = false;
    writer w[WRITERS];
    pthread_t threads[WRITERS], end;
    uint64_t got[WRITERS] = {0}, refused = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        w[i] = (writer){.r = r, .index = i};
        CHECK(pthread_create(&threads[i], NULL, write_all, &w[i]) == 0);
    }
    closing c = {threads, r, fd, &ended};
    CHECK(pthread_create(&end, NULL, close_all, &c) == 0);
    read_all(r, fd, &ended, got);
    pthread_join(end, NULL);
    for (int i = 0; i < WRITERS; i++) {
        CHECK(got[i] == w[i].sent && w[i].sent + w[i].refused == MESSAGES);
        refused += w[i].refused;
    }
    CHECK(gdp_ring_look(r).lost == refused && gdp_ring_look(r).used == 0);
    gdp_ring_free(r);
    close(fd);
}

void gdp_test_ring_storm(void)
{
    storm(4096);    /* often full */
    storm(1 << 20); /* hardly ever */
}

/* ---- cost ---------------------------------------------------------------------------------------------------- */

typedef struct {
    gdp_ring *r;
    unsigned char payload[1447];
    size_t len;
} there_and_back;

static void push_and_pop(void *arg)
{
    there_and_back *t = arg;
    gdp_ring_message m;
    gdp_ring_push(t->r, 1, t->payload, t->len);
    if (gdp_ring_peek(t->r, &m)) gdp_ring_drop(t->r);
}

void gdp_bench_ring(void)
{
    there_and_back t = {.r = gdp_ring_new(1 << 20, -1)};
    static const size_t lens[] = {64, 432, 1447}; /* what one vLLM batch has: a removal, 3 blocks, 12 blocks */
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        t.len = lens[i];
        gdp_bench_row("ring push + pop", t.len, gdp_bench_ns(push_and_pop, &t));
    }
    gdp_ring_free(t.r);
}

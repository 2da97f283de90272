/* ring.c -- see ring.h. Order of the atomics, once for all:
 *
 *   tail   stored with release after the wipe, loaded with acquire by writers: who sees the room sees it wiped.
 *   ready  stored after the payload and loaded before it. Sequentially consistent, as is `sleeping`: a writer stores
 *          ready and loads sleeping, the reader stores sleeping and loads ready, and one of them must see the other.
 *          (A fence would do, but ThreadSanitizer does not know fences.) */
#include "gdp/ring.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define FILLER 0x80000000u /* in `ready`: nothing to read here, the rest are its bytes */
#define LINE 64

typedef struct {
    _Atomic uint32_t ready; /* 0: not published, else the payload's bytes + 1 */
    uint32_t tag;
} record;
static_assert(sizeof(record) == GDP_RING_HEAD, "a record's header is one aligned word");

struct gdp_ring {
    _Atomic uint64_t head; /* bytes ever taken by writers */
    _Atomic uint64_t lost, lost_bytes;
    char apart1[LINE];
    _Atomic uint64_t tail; /* bytes ever given back by the reader */
    char apart2[LINE];
    _Atomic bool sleeping;
    char apart3[LINE];
    uint64_t size;
    char *bytes;
    int wake_fd;
};

/* ---- making -------------------------------------------------------------------------------------------------- */

gdp_ring *gdp_ring_new(size_t bytes, int wake_fd)
{
    gdp_ring *r = gdp_alloc(sizeof *r);
    if (!r) return NULL;
    r->size = GDP_RING_MIN;
    while (r->size < bytes && r->size < GDP_RING_MAX) r->size *= 2;
    r->wake_fd = wake_fd;
    r->bytes = gdp_alloc(r->size);
    if (r->bytes) return r;
    gdp_free(r);
    return NULL;
}

void gdp_ring_free(gdp_ring *r)
{
    if (!r) return;
    gdp_free(r->bytes);
    gdp_free(r);
}

size_t gdp_ring_longest(const gdp_ring *r)
{
    return r->size / 2 - GDP_RING_HEAD;
}

static record *at(const gdp_ring *r, uint64_t position)
{
    return (record *)(r->bytes + (position & (r->size - 1)));
}

static uint64_t whole(size_t len)
{
    return GDP_RING_HEAD + (((uint64_t)len + 7) & ~7ull);
}

/* ---- writers ------------------------------------------------------------------------------------------------- */

static void *refuse(gdp_ring *r, size_t len)
{
    atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->lost_bytes, len, memory_order_relaxed);
    return NULL;
}

/* Takes `need` contiguous bytes; *filler: how many before them only end the round. Tail is read before head, so that
 * it never is the later of the two; where they leave no room, an older tail may be the reason, hence the second look. */
static bool take(gdp_ring *r, uint64_t need, uint64_t *position, uint64_t *filler)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    for (;;) {
        uint64_t rest = r->size - (head & (r->size - 1));
        *filler = rest < need ? rest : 0;
        if (head + *filler + need - tail > r->size) {
            uint64_t later = atomic_load_explicit(&r->tail, memory_order_acquire);
            if (later == tail) return false;
            tail = later;
            head = atomic_load_explicit(&r->head, memory_order_acquire);
        } else if (atomic_compare_exchange_weak_explicit(&r->head, &head, head + *filler + need, memory_order_relaxed,
                                                         memory_order_relaxed)) {
            *position = head;
            return true;
        }
    }
}

void *gdp_ring_claim(gdp_ring *r, uint32_t tag, size_t len)
{
    uint64_t position, filler;
    if (len > gdp_ring_longest(r) || !take(r, whole(len), &position, &filler)) return refuse(r, len);
    if (filler) atomic_store_explicit(&at(r, position)->ready, FILLER | (uint32_t)filler, memory_order_release);
    record *rec = at(r, position + filler);
    rec->tag = tag;
    return rec + 1;
}

void gdp_ring_publish(gdp_ring *r, void *claimed, size_t len)
{
    record *rec = (record *)claimed - 1;
    atomic_store(&rec->ready, (uint32_t)len + 1);
    if (GDP_LIKELY(!atomic_load(&r->sleeping)) || !atomic_exchange(&r->sleeping, false) || r->wake_fd < 0) return;
    ssize_t written = write(r->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* EAGAIN: the counter is at its end, so the reader is awake */
}

int gdp_ring_push(gdp_ring *r, uint32_t tag, const void *data, size_t len)
{
    void *room = gdp_ring_claim(r, tag, len);
    if (!room) return len > gdp_ring_longest(r) ? GDP_BAD : GDP_MORE;
    if (len) memcpy(room, data, len);
    gdp_ring_publish(r, room, len);
    return 0;
}

gdp_ring_state gdp_ring_look(const gdp_ring *r)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    return (gdp_ring_state){
        .lost = atomic_load_explicit(&r->lost, memory_order_relaxed),
        .lost_bytes = atomic_load_explicit(&r->lost_bytes, memory_order_relaxed),
        .used = atomic_load_explicit(&r->head, memory_order_acquire) - tail,
        .size = r->size,
    };
}

/* ---- the reader ---------------------------------------------------------------------------------------------- */

/* Wipe first, then give back: from the release on the bytes may be anybody's. */
static void give_back(gdp_ring *r, uint64_t bytes)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    memset(at(r, tail), 0, bytes);
    atomic_store_explicit(&r->tail, tail + bytes, memory_order_release);
}

bool gdp_ring_peek(gdp_ring *r, gdp_ring_message *out)
{
    for (;;) {
        record *rec = at(r, atomic_load_explicit(&r->tail, memory_order_relaxed));
        uint32_t ready = atomic_load(&rec->ready);
        if (!ready) return false;
        if (!(ready & FILLER)) {
            *out = (gdp_ring_message){.data = rec + 1, .len = ready - 1, .tag = rec->tag};
            return true;
        }
        give_back(r, ready & ~FILLER);
    }
}

void gdp_ring_drop(gdp_ring *r)
{
    record *rec = at(r, atomic_load_explicit(&r->tail, memory_order_relaxed));
    uint32_t ready = atomic_load_explicit(&rec->ready, memory_order_relaxed);
    assert(ready && !(ready & FILLER)); /* peek said true */
    give_back(r, whole(ready - 1));
}

bool gdp_ring_sleep(gdp_ring *r)
{
    gdp_ring_message unread;
    atomic_store(&r->sleeping, true);
    if (!gdp_ring_peek(r, &unread)) return true;
    gdp_ring_awake(r);
    return false;
}

void gdp_ring_awake(gdp_ring *r)
{
    atomic_store(&r->sleeping, false);
}

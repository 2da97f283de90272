/* ring.h -- messages of any length from many threads to one, bounded, without locks.
 *
 * The index thread is fed through these: raw event payloads from the control thread, placements from the I/O
 * threads. Whoever writes must never wait for it, so a message that does not fit is refused and counted; the writer
 * then knows that the reader's picture has a hole (its worker becomes cold), which is better than a stall.
 *
 *      tail (reader)                    head (writers)
 *       v                                v
 *   ....[size tag|payload......][size tag|payload....]....     records are 8-byte aligned and never wrap:
 *                                                              what would, is preceded by a filler to the end
 *
 * A writer takes room by moving `head` with one compare-and-swap, fills it, and publishes it by storing `size`, which
 * was 0. The reader takes records in order while `size` is not 0, and wipes them before it moves `tail`: a header may
 * fall on any aligned place in the next round, so old bytes must not look like one. (Stamping headers with their lap
 * instead was dropped: a payload can hold any stamp.) A writer that sleeps between the two steps holds back what was
 * written after it, but no other writer until the ring is full.
 *
 * The reader sleeps on an eventfd of its own choice; writers touch it only while it sleeps:
 *
 *     while (gdp_ring_peek(r, &m)) use(&m), gdp_ring_drop(r);
 *     if (gdp_ring_sleep(r)) { poll(fd); read(fd); gdp_ring_awake(r); }
 *
 * Push and pop in one thread: 23 ns at 64 B, 33 at 432 B (3 blocks of 32 tokens), 64 at 1447 B (12 blocks). */
#ifndef GDP_RING_H
#define GDP_RING_H

#include "gdp/base.h"

#define GDP_RING_HEAD 8u        /* bytes that each message costs beside its payload, which is rounded up to 8 */
#define GDP_RING_MIN 1024u      /* bytes of the smallest ring */
#define GDP_RING_MAX (1u << 30) /* ... and of the largest */

typedef struct gdp_ring gdp_ring;

typedef struct {
    const void *data; /* 8-byte aligned, valid until gdp_ring_drop */
    uint32_t len;
    uint32_t tag; /* the writer's word; the ring does not look at it */
} gdp_ring_message;

typedef struct {
    uint64_t lost;       /* messages that did not fit */
    uint64_t lost_bytes; /* their payloads */
    uint64_t used;       /* bytes taken now; a moment later another number */
    uint64_t size;       /* bytes there are */
} gdp_ring_state;

/* `bytes` is rounded up to a power of two within [MIN, MAX]. `wake_fd`: an eventfd that stays the caller's, -1: none.
 * NULL: no memory. */
gdp_ring *gdp_ring_new(size_t bytes, int wake_fd);
void gdp_ring_free(gdp_ring *r); /* nobody may be using it; NULL is fine */

/* The longest payload that fits an empty ring whatever its tail: a half less the header. */
size_t gdp_ring_longest(const gdp_ring *r);

/* ---- any thread ---------------------------------------------------------------------------------------------- */

/* Copies a message in. 0, GDP_MORE: no room now (counted), GDP_BAD: longer than gdp_ring_longest (counted too). */
int gdp_ring_push(gdp_ring *r, uint32_t tag, const void *data, size_t len);

/* The same in two steps, for a payload made in place: room for `len` bytes (8-byte aligned, zeroed), NULL where push
 * would fail. What was claimed must be published, by the same thread and soon: everything behind it waits. */
void *gdp_ring_claim(gdp_ring *r, uint32_t tag, size_t len);
void gdp_ring_publish(gdp_ring *r, void *claimed, size_t len);

gdp_ring_state gdp_ring_look(const gdp_ring *r);

/* ---- the one reader ------------------------------------------------------------------------------------------ */

bool gdp_ring_peek(gdp_ring *r, gdp_ring_message *out); /* the oldest message; false: none is ready */
void gdp_ring_drop(gdp_ring *r);                        /* done with what peek last gave */

/* About to sleep. True: nothing is there, and whoever publishes next writes to wake_fd. False: look again. */
bool gdp_ring_sleep(gdp_ring *r);
void gdp_ring_awake(gdp_ring *r); /* not sleeping (any more), for whatever reason */

#endif

/* meter_window.h -- what happened in the last 1 to 900 seconds.
 *
 *     seconds[128]   one slot per second      ... [57][58][59]  open    the second that is being written: plain
 *     decades[128]   one slot per ten         [3][4] . decade           counts, 32 bits a bucket; packed when over
 *
 * A slot's place is its number modulo 128 and its stamp says whose it is, so nothing is cleared as time goes by: after
 * an idle hour all stamps are old, and old slots are not read. The writer closes a second when it first hears of a
 * later one (about 1 us, once a second); a reader needs no writer to see time pass.
 *
 * A window is (now - W, now]. It is covered by the open second, by seconds, and by tens where all ten are inside; the
 * oldest slot counts with the share of it that is inside, so a rate has no steps. Up to 118 s the oldest is a second,
 * beyond that ten.
 *
 * Clocks: an observation up to two seconds older than the open second counts there (threads read clocks at different
 * times). A clock that goes back further begins a new window; one that jumps ahead leaves old slots behind.
 *
 * One writer. Readers run beside it: a sequence number tells them to look again when a second was closed meanwhile. */
#ifndef GDP_METER_WINDOW_H
#define GDP_METER_WINDOW_H

#include "gdp/meter_slot.h"

#define GDP_RING_SLOTS 128u
#define GDP_WINDOW_MAX_S 900u
#define GDP_SECOND_NS 1000000000ull

/* What a window holds; more than one may be added up. */
typedef struct {
    double count, sum;
    double bucket[GDP_SLOT_ROOM];
} gdp_view;

/* Without a view's buckets: sums alone. 16 bytes a slot. */
typedef struct {
    uint32_t stamp, count;
    double sum;
} gdp_tick;

typedef struct {
    uint32_t seq;
    uint64_t second;
    gdp_tick open, decade; /* the decade without the open second */
    gdp_tick seconds[GDP_RING_SLOTS], decades[GDP_RING_SLOTS];
} gdp_flow;

typedef struct {
    uint32_t seq, buckets;
    uint64_t second;
    double sum, decade_sum;
    gdp_slot seconds[GDP_RING_SLOTS], decades[GDP_RING_SLOTS];
    uint32_t counts[]; /* of the open second, then of the decade without it */
} gdp_window;

static inline size_t gdp_window_bytes(uint32_t buckets)
{
    return sizeof(gdp_window) + 2 * sizeof(uint32_t) * buckets;
}

/* The open second is over, or the clock went elsewhere: what writing does first when it hears of another second. */
void gdp_flow_turn(gdp_flow *f, uint64_t second);
void gdp_window_turn(gdp_window *w, uint64_t second);

/* Add what the window (now - window_s, now] holds. 1 <= window_s <= 900. */
void gdp_flow_look(const gdp_flow *f, uint64_t now_ns, uint32_t window_s, gdp_view *into);
void gdp_window_look(const gdp_window *w, uint64_t now_ns, uint32_t window_s, gdp_view *into);

/* The slots of a window, newest first: which, and the share of it that is inside. */
typedef struct {
    uint64_t from_ns, second, open;
    bool over;
} gdp_walk;

typedef struct {
    uint64_t number; /* of the second, or of the ten */
    double share;
    bool ten;
} gdp_step;

gdp_walk gdp_walk_begin(uint64_t open, uint64_t now_ns, uint32_t window_s);
bool gdp_walk_next(gdp_walk *w, gdp_step *step);

#endif

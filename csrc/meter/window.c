/* window.c -- see gdp/meter_window.h. */
#include "gdp/meter_window.h"

#include <assert.h>
#include <sched.h>

#include "shared.h"

#define LATE_S 2u        /* observations may be so much older than the open second */
#define SPINS 64u        /* looks before a reader gives way: the writer may wait for this very CPU */
#define LOOKS_MAX 10000u /* a writer that dies within that microsecond must not hold its readers for ever */
#define SLOT_WORDS (sizeof(gdp_slot) / sizeof(uint64_t))

static_assert(sizeof(gdp_slot) % sizeof(uint64_t) == 0, "slots are copied word by word");

/* ---- shared by both ------------------------------------------------------------------------------------------ */

static bool look_again(unsigned looks)
{
    if (looks > SPINS) sched_yield();
    return looks < LOOKS_MAX;
}

static void change_begins(uint32_t *seq)
{
    GDP_NOTE(seq, *seq + 1);
}

static void change_ends(uint32_t *seq)
{
    GDP_RELEASE(seq, *seq + 1);
}

static void put_words(void *to, const void *from, size_t words)
{
    gdp_word *word = to;
    uint64_t value;
    for (size_t i = 0; i < words; i++) {
        memcpy(&value, (const char *)from + i * sizeof value, sizeof value);
        GDP_RELEASE(word + i, value);
    }
}

static void get_words(void *to, const void *from, size_t words)
{
    const gdp_word *word = from;
    for (size_t i = 0; i < words; i++) {
        const uint64_t value = GDP_ACQUIRE(word + i);
        memcpy((char *)to + i * sizeof value, &value, sizeof value);
    }
}

static void clear_words(void *to, size_t bytes)
{
    gdp_word *word = to;
    for (size_t i = 0; i < bytes / sizeof *word; i++) GDP_RELEASE(word + i, 0);
}

/* True when the slots say nothing of this second: the clock went back, or so far ahead that stamps would turn over. */
static bool is_elsewhere(uint64_t open, uint64_t second)
{
    return second < open || second - open > UINT32_MAX / 2;
}

/* True when an observation of this second is one for the open second all the same. */
static bool only_late(uint64_t open, uint64_t second)
{
    return second < open && open - second <= LATE_S;
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

static void put_tick(gdp_tick *to, uint64_t number, gdp_tick what)
{
    what.stamp = (uint32_t)number;
    put_words(to, &what, sizeof what / sizeof(uint64_t));
}

void gdp_flow_turn(gdp_flow *f, uint64_t second)
{
    const gdp_tick none = {0};
    if (only_late(f->second, second)) return;
    change_begins(&f->seq);
    if (is_elsewhere(f->second, second)) {
        clear_words(f->seconds, sizeof f->seconds + sizeof f->decades);
        put_tick(&f->open, 0, none);
        put_tick(&f->decade, 0, none);
    } else {
        if (f->open.count) put_tick(&f->seconds[f->second % GDP_RING_SLOTS], f->second, f->open);
        f->decade = (gdp_tick){0, gdp_plus(f->decade.count, f->open.count), f->decade.sum + f->open.sum};
        put_tick(&f->open, 0, none);
        if (second / 10 != f->second / 10) {
            if (f->decade.count) put_tick(&f->decades[f->second / 10 % GDP_RING_SLOTS], f->second / 10, f->decade);
            f->decade = none; /* the writer's own: readers have its seconds */
        }
    }
    GDP_RELEASE(&f->second, second);
    change_ends(&f->seq);
}

static gdp_view flow_gather(const gdp_flow *f, uint64_t now_ns, uint32_t window_s)
{
    gdp_walk walk = gdp_walk_begin(GDP_ACQUIRE(&f->second), now_ns, window_s);
    gdp_view found;
    found.count = found.sum = 0;
    for (gdp_step step; gdp_walk_next(&walk, &step);) {
        const gdp_tick *at = (step.ten ? f->decades : f->seconds) + step.number % GDP_RING_SLOTS;
        const bool open = !step.ten && step.number == walk.open;
        gdp_tick tick;
        get_words(&tick, open ? &f->open : at, sizeof tick / sizeof(uint64_t));
        if (!open && tick.stamp != (uint32_t)step.number) continue;
        found.count += step.share * tick.count;
        found.sum += step.share * tick.sum;
    }
    return found;
}

void gdp_flow_look(const gdp_flow *f, uint64_t now_ns, uint32_t window_s, gdp_view *into)
{
    gdp_view found = {.count = 0};
    for (unsigned looks = 0; look_again(looks); looks++) {
        const uint32_t seq = GDP_ACQUIRE(&f->seq);
        if (seq & 1) continue;
        found = flow_gather(f, now_ns, window_s);
        if (GDP_LOOK(&f->seq) == seq) break;
    }
    into->count += found.count;
    into->sum += found.sum;
}

/* ---- counts by bucket ---------------------------------------------------------------------------------------- */

static void put_packed(gdp_slot *to, uint64_t number, const uint32_t *counts, uint32_t n, double sum)
{
    gdp_slot slot;
    gdp_slot_pack(&slot, counts, n);
    if (slot.count == 0) return;
    slot.stamp = (uint32_t)number;
    slot.sum = sum;
    put_words(to, &slot, SLOT_WORDS);
}

static void close_second(gdp_window *w)
{
    uint32_t *decade = w->counts + w->buckets;
    put_packed(&w->seconds[w->second % GDP_RING_SLOTS], w->second, w->counts, w->buckets, w->sum);
    for (uint32_t i = 0; i < w->buckets; i++) {
        if (!w->counts[i]) continue;
        decade[i] = gdp_plus(decade[i], w->counts[i]);
        GDP_RELEASE(&w->counts[i], 0);
    }
    w->decade_sum += w->sum;
    gdp_note_f64(&w->sum, 0);
}

/* The decade's counts are the writer's own: readers have its seconds. */
static void close_decade(gdp_window *w)
{
    uint32_t *decade = w->counts + w->buckets;
    const uint64_t number = w->second / 10;
    put_packed(&w->decades[number % GDP_RING_SLOTS], number, decade, w->buckets, w->decade_sum);
    memset(decade, 0, w->buckets * sizeof *decade);
    w->decade_sum = 0;
}

static void forget(gdp_window *w)
{
    clear_words(w->seconds, sizeof w->seconds + sizeof w->decades);
    for (uint32_t i = 0; i < w->buckets; i++) GDP_RELEASE(&w->counts[i], 0);
    memset(w->counts + w->buckets, 0, w->buckets * sizeof *w->counts);
    gdp_note_f64(&w->sum, 0);
    w->decade_sum = 0;
}

void gdp_window_turn(gdp_window *w, uint64_t second)
{
    if (only_late(w->second, second)) return;
    change_begins(&w->seq);
    if (is_elsewhere(w->second, second)) {
        forget(w);
    } else {
        close_second(w);
        if (second / 10 != w->second / 10) close_decade(w);
    }
    GDP_RELEASE(&w->second, second);
    change_ends(&w->seq);
}

static void gather_open(const gdp_window *w, double share, gdp_view *into)
{
    for (uint32_t i = 0; i < w->buckets; i++) {
        const uint32_t n = GDP_ACQUIRE(&w->counts[i]);
        if (!n) continue;
        const double count = share * n;
        into->bucket[i] += count;
        into->count += count;
    }
    into->sum += share * gdp_look_f64(&w->sum);
}

static void window_gather(const gdp_window *w, uint64_t now_ns, uint32_t window_s, gdp_view *into)
{
    gdp_walk walk = gdp_walk_begin(GDP_ACQUIRE(&w->second), now_ns, window_s);
    memset(into, 0, sizeof *into);
    for (gdp_step step; gdp_walk_next(&walk, &step);) {
        if (!step.ten && step.number == walk.open) {
            gather_open(w, step.share, into);
            continue;
        }
        const gdp_slot *at = (step.ten ? w->decades : w->seconds) + step.number % GDP_RING_SLOTS;
        if (GDP_ACQUIRE(&at->stamp) != (uint32_t)step.number) continue;
        gdp_slot slot;
        get_words(&slot, at, SLOT_WORDS);
        into->count += step.share * slot.count;
        into->sum += step.share * slot.sum;
        gdp_slot_unpack(&slot, step.share, into->bucket);
    }
}

void gdp_window_look(const gdp_window *w, uint64_t now_ns, uint32_t window_s, gdp_view *into)
{
    gdp_view found = {.count = 0};
    for (unsigned looks = 0; look_again(looks); looks++) {
        const uint32_t seq = GDP_ACQUIRE(&w->seq);
        if (seq & 1) continue;
        window_gather(w, now_ns, window_s, &found);
        if (GDP_LOOK(&w->seq) == seq) break;
    }
    into->count += found.count;
    into->sum += found.sum;
    for (uint32_t i = 0; i < w->buckets; i++) into->bucket[i] += found.bucket[i];
}

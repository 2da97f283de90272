/* explain.c -- the last placements, kept so that people can ask why.
 *
 * One ring per loop, written over. An entry is copied out while its loop may go on writing: whoever copies looks at the
 * count before and after, and leaves out what may have been written over meanwhile. The entry is copied word by word
 * with relaxed loads and stores, so that a torn one is only ever thrown away, never undefined. */
#include <string.h>

#include "inner.h"

#define WORDS (sizeof(gdp_decision) / sizeof(uint64_t))
_Static_assert(sizeof(gdp_decision) % sizeof(uint64_t) == 0, "copied by words");

static void copy_words(void *to, const void *from) {
    uint64_t *a = to;
    const uint64_t *b = from;
    for (size_t i = 0; i < WORDS; i++) __atomic_store_n(&a[i], __atomic_load_n(&b[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

static void text(char *to, size_t room, const char *from, size_t len) {
    memcpy(to, from, len < room - 1 ? len : room - 1);
}

void decision_note(gdp_loop *l, const gdp_exchange *x, const gdp_wish *wish, const gdp_placement *at, uint32_t known) {
    gdp_decision d = {
        .at_ns = l->now, .waited_ns = l->now - x->arrival, .prompt_tokens = (uint32_t)(at->booking.lot.uncached + at->booking.lot.cached),
        .blocks = wish->ask.blocks, .known = known, .n_candidates = at->n_candidates, .tied = at->tied, .n_shown = at->n_shown,
        .policy = x->policy, .attempt = x->attempts,
        .basis = !wish->ask.chain ? GDP_BY_NOTHING : wish->text ? GDP_BY_TEXT : GDP_BY_TOKENS,
    };
    memcpy(d.shown, at->shown, at->n_shown * sizeof *d.shown);
    text(d.id, sizeof d.id, x->id, x->id_len);
    text(d.model, sizeof d.model, x->model_name, x->model_len);
    uint64_t n = atomic_load_explicit(&l->n_decisions, memory_order_relaxed);
    copy_words(&l->decisions[n % DECISIONS], &d);
    atomic_store_explicit(&l->n_decisions, n + 1, memory_order_release);
}

/* The youngest of all loops' next ones. */
static gdp_loop *youngest(gdp_plane *p, const uint64_t *left, gdp_decision *out) {
    gdp_loop *found = NULL;
    gdp_decision d;
    for (uint32_t i = 0; i < p->n_loops; i++) {
        gdp_loop *l = &p->loops[i];
        if (!left[i]) continue;
        copy_words(&d, &l->decisions[(left[i] - 1) % DECISIONS]);
        if (found && d.at_ns <= out->at_ns) continue;
        *out = d;
        found = l;
    }
    return found;
}

size_t gdp_plane_decisions(gdp_plane *p, gdp_decision *out, size_t max) {
    uint64_t left[64] = {0};
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_loops; i++) left[i] = atomic_load_explicit(&p->loops[i].n_decisions, memory_order_acquire);
    while (n < max) {
        gdp_loop *l = youngest(p, left, &out[n]);
        if (!l) return n;
        uint64_t at = --left[l->index];
        atomic_thread_fence(memory_order_acquire);
        uint64_t written = atomic_load_explicit(&l->n_decisions, memory_order_relaxed);
        if (written - at >= DECISIONS) left[l->index] = 0; /* it, and all before it, may have been written over */
        else n++;
    }
    return n;
}

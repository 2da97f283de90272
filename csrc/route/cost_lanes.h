/* cost_lanes.h -- the one place where a cost is made. Included once per width, by whoever has defined
 *
 *     LANES_INLINE        static inline, for machines of that width
 *     LANED(name)         the name with its width behind it
 *     num                 double, or a vector of doubles
 *     ALL(x)              the double x in each lane
 *     PICK(mask, a, b)    a in the lanes where the mask is set, elsewhere b
 *     LESS(a, b)          the lesser, lane by lane
 *     MORE(a, b)          the greater
 *     ANY(mask)           a bit for each lane where it is set
 *     LOAD(p)             doubles from p on
 *     LOAD_BLOCKS(p)      uint32_t from p on, as doubles
 *
 * Every width gives the same bits: the same operations in the same order, none of them fused. */

/* Candidates as they are seen. */
typedef struct {
    num inflight, free_at, booked, cached, reload, busy, context, kv, capacity;
} LANED(seen);

typedef struct {
    num queue, prefill, work, stall, decode, memory, total;
} LANED(price);

LANES_INLINE num LANED(tokens_in)(const holding *h, const uint32_t *reach)
{
    const num tokens = LOAD_BLOCKS(reach) * h->block_tokens;
    return LESS(tokens, ALL(h->most));
}

/* Those that stand k places behind the view's first. media: a constant, other media than the GPU's count, too. */
LANES_INLINE LANED(seen) LANED(look)(const view *v, size_t k, const holding *h, bool media)
{
    const double *at = v->at + k;
    const num gpu = LANED(tokens_in)(h, v->reach[0] + k);
    num cached = gpu, reload = ALL(0.0);
    if (media) {
        const num cpu = LANED(tokens_in)(h, v->reach[1] + k);
        cached = LANED(tokens_in)(h, v->reach[2] + k);
        reload = (cpu - gpu) * h->cpu_s + (cached - cpu) * h->storage_s;
    }
    return (LANED(seen)){
        .inflight = LOAD(at), .free_at = LOAD(at + v->pitch), .booked = LOAD(at + 2 * v->pitch),
        .cached = cached, .reload = reload, .busy = LOAD(at + 3 * v->pitch) + LOAD(at + 4 * v->pitch),
        .context = LOAD(at + 5 * v->pitch), .kv = LOAD(at + 6 * v->pitch),
        .capacity = LOAD(at + 7 * v->pitch),
    };
}

LANES_INLINE num LANED(backlog_of)(const LANED(seen) *w, double floor, double now_s)
{
    return MORE(w->free_at - now_s, w->booked * floor);
}

/* Seconds between tokens there once a prompt of so many tokens has joined. */
LANES_INLINE num LANED(step_of)(const common *c, const LANED(seen) *w, double prompt)
{
    return c->s0 + c->s1 * (w->busy + 1.0) + c->s2 * (w->context + prompt);
}

LANES_INLINE LANED(price) LANED(price_of)(const common *c, const LANED(seen) *w, double floor, double now_s)
{
    const num backlog = LANED(backlog_of)(w, floor, now_s);
    const num uncached = c->prompt - w->cached;
    const num work = c->f1 * uncached + c->f2 * uncached * (w->cached + 0.5 * uncached) + w->reload;
    const num prefill = c->f0 + work;
    const num decode = c->output * LANED(step_of)(c, w, c->prompt);
    const num stall = w->busy * work * work / (work + decode + 1e-9); /* nothing at all to do: not 0 / 0 */
    LANED(price) p = {
        backlog, prefill, work, stall, decode, ALL(0.0),
        .total = c->queue * backlog + c->prefill * prefill + c->stall * stall + c->decode * decode,
    };
    const num over = w->kv + uncached + c->output - w->capacity;
    if (ANY(over > 0.0)) { /* PERF: rare, and the second of two divisions */
        p.memory = MORE(over, ALL(0.0)) * decode / (w->kv + 1.0);
        p.total += p.memory;
    }
    return p;
}

/* cost.c -- see gdp/cost.h: the weights, the terms of one placement, and which of many that were surveyed it is. */
#include "cost_inner.h"

void gdp_weights_init(gdp_weights *w)
{
    *w = (gdp_weights){
        .queue = 1, .prefill = 2, .stall = 0.01, .decode = 0.05, .floor = 0.25, .tie_ratio = 0.005, .tie_s = 0.001,
        .reload_s = {0, 5e-6, 40e-6}, /* 128 KiB per token over 25 and 3 GB/s */
    };
}

/* ---- the terms ------------------------------------------------------------------------------------------------ */

/* One worker at a time. */
#define LANES_INLINE GDP_INLINE
#define LANED(name) name##1
#define ALL(x) (x)
#define LESS(a, b) lesser(a, b)
#define MORE(a, b) greater(a, b)
#define ANY(mask) ((mask) != 0)
#define LOAD(p) (*(p))
#define LOAD_BLOCKS(p) ((double)*(p))
#define num double
#include "cost_lanes.h"

static gdp_terms terms_at(const gdp_tally *t, const common *c, const holding *h, const gdp_weights *w, uint32_t slot,
                          double now_s)
{
    view v = {.at = t->inflight + slot, .pitch = t->pitch};
    for (unsigned m = 0; m < GDP_MEDIA; m++) v.reach[m] = h->reach[m] ? h->reach[m] + slot : GDP_NOTHING;
    const seen1 s = look1(&v, 0, h, h->media);
    const price1 p = price_of1(c, &s, w->floor, now_s);
    return (gdp_terms){
        .slot = slot, .cached_tokens = (uint32_t)s.cached, .queue_s = p.queue, .prefill_s = p.prefill, .stall_s = p.stall,
        .decode_s = p.decode, .memory_s = p.memory, .work_s = p.work, .total = p.total,
    };
}

void gdp_cost_terms(const gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                    const uint32_t *slots, uint32_t n, double now_s, gdp_terms *out)
{
    const holding h = holding_of(ask, w);
    common c;
    for (uint32_t i = 0; i < n; i++) {
        const uint16_t class_of = t->class_of[slots[i]];
        if (!i || class_of != t->class_of[slots[i - 1]]) c = common_of(&rates[class_of], w, ask);
        out[i] = terms_at(t, &c, &h, w, slots[i], now_s);
    }
}

/* ---- of a list ------------------------------------------------------------------------------------------------ */

static void enrol(gdp_tally *t, const uint32_t *slots, uint32_t n)
{
    uint64_t classes = 0;
    for (uint32_t i = 0; i < n; i++) classes |= UINT64_C(1) << t->class_of[slots[i]];
    gdp_roster_clear(t->roster);
    for (; classes; classes &= classes - 1) {
        uint16_t class_of = (uint16_t)__builtin_ctzll(classes);
        gdp_roster_begin(t->roster, class_of);
        for (uint32_t i = 0; i < n; i++)
            if (t->class_of[slots[i]] == class_of) gdp_roster_add(t->roster, slots[i], i, t->key[slots[i]], 0);
        gdp_roster_end(t->roster);
    }
}

int gdp_cost_choose(gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                    const uint32_t *slots, uint32_t n, double now_s, gdp_terms *chosen, uint32_t *tied)
{
    uint32_t equal;
    if (!n || n > t->slots || !ask->block_tokens) return GDP_BAD;
    enrol(t, slots, n);
    const gdp_doors open = {.limits = t->roster->limit, .usual = w};
    gdp_survey all = gdp_cost_survey(t, rates, w, ask, t->roster, &open, now_s);
    uint32_t place = gdp_cost_cheapest(t, w, ask, t->roster, all.least, &equal);
    if (tied) *tied = equal;
    if (chosen) gdp_cost_terms(t, rates, w, ask, &t->roster->slot[place], 1, now_s, chosen);
    return (int)t->roster->index[place];
}

/* tally.c -- see gdp/cost.h: the numbers per worker, and what a request's life does to them. */
#include <math.h>

#include "gdp/cost.h"
#include "minmax.h"

#define COLUMNS 18       /* arrays of double per slot */
#define STAGGER 24       /* doubles: see pitch */
#define LINE 64          /* bytes: the columns' rows of eight are lines of the cache */
#define SAME_STEP_S 5e-4 /* first tokens closer than this came out of one engine step */

static void lay_out(gdp_tally *t, size_t places)
{
    double **const columns[COLUMNS] = {
        &t->inflight, &t->free_at_s,   &t->booked_s,    &t->running,     &t->waiting, &t->context,
        &t->kv_tokens, &t->kv_capacity, &t->seen_s,     &t->sum_running, &t->sum_context, &t->computed_s,
        &t->first_s,  &t->lot_s,       &t->lot_tokens,  &t->lot_attention, &t->lot_prompts, &t->lot_booked_s,
    };
    double *first = (double *)(void *)(((uintptr_t)t->rows + LINE - 1) / LINE * LINE);
    for (unsigned i = 0; i < COLUMNS; i++) *columns[i] = first + (size_t)i * t->pitch;
    t->cost = first + (size_t)COLUMNS * t->pitch;
    t->cached = t->cost + places;
    t->low = t->cached + places;
}

gdp_tally *gdp_tally_new(uint32_t slots)
{
    gdp_tally *t = gdp_alloc(sizeof *t);
    if (!t) return NULL;
    /* PERF: 4,096 doubles are a multiple of the first cache's ways, where the same slot of all columns would fight for one
     * set. Three lines more, and choosing among 256 workers takes half of the time. */
    t->pitch = (slots + STAGGER + GDP_ROW - 1) / GDP_ROW * GDP_ROW;
    t->slots = slots;
    const size_t places = slots + (size_t)GDP_CLASSES * (GDP_ROW - 1);
    t->rows = gdp_alloc(sizeof *t->rows * (t->pitch * COLUMNS + 2 * places + places / GDP_ROW + 1) + LINE);
    t->key = gdp_alloc(sizeof *t->key * slots);
    t->class_of = gdp_alloc(sizeof *t->class_of * slots);
    t->equal = gdp_alloc(sizeof *t->equal * places);
    t->roster = gdp_roster_empty(slots);
    if (!t->rows || !t->key || !t->class_of || !t->equal || !t->roster) {
        gdp_tally_free(t);
        return NULL;
    }
    lay_out(t, places);
    for (uint32_t i = 0; i < slots; i++) t->kv_capacity[i] = INFINITY;
    return t;
}

void gdp_tally_free(gdp_tally *t)
{
    if (!t) return;
    gdp_free(t->rows);
    gdp_free(t->key);
    gdp_free(t->class_of);
    gdp_free(t->equal);
    gdp_roster_free(t->roster);
    gdp_free(t);
}

void gdp_tally_reset(gdp_tally *t, uint32_t slot, uint16_t class_of, uint64_t key, double kv_capacity)
{
    for (unsigned i = 1; i < COLUMNS; i++) t->inflight[(size_t)i * t->pitch + slot] = 0; /* but what is in flight */
    t->class_of[slot] = class_of;
    t->key[slot] = key;
    t->kv_capacity[slot] = kv_capacity > 0 ? kv_capacity : INFINITY;
}

void gdp_tally_scraped(gdp_tally *t, uint32_t slot, double kv_tokens)
{
    if (isfinite(kv_tokens) && kv_tokens >= 0) t->kv_tokens[slot] = kv_tokens;
}

double gdp_tally_backlog_s(const gdp_tally *t, const gdp_weights *w, uint32_t slot, double now_s)
{
    return greater(t->free_at_s[slot] - now_s, t->booked_s[slot] * w->floor);
}

/* Carry the integrals to now; to be called before running or context change. */
static void advance(gdp_tally *t, uint32_t slot, double now_s)
{
    double dt = now_s - t->seen_s[slot];
    t->seen_s[slot] = now_s;
    if (!(dt > 0)) return;
    t->sum_running[slot] += dt * t->running[slot];
    t->sum_context[slot] += dt * t->context[slot];
}

static double less(double from, double what)
{
    return from > what ? from - what : 0; /* rounding may leave a hair below zero */
}

void gdp_tally_place(gdp_tally *t, gdp_lot *lot, const gdp_ask *ask, const gdp_terms *terms, double now_s)
{
    uint32_t slot = terms->slot;
    double prompt = ask->prompt_tokens, cached = terms->cached_tokens, uncached = prompt - cached;
    *lot = (gdp_lot){
        .slot = slot, .state = 1, .prefill_s = terms->work_s, .uncached = uncached, .cached = cached,
        .context = prompt + 0.5 * ask->output_tokens, .kv = uncached + ask->output_tokens, .placed_s = now_s,
    };
    advance(t, slot, now_s);
    t->free_at_s[slot] = greater(t->free_at_s[slot], now_s) + lot->prefill_s;
    t->booked_s[slot] += lot->prefill_s;
    t->waiting[slot] += 1;
    t->context[slot] += lot->context;
    t->kv_tokens[slot] += lot->kv;
}

/* The prompt is no longer to be computed. */
static void settle_prompt(gdp_tally *t, const gdp_lot *lot)
{
    t->booked_s[lot->slot] = less(t->booked_s[lot->slot], lot->prefill_s);
    t->waiting[lot->slot] = less(t->waiting[lot->slot], 1);
    if (t->waiting[lot->slot] <= 0) t->booked_s[lot->slot] = 0;
}

/* First tokens of one engine step are learnt from as one lot: it took so long for all of them together. */
static void learn_prefill(gdp_tally *t, gdp_rates *rates, const gdp_lot *lot, double now_s)
{
    uint32_t slot = lot->slot;
    bool same = now_s - t->first_s[slot] < SAME_STEP_S && t->lot_prompts[slot] > 0;
    if (!same) {
        if (t->lot_prompts[slot] > 0)
            (void)gdp_rates_prefill(&rates[t->class_of[slot]], t->lot_tokens[slot], t->lot_attention[slot], 1,
                                    t->lot_s[slot]);
        t->lot_s[slot] = now_s - greater(lot->placed_s, t->first_s[slot]);
        t->lot_tokens[slot] = t->lot_attention[slot] = t->lot_prompts[slot] = t->lot_booked_s[slot] = 0;
    }
    t->lot_prompts[slot] += 1;
    t->lot_tokens[slot] += lot->uncached;
    t->lot_attention[slot] += lot->uncached * (lot->cached + lot->uncached / 2);
    t->first_s[slot] = now_s;
}

void gdp_tally_first(gdp_tally *t, gdp_rates *rates, gdp_lot *lot, double now_s)
{
    uint32_t slot = lot->slot;
    if (lot->state != 1) return;
    lot->state = 2;
    lot->first_s = now_s;
    advance(t, slot, now_s);
    learn_prefill(t, rates, lot, now_s);
    settle_prompt(t, lot);
    t->free_at_s[slot] = now_s + t->booked_s[slot];
    t->running[slot] += 1;
    t->computed_s[slot] += lot->prefill_s;
    lot->sum_running = t->sum_running[slot];
    lot->sum_context = t->sum_context[slot];
    /* Those of this step that are still to come here will look like prompts after it; so that this evens out within the
     * step, those already seen are taken off again. */
    lot->computed_s = t->computed_s[slot] + t->lot_booked_s[slot];
    t->lot_booked_s[slot] += lot->prefill_s;
}

void gdp_tally_unseen(gdp_tally *t, gdp_lot *lot, double now_s)
{
    uint32_t slot = lot->slot;
    if (lot->state != 1) return;
    lot->state = 2;
    lot->unseen = true;
    advance(t, slot, now_s);
    settle_prompt(t, lot);
    t->running[slot] += 1;
    t->computed_s[slot] += lot->prefill_s;
}

void gdp_tally_end(gdp_tally *t, gdp_rates *rates, gdp_lot *lot, double tokens, double now_s)
{
    uint32_t slot = lot->slot;
    if (!lot->state) return;
    advance(t, slot, now_s);
    if (lot->state == 1) {
        settle_prompt(t, lot);
        t->free_at_s[slot] = lesser(t->free_at_s[slot], now_s + t->booked_s[slot]);
    } else {
        t->running[slot] = less(t->running[slot], 1);
        if (lot->unseen) /* what the clock has left of its prompt was done earlier than thought */
            t->free_at_s[slot] = lesser(t->free_at_s[slot], greater(now_s + t->booked_s[slot], t->free_at_s[slot] - lot->prefill_s));
        double took = now_s - lot->first_s;
        if (tokens > 1 && took > 0 && !lot->unseen) {
            gdp_rates *r = &rates[t->class_of[slot]];
            /* Time that went into prompts of others is not a step's. */
            double decoding = took - (t->computed_s[slot] - lot->computed_s);
            (void)gdp_rates_step(r, (t->sum_running[slot] - lot->sum_running) / took,
                                 (t->sum_context[slot] - lot->sum_context) / took, decoding / (tokens - 1));
        }
        if (tokens > 0) (void)gdp_rates_output(&rates[t->class_of[slot]], tokens);
    }
    t->context[slot] = less(t->context[slot], lot->context);
    t->kv_tokens[slot] = less(t->kv_tokens[slot], lot->kv);
    lot->state = 0;
}

/* test_cost.c -- the ledger, the rates, the choice. */
#include <math.h>

#include "gdp/cost.h"
#include "test.h"

#define N 64
#define BLOCK 16

typedef struct {
    gdp_tally *t;
    gdp_rates rates[2];
    gdp_weights w;
    uint32_t reach[GDP_MEDIA][N], slots[N];
    uint64_t chain[256];
    gdp_ask ask;
} room;

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * (1 + fabs(a) + fabs(b));
}

static double random_up_to(uint64_t *random, double high)
{
    return high * gdp_random(random) / 4294967296.0;
}

static void set_up(room *r)
{
    memset(r, 0, sizeof *r);
    r->t = gdp_tally_new(N);
    if (!r->t) return;
    gdp_weights_init(&r->w);
    for (unsigned i = 0; i < 2; i++) gdp_rates_init(&r->rates[i]);
    for (uint32_t i = 0; i < N; i++) {
        gdp_tally_reset(r->t, i, 0, (i + 1) * 0x9e3779b97f4a7c15ull, 4e5);
        r->slots[i] = i;
    }
    for (uint32_t i = 0; i < 256; i++) r->chain[i] = (i + 1) * 0xda942042e4dd58b5ull;
    r->ask = (gdp_ask){.prompt_tokens = 4000, .block_tokens = BLOCK, .output_tokens = 200, .chain = r->chain, .blocks = 250,
                       .reach = {r->reach[0]}};
}

static gdp_terms terms_of(room *r, uint32_t slot, double now_s)
{
    gdp_terms terms;
    gdp_cost_terms(r->t, r->rates, &r->w, &r->ask, &slot, 1, now_s, &terms);
    return terms;
}

static gdp_lot place(room *r, uint32_t slot, double now_s)
{
    gdp_lot lot;
    gdp_terms terms = terms_of(r, slot, now_s);
    gdp_tally_place(r->t, &lot, &r->ask, &terms, now_s);
    return lot;
}

static uint32_t choose(room *r, double now_s, uint32_t *tied)
{
    int i = gdp_cost_choose(r->t, r->rates, &r->w, &r->ask, r->slots, N, now_s, NULL, tied);
    CHECK(i >= 0 && i < N);
    return r->slots[i];
}

/* ---- the ledger ----------------------------------------------------------------------------------------------- */

static void the_ledger_drains_by_the_clock(room *r)
{
    double p = terms_of(r, 0, 10).work_s; /* without the wait for a step, which the two may share */
    gdp_lot first = place(r, 0, 10), second = place(r, 0, 10);
    CHECK(near(p, gdp_prefill_s(&r->rates[0], 4000, 0) - r->rates[0].prefill.theta[0]));
    CHECK(near(gdp_tally_backlog_s(r->t, &r->w, 0, 10), 2 * p));
    CHECK(near(gdp_tally_backlog_s(r->t, &r->w, 0, 10 + p / 2), 1.5 * p));
    /* Overdue: what is booked does not vanish. */
    CHECK(near(gdp_tally_backlog_s(r->t, &r->w, 0, 100), 2 * p * r->w.floor));
    gdp_tally_first(r->t, &r->rates[0], &first, 10 + p / 2); /* sooner than predicted: the second is still to do */
    CHECK(near(gdp_tally_backlog_s(r->t, &r->w, 0, 10 + p / 2), p));
    CHECK(r->t->running[0] == 1 && r->t->waiting[0] == 1);
    gdp_tally_end(r->t, &r->rates[0], &second, 0, 11); /* its client went before the first token */
    CHECK(gdp_tally_backlog_s(r->t, &r->w, 0, 11) <= 0);
    gdp_tally_end(r->t, &r->rates[0], &first, 200, 14);
    gdp_tally_end(r->t, &r->rates[0], &first, 200, 15); /* twice: nothing more */
    CHECK(r->t->running[0] == 0 && r->t->context[0] == 0 && r->t->kv_tokens[0] == 0);
}

static void whatever_happens_the_ledger_ends_empty(room *r)
{
    enum { LIVES = 300 };
    static gdp_lot lots[LIVES];
    uint64_t random = 11;
    double now = 50;
    memset(lots, 0, sizeof lots);
    for (int step = 0; step < 20000; step++) {
        gdp_lot *lot = &lots[gdp_random(&random) % LIVES];
        now += random_up_to(&random, 0.02);
        r->ask.prompt_tokens = 1 + gdp_random(&random) % 60000;
        if (!lot->state) *lot = place(r, gdp_random(&random) % N, now);
        else if (lot->state == 1 && gdp_random(&random) % 4) gdp_tally_first(r->t, &r->rates[0], lot, now);
        else gdp_tally_end(r->t, &r->rates[0], lot, gdp_random(&random) % 500, now);
        CHECK(isfinite(gdp_tally_backlog_s(r->t, &r->w, lot->slot, now)));
    }
    for (int i = 0; i < LIVES; i++) gdp_tally_end(r->t, &r->rates[0], &lots[i], 1, now);
    for (uint32_t i = 0; i < N; i++) {
        CHECK(r->t->running[i] == 0 && r->t->waiting[i] == 0 && r->t->booked_s[i] == 0);
        CHECK(r->t->context[i] < 1e-3 && r->t->kv_tokens[i] < 1e-3);
    }
}

/* ---- the rates ------------------------------------------------------------------------------------------------ */

/* An engine with rates of its own, far from the prior: 20 times as fast. */
static double true_prefill(double uncached, double attention)
{
    return 0.002 + uncached * 2.5e-6 + attention * 8e-11;
}

static void the_rates_of_a_class_are_learnt(room *r)
{
    uint64_t random = 5;
    gdp_rates *g = &r->rates[0];
    for (int i = 0; i < 600; i++) {
        double u = random_up_to(&random, 30000), c = random_up_to(&random, 30000), a = u * (c + u / 2);
        CHECK(gdp_rates_prefill(g, u, a, 1, true_prefill(u, a) * (0.9 + random_up_to(&random, 0.2))) == 0);
        double b = random_up_to(&random, 200), kv = random_up_to(&random, 4e5);
        CHECK(gdp_rates_step(g, b, kv, 0.004 + b * 2e-5 + kv * 2e-8) == 0);
    }
    for (double u = 1000; u < 30000; u += 3000)
        CHECK(fabs(gdp_prefill_s(g, u, 5000) / true_prefill(u, u * (5000 + u / 2)) - 1) < 0.08);
    CHECK(fabs(gdp_step_s(g, 100, 2e5) / (0.004 + 2e-3 + 4e-3) - 1) < 0.02);
    CHECK(g->prefill.error < 0.15);
}

static void the_rates_follow_a_change(room *r)
{
    gdp_rates *g = &r->rates[0];
    uint64_t random = 6;
    for (int i = 0; i < 4000; i++) {
        double u = 100 + random_up_to(&random, 20000), a = u * u / 2;
        gdp_rates_prefill(g, u, a, 1, true_prefill(u, a) * (i < 1000 ? 1 : 3));
    }
    CHECK(fabs(gdp_prefill_s(g, 10000, 0) / (3 * true_prefill(1e4, 5e7)) - 1) < 0.1);
}

static void garbage_is_refused_and_harms_nothing(room *r)
{
    static const double JUNK[] = {0, -1, NAN, INFINITY, -INFINITY, 1e9, 1e300};
    gdp_rates *g = &r->rates[0];
    double before = gdp_prefill_s(g, 8000, 0);
    for (unsigned i = 0; i < sizeof JUNK / sizeof *JUNK; i++) {
        CHECK(gdp_rates_prefill(g, 100, 5000, 1, JUNK[i]) == GDP_BAD);
        CHECK(gdp_rates_step(g, 3, 100, JUNK[i]) == GDP_BAD);
    }
    CHECK(gdp_rates_prefill(g, NAN, 5000, 1, 1) == GDP_BAD && gdp_rates_prefill(g, 1, -5, 1, 1) == GDP_BAD);
    CHECK(gdp_rates_output(g, NAN) == GDP_BAD && gdp_rates_output(g, -1) == GDP_BAD);
    CHECK(near(before, gdp_prefill_s(g, 8000, 0)) && g->prefill.refused == 9);
    uint64_t random = 8;
    for (int i = 0; i < 100000; i++) /* admissible, and nonsense */
        gdp_rates_prefill(g, random_up_to(&random, 1e5), random_up_to(&random, 1e9), 1, random_up_to(&random, 9000));
    for (int i = 0; i < GDP_FIT_TERMS; i++) {
        CHECK(g->prefill.theta[i] >= g->prefill.low[i] && g->prefill.theta[i] <= g->prefill.high[i]);
        for (int j = 0; j < GDP_FIT_TERMS; j++) CHECK(isfinite(g->prefill.p[i][j]));
    }
    for (int i = 0; i < 6000; i++) { /* and back to sense */
        double u = 100 + random_up_to(&random, 20000), a = u * u / 2;
        gdp_rates_prefill(g, u, a, 1, true_prefill(u, a));
    }
    CHECK(fabs(gdp_prefill_s(g, 10000, 0) / true_prefill(1e4, 5e7) - 1) < 0.2);
}

static void many_alike_observations_do_not_make_it_credulous(room *r)
{
    gdp_rates *g = &r->rates[0];
    for (int i = 0; i < 200000; i++) gdp_rates_step(g, 8, 20000, 0.010);
    gdp_rates_step(g, 8, 20000, 5.0); /* one hiccup */
    CHECK(fabs(gdp_step_s(g, 8, 20000) / 0.010 - 1) < 0.05);
}

/* First tokens of one step are one observation, with one wait for the step before it; the time of others' prompts is not a step's. */
static void a_life_teaches_what_it_took(room *r)
{
    double now = 0;
    uint64_t random = 4;
    for (int i = 0; i < 400; i++) {
        gdp_lot lots[3];
        double took = true_prefill(0, 0);
        for (int k = 0; k < 3; k++) {
            r->ask.prompt_tokens = 500 + gdp_random(&random) % 20000;
            lots[k] = place(r, 0, now);
            took += true_prefill(lots[k].uncached, lots[k].uncached * lots[k].uncached / 2) - true_prefill(0, 0);
        }
        now += took;
        for (int k = 0; k < 3; k++) gdp_tally_first(r->t, &r->rates[0], &lots[k], now);
        now += 99 * 0.009;
        for (int k = 0; k < 3; k++) gdp_tally_end(r->t, &r->rates[0], &lots[k], 100, now);
        now += 1;
    }
    CHECK(fabs(gdp_prefill_s(&r->rates[0], 10000, 0) / true_prefill(1e4, 5e7) - 1) < 0.08);
    CHECK(fabs(gdp_step_s(&r->rates[0], 3, 33000) / 0.009 - 1) < 0.05);
    CHECK(near(r->rates[0].output_tokens, 100));
}

/* ---- the choice ----------------------------------------------------------------------------------------------- */

static void the_prefix_draws_and_the_queue_repels(room *r)
{
    r->reach[0][7] = 240;
    CHECK(choose(r, 1, NULL) == 7);
    CHECK(terms_of(r, 7, 1).cached_tokens == 240 * BLOCK);
    for (int i = 0; i < 40; i++) (void)place(r, 7, 1); /* the saving no longer pays for the wait */
    r->reach[0][7] = 0;
    for (int i = 0; i < 40; i++) (void)place(r, 7, 1);
    r->reach[0][7] = 240;
    CHECK(choose(r, 1, NULL) != 7);
}

static void at_least_one_block_is_computed(room *r)
{
    r->ask.prompt_tokens = 64 * BLOCK;
    r->reach[0][3] = 5000; /* more than the prompt has */
    CHECK(terms_of(r, 3, 0).cached_tokens == 63 * BLOCK);
    r->ask.prompt_tokens = 0;
    CHECK(terms_of(r, 3, 0).cached_tokens == 0);
    CHECK(choose(r, 0, NULL) < N);
}

static void other_media_are_worth_less_but_something(room *r)
{
    for (unsigned m = 0; m < GDP_MEDIA; m++) r->ask.reach[m] = r->reach[m];
    for (unsigned m = 0; m < GDP_MEDIA; m++) /* held on the GPU by 0, in memory by 1, on disk by 2 */
        for (uint32_t slot = 0; slot <= m; slot++) r->reach[m][slot] = 200;
    double gpu = terms_of(r, 0, 0).total, cpu = terms_of(r, 1, 0).total;
    double storage = terms_of(r, 2, 0).total, nowhere = terms_of(r, 3, 0).total;
    CHECK(gpu < cpu && cpu < storage && storage < nowhere);
}

static void a_full_memory_is_avoided(room *r)
{
    for (uint32_t i = 0; i < N; i++) r->slots[i] = i;
    gdp_tally_scraped(r->t, 5, 3.99e5);
    CHECK(terms_of(r, 5, 0).memory_s > 0 && terms_of(r, 6, 0).memory_s <= 0);
    gdp_tally_scraped(r->t, 5, NAN); /* a scrape that says nothing changes nothing */
    CHECK(terms_of(r, 5, 0).memory_s > 0);
    gdp_tally_reset(r->t, 5, 0, 1, 0); /* capacity not known: never full */
    CHECK(terms_of(r, 5, 0).memory_s <= 0);
}

static void what_is_explained_is_what_was_compared(room *r)
{
    uint64_t random = 77;
    for (int round = 0; round < 500; round++) {
        for (uint32_t i = 0; i < N; i++) {
            r->t->class_of[i] = round % 2 ? (uint16_t)(i % 2) : 0; /* one class, and two mixed */
            r->t->free_at_s[i] = random_up_to(&random, 3);
            r->t->booked_s[i] = random_up_to(&random, 3);
            r->t->running[i] = gdp_random(&random) % 40;
            r->t->context[i] = random_up_to(&random, 3e5);
            r->t->kv_tokens[i] = random_up_to(&random, 4.2e5);
            r->reach[0][i] = gdp_random(&random) % 3 ? 0 : gdp_random(&random) % 250;
        }
        r->rates[1].prefill.theta[1] = 0.01;
        gdp_terms chosen;
        uint32_t tied = 0;
        int at = gdp_cost_choose(r->t, r->rates, &r->w, &r->ask, r->slots, N, 1, &chosen, &tied);
        double least = INFINITY;
        for (uint32_t i = 0; i < N; i++) least = fmin(least, terms_of(r, i, 1).total);
        CHECK(at >= 0 && chosen.slot == r->slots[at] && tied >= 1);
        CHECK(chosen.total <= least + fmax(r->w.tie_ratio * least, r->w.tie_s) + 1e-12);
        CHECK(near(chosen.total, terms_of(r, chosen.slot, 1).total));
        double sum = r->w.queue * chosen.queue_s + r->w.prefill * chosen.prefill_s + r->w.stall * chosen.stall_s +
                     r->w.decode * chosen.decode_s + chosen.memory_s;
        CHECK(near(sum, chosen.total));
    }
}

static void equals_are_told_apart_by_the_first_new_block(room *r)
{
    uint32_t tied = 0, seen[N] = {0};
    for (uint64_t i = 1; i <= 6400; i++) {
        r->chain[0] = i * 0x2545f4914f6cdd1dull;
        uint32_t first = choose(r, 0, &tied);
        CHECK(tied == N);
        seen[first]++;
        for (uint32_t k = 0; k < N; k++) r->slots[k] = (N - 1) - k; /* another frontend, another order */
        CHECK(choose(r, 0, NULL) == first);
        for (uint32_t k = 0; k < N; k++) r->slots[k] = k;
    }
    for (uint32_t i = 0; i < N; i++) CHECK(seen[i] > 50 && seen[i] < 160);
    for (uint32_t i = 0; i < N; i++) r->reach[0][i] = 2; /* a system prompt that all hold: the third block decides */
    uint32_t before = choose(r, 0, NULL);
    r->chain[0] = r->chain[1] = 1;
    CHECK(choose(r, 0, NULL) == before);
    unsigned moved = 0;
    for (uint64_t i = 0; i < 20; i++) {
        r->chain[2] = i;
        moved += choose(r, 0, NULL) != before;
    }
    CHECK(moved > 10);
}

static void nobody_to_choose_from_is_an_answer(room *r)
{
    CHECK(gdp_cost_choose(r->t, r->rates, &r->w, &r->ask, r->slots, 0, 0, NULL, NULL) == GDP_BAD);
    CHECK(gdp_cost_choose(r->t, r->rates, &r->w, &r->ask, r->slots, N + 1, 0, NULL, NULL) == GDP_BAD);
    r->ask.block_tokens = 0;
    CHECK(gdp_cost_choose(r->t, r->rates, &r->w, &r->ask, r->slots, N, 0, NULL, NULL) == GDP_BAD);
}

/* Before anything is learnt: a token to be computed weighs more than one that waits there to be computed, and that one
 * more than one that is only resident. */
static void cold_it_knows_what_weighs_most(room *r)
{
    double before = terms_of(r, 0, 0).total;
    r->t->context[0] += 1000;
    double resident = terms_of(r, 0, 0).total - before;
    r->t->context[0] -= 1000;
    r->ask.prompt_tokens = 1000;
    (void)place(r, 0, 0);
    r->ask.prompt_tokens = 4000;
    double queued = terms_of(r, 0, 0).total - before;
    r->ask.prompt_tokens = 5000;
    double computed = terms_of(r, 1, 0).total - before;
    CHECK(resident > 0 && queued > 2 * resident && computed > queued);
}

static void a_long_prompt_is_kept_from_those_who_decode_a_short_one_not(room *r)
{
    r->t->running[0] = 30;
    r->ask.prompt_tokens = 400;
    double brief = terms_of(r, 0, 0).stall_s / terms_of(r, 0, 0).work_s;
    r->ask.prompt_tokens = 60000;
    double lasting = terms_of(r, 0, 0).stall_s / terms_of(r, 0, 0).work_s;
    CHECK(brief < 3 && lasting > 15); /* of the 30 */
    r->ask.prompt_tokens = 0;
    r->ask.output_tokens = 0;
    CHECK(isfinite(terms_of(r, 0, 0).total));
}

void gdp_test_cost(void)
{
    static void (*const TESTS[])(room *) = {
        the_ledger_drains_by_the_clock, whatever_happens_the_ledger_ends_empty, the_rates_of_a_class_are_learnt,
        the_rates_follow_a_change, garbage_is_refused_and_harms_nothing, many_alike_observations_do_not_make_it_credulous,
        a_life_teaches_what_it_took, the_prefix_draws_and_the_queue_repels, at_least_one_block_is_computed,
        other_media_are_worth_less_but_something, a_full_memory_is_avoided, what_is_explained_is_what_was_compared,
        equals_are_told_apart_by_the_first_new_block, nobody_to_choose_from_is_an_answer, cold_it_knows_what_weighs_most,
        a_long_prompt_is_kept_from_those_who_decode_a_short_one_not,
    };
    static room r;
    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++) {
        set_up(&r);
        CHECK(r.t != NULL);
        TESTS[i](&r);
        gdp_tally_free(r.t);
    }
}

void gdp_oom_cost(void)
{
    static room r;
    set_up(&r);
    gdp_tally_free(r.t);
}

typedef struct {
    gdp_tally *t;
    gdp_rates rates;
    gdp_weights w;
    gdp_ask ask;
    uint32_t n, reach[1024], slots[1024];
    uint64_t chain[256];
    double now_s;
} yard;

static void bench_choose(void *arg)
{
    yard *y = arg;
    gdp_terms terms;
    gdp_lot lot;
    y->now_s += 1e-3;
    (void)gdp_cost_choose(y->t, &y->rates, &y->w, &y->ask, y->slots, y->n, y->now_s, &terms, NULL);
    gdp_tally_place(y->t, &lot, &y->ask, &terms, y->now_s);
    gdp_tally_first(y->t, &y->rates, &lot, y->now_s + 0.01);
    gdp_tally_end(y->t, &y->rates, &lot, 100, y->now_s + 1);
}

void gdp_bench_cost(void)
{
    static yard y;
    uint64_t random = 9;
    y.t = gdp_tally_new(1024);
    gdp_rates_init(&y.rates);
    gdp_weights_init(&y.w);
    y.ask = (gdp_ask){.prompt_tokens = 4000, .block_tokens = BLOCK, .output_tokens = 200, .reach = {y.reach},
                      .chain = y.chain, .blocks = 250};
    for (uint32_t i = 0; i < 1024; i++) {
        gdp_tally_reset(y.t, i, 0, i * 77 + 1, 4e5);
        y.slots[i] = i;
        y.reach[i] = gdp_random(&random) % 8 ? 0 : gdp_random(&random) % 250;
        y.t->running[i] = gdp_random(&random) % 40;
        y.t->context[i] = random_up_to(&random, 3e5);
    }
    for (y.n = 16; y.n <= 1024; y.n *= 4) {
        char name[64];
        snprintf(name, sizeof name, "select, book, first token, settle: %u workers", y.n);
        gdp_bench_row(name, 0, gdp_bench_ns(bench_choose, &y));
    }
    gdp_tally_free(y.t);
}

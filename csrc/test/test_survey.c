/* test_survey.c -- many workers looked at at once against each looked at alone: the same doors, the same costs to the last
 * bit, the same choice. What is here is written plainly, a worker at a time, from late.h and the terms that are explained. */
#include <math.h>

#include "gdp/load.h"
#include "test.h"

#define SLOTS 300
#define CLASSES 3
#define LEARNT 16

void gdp_test_survey(void);
void gdp_oom_survey(void);
void gdp_test_roster(void);

typedef struct {
    gdp_tally *t;
    gdp_rates rates[CLASSES];
    gdp_weights w, usual;
    gdp_late_rule rule;
    uint32_t reach[GDP_MEDIA][SLOTS];
    uint64_t chain[64];
    gdp_ask ask;
    gdp_worker workers[SLOTS];
    uint32_t which[SLOTS], n;
    uint64_t random;
    double now_s;
} room;

static double up_to(room *r, double high)
{
    return high * gdp_random(&r->random) / 4294967296.0;
}

static uint32_t any(room *r, uint32_t n)
{
    return gdp_random(&r->random) % n;
}

static void furnish_rates(room *r)
{
    for (unsigned i = 0; i < CLASSES; i++) {
        gdp_rates_init(&r->rates[i]);
        for (uint32_t k = any(r, 3) * LEARNT / 2; k > 0; k--) (void)gdp_rates_prefill(&r->rates[i], 500 + up_to(r, 4000), 2e6, 1, up_to(r, 1));
        for (uint32_t k = any(r, 3) * LEARNT / 2; k > 0; k--) (void)gdp_rates_step(&r->rates[i], up_to(r, 60), up_to(r, 2e5), up_to(r, 0.06));
    }
}

/* One in `rare` of the numbers is what most tables do not have. */
static void furnish_slots(room *r, uint32_t rare)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        gdp_tally_reset(r->t, i, (uint16_t)any(r, CLASSES), gdp_random(&r->random) * 0x9e3779b97f4a7c15ull, any(r, rare) ? 4e5 : 0);
        r->t->inflight[i] = any(r, 4) ? any(r, 30) : 0;
        r->t->free_at_s[i] = r->now_s + up_to(r, 3) - 1.5;
        r->t->booked_s[i] = up_to(r, 3);
        r->t->running[i] = any(r, 40);
        r->t->waiting[i] = any(r, 4);
        r->t->context[i] = up_to(r, 3e5);
        r->t->kv_tokens[i] = up_to(r, any(r, rare) ? 3.9e5 : 6e5);
        r->reach[0][i] = any(r, 3) ? 0 : any(r, 70);
        r->reach[1][i] = r->reach[0][i] + any(r, 8);
        r->reach[2][i] = r->reach[1][i] + any(r, 8);
    }
}

/* Idle twins, so that most of them cost the same. */
static void furnish_alike(room *r)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        gdp_tally_reset(r->t, i, 0, gdp_random(&r->random) * 0x9e3779b97f4a7c15ull, 4e5);
        r->t->inflight[i] = 0;
        for (unsigned m = 0; m < GDP_MEDIA; m++) r->reach[m][i] = any(r, 2) ? 40 : 41;
    }
}

/* Workers that follow one another, with holes, or in any order. */
static void furnish_workers(room *r)
{
    const uint32_t first = any(r, 40), holes = any(r, 3), stride = any(r, 4) ? 1 : 7;
    r->n = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        const uint32_t slot = (first + i * stride) % SLOTS;
        if (holes && !any(r, holes * 6)) continue;
        r->workers[r->n] = (gdp_worker){.slot = slot, .key = r->t->key[slot], .class_of = r->t->class_of[slot], .state = GDP_READY,
                                        .max_inflight = any(r, 5) ? 0 : 1 + any(r, 30)};
        if (!any(r, 9)) r->workers[r->n].state = (uint8_t)any(r, 5);
        r->which[r->n] = r->n;
        r->n++;
        if (!any(r, 200)) break;
    }
}

static void furnish(room *r, uint64_t seed)
{
    r->random = seed * 0x9e3779b97f4a7c15ull + 1;
    r->now_s = 100 + up_to(r, 10);
    gdp_weights_init(&r->w);
    gdp_weights_init(&r->usual);
    if (any(r, 3)) r->w.floor = up_to(r, 1);
    gdp_late_rule_init(&r->rule);
    furnish_rates(r);
    if (any(r, 5)) furnish_slots(r, 1 + any(r, 20));
    else furnish_alike(r);
    furnish_workers(r);
    for (uint32_t i = 0; i < 64; i++) r->chain[i] = gdp_random(&r->random) * 0xda942042e4dd58b5ull;
    r->ask = (gdp_ask){.prompt_tokens = any(r, 9) ? any(r, 1200) : 0, .block_tokens = 1 + any(r, 32), .output_tokens = any(r, 400),
                       .chain = any(r, 5) ? r->chain : NULL, .blocks = any(r, 65), .salt = gdp_random(&r->random)};
    for (unsigned m = 0; m < GDP_MEDIA; m++) r->ask.reach[m] = any(r, m ? 3 : 9) ? (m ? NULL : r->reach[0]) : m ? r->reach[m] : NULL;
}

/* ---- a worker at a time ------------------------------------------------------------------------------------------------ */

#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
#define TABLES 150u /* each access costs ten times as much */
#else
#define TABLES 3000u
#endif

typedef enum { SHUT, LADEN, OPEN } door;

static door door_of(const room *r, const gdp_worker *w, const gdp_late_rule *rule, double prompt)
{
    const gdp_tally *t = r->t;
    const uint32_t inflight = (uint32_t)t->inflight[w->slot];
    if (w->max_inflight && inflight >= w->max_inflight) return SHUT;
    if (!rule || !inflight || !isfinite(t->kv_capacity[w->slot])) return OPEN;
    const gdp_rates *rates = &r->rates[w->class_of];
    double backlog = 0, step = 0;
    if (rates->prefill.n >= LEARNT) backlog = gdp_tally_backlog_s(t, &r->usual, w->slot, r->now_s);
    if (rates->step.n >= LEARNT && gdp_step_s(rates, 1, prompt) <= rule->hold * rule->itl_slo_s)
        step = gdp_step_s(rates, t->running[w->slot] + t->waiting[w->slot] + 1, t->context[w->slot] + prompt);
    if (gdp_late_open(rule, backlog, inflight, w->max_inflight, step)) return OPEN;
    return gdp_late_bears(rule, inflight, w->max_inflight, step) ? LADEN : SHUT;
}

static uint64_t mix(uint64_t block, uint64_t key)
{
    uint64_t x = block ^ (key * 0x9e3779b97f4a7c15ull);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static const uint32_t *lowest(const gdp_ask *ask)
{
    return ask->reach[2] ? ask->reach[2] : ask->reach[1] ? ask->reach[1] : ask->reach[0];
}

/* The cheapest of the places that are not INFINITY in cost[], as gdp/cost.h says. */
static uint32_t plain_choice(const room *r, const gdp_roster *roster, const double *cost, const gdp_terms *terms, uint32_t *tied)
{
    double least = INFINITY;
    uint32_t deepest = 0, best = 0, most = 0;
    uint64_t high = 0;
    for (uint32_t i = 0; i < roster->places; i++) {
        if (!(cost[i] < INFINITY)) continue;
        const uint32_t *reach = lowest(&r->ask);
        least = fmin(least, cost[i]);
        if (reach && reach[roster->slot[i]] > deepest) deepest = reach[roster->slot[i]];
    }
    const gdp_ask *ask = &r->ask;
    uint64_t block = ask->salt;
    if (ask->chain && ask->blocks) block = deepest < ask->blocks ? ask->chain[deepest] : ask->chain[ask->blocks - 1] ^ ask->salt;
    *tied = 0;
    for (uint32_t i = 0; i < roster->places; i++) {
        if (!(cost[i] <= least + fmax(r->w.tie_ratio * least, r->w.tie_s))) continue;
        uint64_t score = mix(block, roster->key[i]);
        uint32_t cached = terms[i].cached_tokens;
        if (!(*tied)++ || cached > most || (cached == most && score >= high)) best = i, most = cached, high = score;
    }
    return best;
}

static void compare(room *r, const gdp_roster *roster, const gdp_doors *doors, bool price)
{
    static double cost[SLOTS + GDP_CLASSES * GDP_ROW];
    static gdp_terms terms[SLOTS + GDP_CLASSES * GDP_ROW];
    uint32_t fit = 0, open = 0, tied = 0, as_many = 0;
    gdp_survey found = gdp_cost_survey(r->t, r->rates, &r->w, price ? &r->ask : NULL, roster, doors, r->now_s);
    for (uint32_t i = 0; i < roster->places; i++) {
        door d = SHUT;
        if (roster->limit[i] > 0) d = door_of(r, &r->workers[roster->index[i]], doors->rule, doors->prompt);
        gdp_cost_terms(r->t, r->rates, &r->w, &r->ask, &roster->slot[i], 1, r->now_s, &terms[i]);
        cost[i] = d == SHUT || (d == LADEN && !price) ? INFINITY : price ? terms[i].total : 0;
        CHECK(memcmp(&cost[i], &r->t->cost[i], sizeof cost[i]) == 0);
        fit += cost[i] < INFINITY;
        open += d == OPEN;
    }
    CHECK(found.fit == fit && found.open == open);
    if (!price || !fit) return;
    uint32_t place = gdp_cost_cheapest(r->t, &r->w, &r->ask, roster, found.least, &tied);
    CHECK(place == plain_choice(r, roster, cost, terms, &as_many) && tied == as_many && tied >= 1);
}

void gdp_test_survey(void)
{
    static room r;
    unsigned priced = 0;
    r.t = gdp_tally_new(SLOTS);
    CHECK(r.t != NULL);
    for (uint64_t seed = 1; seed <= TABLES; seed++) {
        furnish(&r, seed);
        gdp_roster *roster = gdp_roster_new(r.workers, r.which, r.n);
        CHECK(roster != NULL);
        const gdp_doors doors = {.limits = roster->limit, .rule = any(&r, 4) ? &r.rule : NULL, .usual = &r.usual,
                                 .prompt = any(&r, 3) ? r.ask.prompt_tokens : 0};
        compare(&r, roster, &doors, seed % 4);
        priced += seed % 4 && roster->n > 100;
        gdp_roster_free(roster);
    }
    CHECK(priced > TABLES / 3);
    gdp_tally_free(r.t);
}

/* ---- rosters ------------------------------------------------------------------------------------------------------------- */

void gdp_test_roster(void)
{
    static const uint16_t CLASS[12] = {3, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 3};
    gdp_worker workers[12];
    uint32_t which[12];
    for (uint32_t i = 0; i < 12; i++) {
        workers[i] = (gdp_worker){.slot = 50 - i, .key = i, .class_of = CLASS[i], .state = i == 4 ? GDP_DRAINING : GDP_READY,
                                  .max_inflight = i};
        which[i] = i;
    }
    gdp_roster *r = gdp_roster_new(workers, which, 12);
    CHECK(r && r->n == 11 && r->places == 16 && r->n_runs == 2);
    CHECK(r->run[0].class_of == 0 && r->run[0].n == 8 && r->run[1].class_of == 3 && r->run[1].begin == 8 && r->run[1].n == 3);
    CHECK(r->slot[0] == 40 && r->slot[7] == 49 && r->stand[0] == 0); /* slot 46 drains: its row is not whole */
    CHECK(r->slot[8] == 39 && r->slot[10] == 50 && r->stand[1] == 0);
    for (uint32_t i = 0; i < r->places; i++) {
        CHECK(i >= 11 ? r->limit[i] <= 0 : r->limit[i] >= 1);
        CHECK(workers[r->index[i]].slot == r->slot[i]);
    }
    gdp_roster_free(r);
    CHECK((r = gdp_roster_new(workers, which + 5, 5)) != NULL);
    CHECK(r->n == 5 && r->places == 8 && r->stand[0] == 5);
    gdp_roster_free(r);
    CHECK((r = gdp_roster_new(workers, which, 0)) != NULL && r->n == 0 && r->n_runs == 0);
    gdp_roster_free(r);
}

void gdp_oom_survey(void)
{
    const gdp_worker one = {.slot = 7, .state = GDP_READY};
    gdp_roster_free(gdp_roster_new(&one, (const uint32_t[]){0}, 1));
}

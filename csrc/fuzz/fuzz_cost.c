/* fuzz_cost.c -- lives of requests in any order, and observations of any bits: the rates stay in their bounds, the ledger
 * stays finite and ends empty, and somebody is chosen. Twelve bytes are one act: what, whom, where, prompt, a number. */
#include <math.h>

#include "fuzz.h"
#include "gdp/cost.h"

#define SLOTS 8
#define LIVES 32
#define ACT 12

int gdp_fuzz_cost(const uint8_t *data, size_t size);

static void check_fit(const gdp_fit *f)
{
    for (int i = 0; i < GDP_FIT_TERMS; i++) {
        FUZZ_CHECK(f->theta[i] >= f->low[i] && f->theta[i] <= f->high[i]);
        FUZZ_CHECK(f->p[i][i] > 0 && isfinite(f->p[i][i]));
    }
    FUZZ_CHECK(isfinite(f->error) && isfinite(f->bias));
}

static void choose_and_place(gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, gdp_lot *lot, const uint8_t *act,
                             double now_s)
{
    uint32_t reach[SLOTS], slots[SLOTS], n = 1 + act[2] % SLOTS, prompt, tied;
    uint64_t chain[4] = {act[1], act[2], act[3], act[0]};
    memcpy(&prompt, act + 4, sizeof prompt);
    for (uint32_t i = 0; i < SLOTS; i++) {
        slots[i] = i;
        reach[i] = act[4 + i % 8] * (uint32_t)act[3];
    }
    gdp_ask ask = {.prompt_tokens = prompt % 2000000, .block_tokens = 16, .output_tokens = act[8], .reach = {reach},
                   .chain = chain, .blocks = 4};
    gdp_terms chosen;
    int best = gdp_cost_choose(t, rates, w, &ask, slots, n, now_s, &chosen, &tied);
    FUZZ_CHECK(best >= 0 && (uint32_t)best < n && tied >= 1 && tied <= n);
    FUZZ_CHECK(isfinite(chosen.total) && chosen.cached_tokens <= ask.prompt_tokens);
    gdp_tally_place(t, lot, &ask, &chosen, now_s);
}

int gdp_fuzz_cost(const uint8_t *data, size_t size)
{
    gdp_tally *t = gdp_tally_new(SLOTS);
    gdp_rates rates;
    gdp_weights w;
    gdp_lot lots[LIVES] = {{0}};
    double now_s = 1, number;
    FUZZ_CHECK(t);
    gdp_rates_init(&rates);
    gdp_weights_init(&w);
    for (uint32_t i = 0; i < SLOTS; i++) gdp_tally_reset(t, i, 0, i + 1, i % 2 ? 0 : 1e5);
    for (; size >= ACT; data += ACT, size -= ACT) {
        gdp_lot *lot = &lots[data[1] % LIVES];
        memcpy(&number, data + 4, sizeof number);
        now_s += data[3] * 1e-3;
        switch (data[0] % 7) {
        case 0: if (!lot->state) choose_and_place(t, &rates, &w, lot, data, now_s); break;
        case 1: gdp_tally_first(t, &rates, lot, now_s); break;
        case 2: gdp_tally_unseen(t, lot, now_s); break;
        case 3: gdp_tally_end(t, &rates, lot, number, now_s); break;
        case 4: (void)gdp_rates_prefill(&rates, data[2] * 100.0, data[3] * 1e5, 1, number); break;
        case 5: (void)gdp_rates_step(&rates, number, data[2] * 1e3, data[3] * 1e-3); break;
        default: gdp_tally_scraped(t, data[2] % SLOTS, number);
        }
        check_fit(&rates.prefill);
        check_fit(&rates.step);
        for (uint32_t i = 0; i < SLOTS; i++) FUZZ_CHECK(isfinite(gdp_tally_backlog_s(t, &w, i, now_s)));
    }
    for (uint32_t i = 0; i < LIVES; i++) gdp_tally_end(t, &rates, &lots[i], 0, now_s);
    for (uint32_t i = 0; i < SLOTS; i++) FUZZ_CHECK(t->running[i] == 0 && t->waiting[i] == 0 && t->booked_s[i] == 0);
    gdp_tally_free(t);
    return 0;
}

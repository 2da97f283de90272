/* survey_lanes.h -- the loops of survey.c, over LANES workers at a time. Included once per width, after cost_lanes.h. */

typedef struct {
    LANED(mask) shut, unopen; /* how many; of these and those who are laden */
    double least;
} LANED(found);

/* Those of the view from the k-th on. price: not the doors alone. Both are constants where this is inlined. */
LANES_INLINE num LANED(survey_some)(const survey *s, const common *c, const bounds *b, const view *v, size_t k,
                                    uint32_t place, LANED(found) *found, bool price, bool media)
{
    const LANED(seen) w = LANED(look)(v, k, &s->held, media);
    const num backlog = LANED(backlog_of)(&w, s->floor, s->now_s), step = LANED(step_of)(c, &w, s->prompt);
    /* An idle one is open to all, and one that does not tell its cache's size is no engine: load.h. */
    const LANED(mask) ruled = (w.inflight > 0.0) & (w.capacity < INFINITY), laden = ruled & (backlog > b->backlog_s);
    const LANED(mask) shut = (w.inflight >= LOAD(s->limits + place)) | (ruled & (step > b->step_s)) | (price ? (LANED(mask)){0} : laden);
    num total = ALL(0.0);
    if (price) {
        total = LANED(price_of)(c, &w, s->own_floor, s->now_s).total;
        STORE(s->cached + place, w.cached);
    }
    total = LESS(total, ALL(DBL_MAX)); /* weights beyond all measure: infinite says that it is shut */
    COUNT(found->shut, shut);
    COUNT(found->unopen, shut | laden);
    return PICK(shut, ALL(INFINITY), total);
}

LANES_INLINE void LANED(survey_row)(const survey *s, const common *c, const bounds *b, const view *v, uint32_t place,
                                    LANED(found) *found, bool price, bool media)
{
    num least = ALL(INFINITY);
    for (uint32_t k = 0; k < GDP_ROW; k += LANES) {
        const num cost = LANED(survey_some)(s, c, b, v, k, place + k, found, price, media);
        STORE(s->cost + place + k, cost);
        least = LESS(cost, least);
    }
    const double low = LEAST(least);
    s->low[place / GDP_ROW] = low;
    found->least = low < found->least ? low : found->least;
}

LANES_INLINE gdp_survey LANED(survey_rows)(const survey *all, const gdp_rates *rates, const gdp_weights *w,
                                           const gdp_ask *ask, bool price, bool media)
{
    const survey s = *all;
    LANED(found) found = {.least = INFINITY};
    gathered g;
    for (uint32_t i = 0; i < s.roster->n_runs; i++) {
        const gdp_run run = s.roster->run[i];
        const common c = common_of(&rates[run.class_of], w, ask);
        const bounds b = bounds_of(&s, &rates[run.class_of]);
        for (uint32_t place = run.begin; place < run.end; place += GDP_ROW) {
            const view v = row_at(&s, place, &g, media);
            LANED(survey_row)(&s, &c, &b, &v, place, &found, price, media);
        }
    }
    int64_t shut[LANES], unopen[LANES];
    memcpy(shut, &found.shut, sizeof shut);
    memcpy(unopen, &found.unopen, sizeof unopen);
    gdp_survey told = {.fit = s.roster->places, .open = s.roster->places, .least = found.least};
    for (size_t k = 0; k < LANES; k++) {
        told.fit -= (uint32_t)shut[k];
        told.open -= (uint32_t)unopen[k];
    }
    return told;
}

LANES_WIDTH static gdp_survey LANED(survey_by)(const survey *s, const gdp_rates *rates, const gdp_weights *w,
                                             const gdp_ask *ask)
{
    static const gdp_ask NOTHING = {.block_tokens = 1};
    if (!ask) return LANED(survey_rows)(s, rates, w, &NOTHING, false, false);
    return s->held.media ? LANED(survey_rows)(s, rates, w, ask, true, true) : LANED(survey_rows)(s, rates, w, ask, true, false);
}

/* Those within the limit: how many, and into t->equal those of them that hold most. */
LANES_WIDTH static uint32_t LANED(deepest_within)(const gdp_tally *t, uint32_t places, double limit, uint32_t *within)
{
    num most = ALL(-1.0);
    LANED(mask) n = {0};
    for (uint32_t row = 0; row < places; row += GDP_ROW) {
        if (!(t->low[row / GDP_ROW] <= limit)) continue;
        for (uint32_t i = row; i < row + GDP_ROW; i += LANES) {
            const LANED(mask) in = LOAD(t->cost + i) <= limit;
            const num cached = PICK(in, LOAD(t->cached + i), ALL(-1.0));
            most = MORE(cached, most);
            COUNT(n, in);
        }
    }
    const double deep = MOST(most);
    uint32_t listed = 0;
    for (uint32_t row = 0; row < places; row += GDP_ROW) {
        if (!(t->low[row / GDP_ROW] <= limit)) continue;
        for (uint32_t i = row; i < row + GDP_ROW; i += LANES) {
            uint32_t bits = (uint32_t)ANY((LOAD(t->cost + i) <= limit) & (LOAD(t->cached + i) >= deep));
            for (; bits; bits &= bits - 1) t->equal[listed++] = i + (uint32_t)__builtin_ctz(bits);
        }
    }
    int64_t counts[LANES];
    memcpy(counts, &n, sizeof counts);
    *within = 0;
    for (size_t k = 0; k < LANES; k++) *within += (uint32_t)counts[k];
    return listed;
}

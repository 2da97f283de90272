/* survey.c -- see gdp/cost.h: doors and costs of many workers at once.
 *
 * A row of eight places is read where it stands, or gathered first where its slots do not follow one another; then the
 * arithmetic of cost_lanes.h runs over it, compiled twice from the same text: a worker at a time for any machine, and four
 * with AVX2, chosen between at run time. What is rare (circuits, workers already tried, caps) comes as a column of
 * limits, so nothing here branches on a worker. */
#include "cost_inner.h"

#if defined(__x86_64__) && !defined(GDP_SCALAR)
#define GDP_AVX2 1
#endif

#define LEARNT 16 /* observations before a rate may make a worker full */

/* All that the loops read, in one place of which they keep copies: what they write might be anything to the compiler. */
typedef struct {
    const double *seen; /* the tally's columns */
    size_t pitch;
    const gdp_roster *roster;
    const uint32_t *slot; /* of the roster */
    const uint8_t *stand;
    const gdp_late_rule *rule;
    const double *limits;
    double *cost, *cached, *low;
    holding held;
    double now_s, prompt;
    double floor, own_floor; /* of the doors' backlog, and of the cost's */
} survey;

/* From when on a worker of the class is laden, and from when on it does not bear one more. */
typedef struct {
    double backlog_s, step_s;
} bounds;

/* A rate that is not known yet counts as 0 seconds, whatever the worker does. */
static double bound(bool known, double limit)
{
    return known ? limit : 0 <= limit ? INFINITY : -INFINITY;
}

/* As gdp_late_bears and gdp_late_open would say of each worker. */
static bounds bounds_of(const survey *s, const gdp_rates *r)
{
    if (!s->rule) return (bounds){INFINITY, INFINITY};
    const double step_s = s->rule->hold * s->rule->itl_slo_s;
    return (bounds){
        bound(r->prefill.n >= LEARNT, s->rule->full_s),
        bound(r->step.n >= LEARNT && gdp_step_s(r, 1, s->prompt) <= step_s, step_s),
    };
}

/* ---- a row --------------------------------------------------------------------------------------------------------- */

typedef struct {
    double seen[GDP_SEEN * GDP_ROW];
    uint32_t reach[GDP_MEDIA][GDP_ROW];
} gathered;

static void gather(const survey *s, const uint32_t *slots, gathered *g)
{
    const double *column = s->seen;
    for (size_t i = 0; i < GDP_SEEN; i++, column += s->pitch)
        for (size_t k = 0; k < GDP_ROW; k++) g->seen[i * GDP_ROW + k] = column[slots[k]];
    for (unsigned m = 0; m < GDP_MEDIA; m++)
        if (s->held.reach[m])
            for (size_t k = 0; k < GDP_ROW; k++) g->reach[m][k] = s->held.reach[m][slots[k]];
}

/* A row that is not full: what stands behind it is other workers' or nobody's, and not the asker's to be read. */
static void gather_reach(const survey *s, uint32_t slot, uint32_t n, gathered *g)
{
    for (unsigned m = 0; m < GDP_MEDIA; m++)
        for (uint32_t k = 0; s->held.reach[m] && k < n; k++) g->reach[m][k] = s->held.reach[m][slot + k];
}

GDP_INLINE view row_at(const survey *s, uint32_t place, gathered *g, bool media)
{
    const uint32_t *slots = s->slot + place, stand = s->stand[place / GDP_ROW];
    view v = {.at = s->seen + slots[0], .pitch = s->pitch, .reach = {GDP_NOTHING, GDP_NOTHING, GDP_NOTHING}};
    if (GDP_UNLIKELY(!stand)) {
        gather(s, slots, g);
        v.at = g->seen;
        v.pitch = GDP_ROW;
    } else if (GDP_UNLIKELY(stand < GDP_ROW)) {
        gather_reach(s, slots[0], stand, g);
    }
    for (unsigned m = 0; m < (media ? GDP_MEDIA : 1); m++)
        if (s->held.reach[m]) v.reach[m] = stand == GDP_ROW ? s->held.reach[m] + slots[0] : g->reach[m];
    return v;
}

/* ---- one at a time --------------------------------------------------------------------------------------------------- */

#define LANES 1
#define LANES_WIDTH
#define LANES_INLINE GDP_INLINE
#define LANED(name) name##1
#define ALL(x) (x)
#define PICK(mask, a, b) ((mask) ? (a) : (b))
#define LESS(a, b) lesser(a, b)
#define MORE(a, b) greater(a, b)
#define ANY(mask) ((mask) != 0)
#define COUNT(n, mask) ((n) += (mask))
#define LEAST(x) (x)
#define MOST(x) (x)
#define LOAD(p) (*(p))
#define LOAD_BLOCKS(p) ((double)*(p))
#define STORE(p, x) (*(p) = (x))
#define num double
typedef int64_t mask1;
#include "cost_lanes.h"
#include "survey_lanes.h"

/* ---- four with AVX2 ---------------------------------------------------------------------------------------------------- */

#ifdef GDP_AVX2
#include <immintrin.h>

#undef LANES
#undef LANES_WIDTH
#undef LANES_INLINE
#undef LANED
#undef ALL
#undef PICK
#undef LESS
#undef MORE
#undef ANY
#undef COUNT
#undef LEAST
#undef MOST
#undef LOAD
#undef LOAD_BLOCKS
#undef STORE
#undef num

#define LANES 4
#define LANES_WIDTH __attribute__((target("avx2")))
#define LANES_INLINE static inline __attribute__((target("avx2"), always_inline))
#define LANED(name) name##4
#define ALL(x) _mm256_set1_pd(x)
#define LESS(a, b) _mm256_min_pd((a), (b)) /* a < b ? a : b, as the scalar one */
#define MORE(a, b) _mm256_max_pd((a), (b))
#define PICK(mask, a, b) _mm256_blendv_pd((b), (a), (__m256d)(mask))
#define ANY(mask) _mm256_movemask_pd((__m256d)(mask))
#define COUNT(n, mask) ((n) -= (mask)) /* a set lane is -1 */
#define LEAST(x) least_of4(x)
#define MOST(x) (-least_of4(-(x)))
#define LOAD(p) _mm256_loadu_pd(p)
#define LOAD_BLOCKS(p) blocks_at4(p)
#define STORE(p, x) _mm256_storeu_pd((p), (x))
#define num __m256d
typedef int64_t mask4 __attribute__((vector_size(32)));

LANES_INLINE double least_of4(__m256d x)
{
    const __m128d two = _mm_min_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_min_sd(two, _mm_unpackhi_pd(two, two)));
}

/* There is no instruction for unsigned numbers: they are put into the lower bits of 2^52, which is then taken off. */
LANES_INLINE __m256d blocks_at4(const uint32_t *p)
{
    const __m256i blocks = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(const void *)p));
    const __m256d much = _mm256_set1_pd(0x1p52);
    return _mm256_or_pd(_mm256_castsi256_pd(blocks), much) - much;
}

#include "cost_lanes.h"
#include "survey_lanes.h"
#endif

/* ---- the better of the two ------------------------------------------------------------------------------------------- */

gdp_survey gdp_cost_survey(gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                           const gdp_roster *roster, const gdp_doors *doors, double now_s)
{
    survey s = {
        .seen = t->inflight, .pitch = t->pitch, .roster = roster, .slot = roster->slot, .stand = roster->stand, .rule = doors->rule, .limits = doors->limits, .cost = t->cost, .cached = t->cached, .low = t->low, .now_s = now_s,
        .prompt = doors->prompt, .floor = doors->usual->floor, .own_floor = w->floor,
    };
    if (ask) s.held = holding_of(ask, w);
#ifdef GDP_AVX2
    if (__builtin_cpu_supports("avx2")) return survey_by4(&s, rates, w, ask);
#endif
    return survey_by1(&s, rates, w, ask);
}

/* ---- the cheapest ------------------------------------------------------------------------------------------------------ */

/* splitmix64's finisher: a block and a worker's key, mixed. */
static uint64_t mix(uint64_t block, uint64_t key)
{
    uint64_t x = block ^ (key * 0x9e3779b97f4a7c15ull);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* The deepest match of any that may be chosen; some are listed. Nobody needs to know how deep beyond `enough`. */
static uint32_t deepest(const gdp_tally *t, const gdp_roster *roster, const uint32_t *reach, uint32_t n_listed, uint32_t enough)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < n_listed && most < enough; i++) {
        uint32_t blocks = reach[roster->slot[t->equal[i]]];
        most = blocks > most ? blocks : most;
    }
    for (uint32_t i = 0; i < roster->places && most < enough; i++) {
        uint32_t blocks = reach[roster->slot[i]];
        most = blocks > most && t->cost[i] < INFINITY ? blocks : most;
    }
    return most;
}

static uint64_t first_new_block(const gdp_tally *t, const gdp_ask *ask, const gdp_roster *roster, uint32_t n_listed)
{
    if (!ask->chain || !ask->blocks) return ask->salt;
    unsigned m = GDP_MEDIA - 1; /* what is in the other media is in the lowest, too */
    while (m > 0 && !ask->reach[m]) m--;
    uint32_t known = ask->reach[m] ? deepest(t, roster, ask->reach[m], n_listed, ask->blocks) : 0;
    return known < ask->blocks ? ask->chain[known] : ask->chain[ask->blocks - 1] ^ ask->salt;
}

static uint32_t rendezvous(const gdp_tally *t, const gdp_ask *ask, const gdp_roster *roster, uint32_t n_listed)
{
    uint64_t block = first_new_block(t, ask, roster, n_listed), high = 0;
    uint32_t best = t->equal[0];
    for (uint32_t i = 0; i < n_listed; i++) {
        uint64_t score = mix(block, roster->key[t->equal[i]]);
        if (score >= high) high = score, best = t->equal[i];
    }
    return best;
}

static uint32_t deepest_within(const gdp_tally *t, uint32_t places, double limit, uint32_t *within)
{
#ifdef GDP_AVX2
    if (__builtin_cpu_supports("avx2")) return deepest_within4(t, places, limit, within);
#endif
    return deepest_within1(t, places, limit, within);
}

uint32_t gdp_cost_cheapest(gdp_tally *t, const gdp_weights *w, const gdp_ask *ask, const gdp_roster *roster, double least,
                           uint32_t *tied)
{
    double wide = w->tie_ratio * least, limit = least + (wide > w->tie_s ? wide : w->tie_s);
    uint32_t listed = deepest_within(t, roster->places, limit < DBL_MAX ? limit : DBL_MAX, tied);
    return listed > 1 ? rendezvous(t, ask, roster, listed) : t->equal[0];
}

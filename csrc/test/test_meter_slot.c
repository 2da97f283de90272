/* test_meter_slot.c -- buckets against the logarithm, packed slots against what went in. */
#include <math.h>

#include "gdp/meter_slot.h"
#include "test.h"

void gdp_test_meter_scale(void);
void gdp_test_meter_slot(void);
void gdp_bench_meter_slot(void);

/* ---- scale ------------------------------------------------------------------------------------------------------- */

static void a_value_lies_within_the_bounds_of_its_bucket(const gdp_scale *s)
{
    uint64_t random = 7;
    for (int i = 0; i < 200000; i++) {
        const double value = exp2(s->lo - 2 + (s->octaves + 4) * (gdp_random(&random) / 4294967296.0));
        const unsigned b = gdp_scale_bucket(s, value);
        CHECK(b < s->buckets && value <= gdp_scale_bound(s, b) && (b == 0 || value > gdp_scale_bound(s, b - 1)));
        if (b > 0 && b + 1 < s->buckets) CHECK(fabs(gdp_scale_value(s, b) / value - 1) < 0.0219);
    }
}

static void a_bound_belongs_to_the_bucket_under_it(const gdp_scale *s)
{
    for (unsigned b = 0; b + 1 < s->buckets; b++) {
        const double bound = gdp_scale_bound(s, b);
        CHECK(gdp_scale_bucket(s, bound) == b && gdp_scale_bucket(s, nextafter(bound, INFINITY)) == b + 1);
        CHECK(fabs(log2(bound) - (s->lo + b / 16.0)) < 1e-12);
    }
}

void gdp_test_meter_scale(void)
{
    static const struct {
        int lo;
        unsigned octaves;
    } ranges[] = {{-18, 30}, {0, 24}, {-64, 1}, {34, 30}, {-10, 17}};
    gdp_scale s;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        CHECK(gdp_scale_init(&s, ranges[i].lo, ranges[i].octaves) == 0 && s.buckets <= GDP_BUCKETS_MAX);
        a_value_lies_within_the_bounds_of_its_bucket(&s);
        a_bound_belongs_to_the_bucket_under_it(&s);
    }
    CHECK(gdp_scale_init(&s, -65, 10) == GDP_BAD && gdp_scale_init(&s, 40, 25) == GDP_BAD);
    CHECK(gdp_scale_init(&s, 0, 0) == GDP_BAD && gdp_scale_init(&s, 0, 31) == GDP_BAD);
    CHECK(gdp_scale_init(&s, -18, 30) == 0);
    CHECK(gdp_scale_bucket(&s, 0) == 0 && gdp_scale_bucket(&s, -1) == 0 && gdp_scale_bucket(&s, 5e-324) == 0);
    CHECK(gdp_scale_bucket(&s, INFINITY) == s.buckets - 1 && gdp_scale_bucket(&s, 1e18) == s.buckets - 1);
    CHECK(gdp_scale_value(&s, 0) == 0 && gdp_scale_value(&s, s.buckets - 1) == 4096);
}

/* ---- slots ------------------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t counts[GDP_BUCKETS_MAX];
    double got[GDP_SLOT_ROOM];
    gdp_slot slot;
    double total;
} trip;

/* Pack, carry to a page's end, unpack. */
static void there_and_back(trip *t)
{
    t->total = 0;
    for (uint32_t i = 0; i < GDP_BUCKETS_MAX; i++) t->total += t->counts[i];
    memset(t->got, 0, sizeof t->got);
    gdp_slot_pack(&t->slot, t->counts, GDP_BUCKETS_MAX);
    gdp_slot_unpack((const gdp_slot *)(const void *)gdp_walled(&t->slot, sizeof t->slot, true), 1, t->got);
    CHECK(t->slot.count == (t->total > UINT32_MAX ? UINT32_MAX : (uint32_t)t->total));
}

static double share_off(double got, double was)
{
    return was > 0 ? fabs(got / was - 1) : got;
}

static void what_lies_within_eleven_octaves_is_kept_bucket_by_bucket(void)
{
    trip t;
    uint64_t random = 3;
    for (uint32_t from = 0; from + 176 <= GDP_BUCKETS_MAX; from += 16) {
        memset(t.counts, 0, sizeof t.counts);
        for (uint32_t i = 0; i < 176; i++) t.counts[from + i] = gdp_random(&random) >> (14 + gdp_random(&random) % 18);
        there_and_back(&t);
        CHECK(t.slot.coarse == 0);
        for (uint32_t i = 0; i < GDP_BUCKETS_MAX; i++) {
            CHECK(share_off(t.got[i], t.counts[i]) <= 1 / 32.0 + 1e-9);
            if (t.counts[i] < 32) CHECK(t.got[i] == t.counts[i]);
        }
    }
}

static void more_than_that_is_packed_coarser_and_loses_nothing(void)
{
    trip t;
    uint64_t random = 5;
    for (uint32_t filled = 1; filled <= GDP_BUCKETS_MAX; filled++) {
        memset(t.counts, 0, sizeof t.counts);
        for (uint32_t i = 0; i < filled; i++) t.counts[i] = 1 + gdp_random(&random) % 31;
        there_and_back(&t);
        double got = 0, seen = 0, was = 0;
        for (uint32_t i = 0; i < GDP_BUCKETS_MAX; i++) {
            got += t.got[i], seen += t.got[i], was += t.counts[i];
            if (i % 4 == 3) CHECK(fabs(seen - was) <= 0.04 * t.total); /* no further than its neighbours */
        }
        CHECK((filled > 176) == (t.slot.coarse != 0) && share_off(got, t.total) < 0.032);
    }
}

/* Where much lies stays fine: 25 octaves are occupied, 4 in the middle hold nearly all. */
static void the_far_tails_become_coarse_first(void)
{
    trip t;
    for (uint32_t i = 0; i < GDP_BUCKETS_MAX; i++) t.counts[i] = i >= 208 && i < 272 ? 1000 : i < 400;
    there_and_back(&t);
    CHECK(t.slot.coarse != 0 && !(t.slot.coarse >> 208 / 16 & 0xf));
    for (uint32_t i = 208; i < 272; i++) CHECK(share_off(t.got[i], 1000) <= 1 / 32.0);
}

static void large_counts_are_scaled(void)
{
    trip t;
    for (unsigned bit = 0; bit < 32; bit++) {
        memset(t.counts, 0, sizeof t.counts);
        t.counts[100] = 1u << bit, t.counts[101] = (1u << bit) / 3, t.counts[300] = 1;
        there_and_back(&t);
        CHECK(share_off(t.got[100], t.counts[100]) <= 1 / 32.0 && share_off(t.got[101], t.counts[101]) <= 1 / 32.0);
        CHECK(t.got[300] >= 1 && t.got[300] <= 1 << t.slot.shift);
    }
    for (uint32_t i = 0; i < GDP_BUCKETS_MAX; i++) t.counts[i] = UINT32_MAX;
    there_and_back(&t);
    CHECK(t.slot.count == UINT32_MAX && share_off(t.got[0], UINT32_MAX) < 1 / 16.0);
}

static void any_bytes_are_read_within_bounds(void)
{
    uint64_t random = 11;
    static double into[GDP_SLOT_ROOM];
    for (int i = 0; i < 20000; i++) {
        gdp_slot slot;
        for (size_t k = 0; k < sizeof slot; k++) ((unsigned char *)&slot)[k] = (unsigned char)gdp_random(&random);
        gdp_slot_unpack((const gdp_slot *)(const void *)gdp_walled(&slot, sizeof slot, true), 1, into);
    }
}

void gdp_test_meter_slot(void)
{
    what_lies_within_eleven_octaves_is_kept_bucket_by_bucket();
    more_than_that_is_packed_coarser_and_loses_nothing();
    the_far_tails_become_coarse_first();
    large_counts_are_scaled();
    any_bytes_are_read_within_bounds();
}

/* ---- cost -------------------------------------------------------------------------------------------------------- */

static void pack(void *arg)
{
    trip *t = arg;
    gdp_slot_pack(&t->slot, t->counts, GDP_BUCKETS_MAX);
}

static void unpack(void *arg)
{
    trip *t = arg;
    gdp_slot_unpack(&t->slot, 1, t->got);
}

void gdp_bench_meter_slot(void)
{
    static trip t;
    for (uint32_t i = 120; i < 250; i++) t.counts[i] = i;
    gdp_bench_row("slot_pack, 130 buckets", sizeof t.slot, gdp_bench_ns(pack, &t));
    gdp_bench_row("slot_unpack, 130 buckets", sizeof t.slot, gdp_bench_ns(unpack, &t));
}

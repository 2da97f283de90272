/* test_index.c -- the prefix index against a model of it, over a million random operations; at its cap; without memory. */
#include "index_model.h"

#include "test.h"

void gdp_test_index(void);
void gdp_test_index_cap(void);
void gdp_test_index_words(void);
void gdp_oom_index(void);

/* Under a sanitizer an operation takes ten times as long; the million are done without. */
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
#define SHARE 10u
#else
#define SHARE 1u
#endif

static const uint32_t low_slots[WORLD_SLOTS] = {0, 1, 5, 63, 64, 65, 127, 128, 130, 190, 191, 192};
static const uint32_t far_slots[WORLD_SLOTS] = {0, 63, 64, 1000, 1001, 1023, 1024, 2047, 2048, 4000, 4094, 4095};

static gdp_index_stats counted(gdp_index *x)
{
    gdp_index_stats count;
    gdp_index_count(x, &count);
    return count;
}

static void it_agrees_with_the_truth(uint64_t seed, uint32_t operations, uint32_t blocks, const uint32_t *slots)
{
    gdp_world w;
    CHECK(gdp_world_init(&w, (gdp_source){.state = seed}, blocks, slots, false));
    for (uint32_t i = 0; i < operations; i++) gdp_world_do(&w);
    CHECK(w.hits > operations / 8);
    for (uint32_t s = 0; s < WORLD_SLOTS; s++) gdp_index_clear(w.index, w.slot[s]);
    for (uint32_t id = 0; id < blocks; id++) memset(w.blocks[id].on, 0, sizeof w.blocks[id].on), w.blocks[id].props = 0;
    w.known = 0;
    gdp_world_settle(&w); /* nothing is left */
    CHECK(counted(w.index).segments == 0 && counted(w.index).covers == 0 && counted(w.index).cover_bytes == 0);
    gdp_world_free(&w);
}

void gdp_test_index(void)
{
    it_agrees_with_the_truth(1, 1000, 10, low_slots);
    it_agrees_with_the_truth(1, 500000 / SHARE, 60, low_slots);
    it_agrees_with_the_truth(2, 500000 / SHARE, 2000, low_slots);
    it_agrees_with_the_truth(3, 20000 / SHARE, 2000, far_slots);
}

/* ---- the cap: less is known then, never more, and memory stays below it ---------------------------------------- */

static void a_world_too_large_is_known_in_part(uint64_t seed)
{
    gdp_world w;
    CHECK(gdp_world_init(&w, (gdp_source){.state = seed}, 120000, low_slots, true));
    for (uint32_t i = 0; i < (SHARE == 1 ? 100000u : 30000u); i++) gdp_world_do(&w);
    const gdp_index_stats count = counted(w.index);
    CHECK(count.evicted > 10000 && count.blocks > 5000 && count.refused == 0 && count.forgotten == 0);
    gdp_world_free(&w);
}

/* Rows that are stored and never asked for make room for others; one that is asked for now and then stays. */
static void what_is_asked_for_stays(void)
{
    gdp_index *x = gdp_index_new(&(gdp_index_options){.bytes_max = 1u << 20});
    gdp_index_reader *r = gdp_index_reader_new(x);
    uint64_t loved[50], row[100];
    uint32_t reach[1] = {0}, *const columns[GDP_INDEX_MEDIA] = {reach};
    for (uint32_t i = 0; i < 50; i++) loved[i] = gdp_world_name(i);
    CHECK(gdp_index_store(x, 0, GDP_ON_GPU, 0, true, loved, 50, NULL, 1) == 50);
    for (uint32_t k = 1; k < 5000; k++) {
        for (uint32_t i = 0; i < 100; i++) row[i] = gdp_world_name(k * 1000 + i);
        CHECK(gdp_index_store(x, 0, GDP_ON_GPU, 0, true, row, 100, NULL, k) == 100);
        CHECK(gdp_index_match(r, row, 100, k, 1, columns) == 100 && reach[0] == 100);
        if (k % 100 == 0) CHECK(gdp_index_match(r, loved, 50, k, 1, columns) == 50 && reach[0] == 50);
    }
    const gdp_index_stats count = counted(x);
    CHECK(count.bytes <= 1u << 20 && count.evicted > 400000 && count.blocks > 25000 && count.refused == 0);
    gdp_index_reader_free(r);
    gdp_index_free(x);
}

static void predictions_take_no_more_than_their_share(void)
{
    gdp_index *x = gdp_index_new(&(gdp_index_options){.bytes_max = 4u << 20, .predicted_pct = 10});
    uint64_t row[100];
    for (uint32_t k = 0; k < 1000; k++) {
        for (uint32_t i = 0; i < 100; i++) row[i] = gdp_world_name(k * 1000 + i);
        CHECK(gdp_index_predict(x, k % 7, row, 100, k, k + 100000) == 100);
    }
    const gdp_index_stats count = counted(x);
    CHECK(count.predicted_blocks == count.blocks && count.blocks <= (4u << 20) / 28 / 10 && count.blocks > 10000);
    gdp_index_free(x);
}

void gdp_test_index_cap(void)
{
    a_world_too_large_is_known_in_part(5);
    what_is_asked_for_stays();
    predictions_take_no_more_than_their_share();
}

/* ---- what the header says word by word ------------------------------------------------------------------------- */

static void bad_arguments_change_nothing(gdp_index *x)
{
    const uint64_t chain[1] = {7};
    CHECK(gdp_index_store(x, GDP_INDEX_SLOTS, GDP_ON_GPU, 0, true, chain, 1, NULL, 1) == GDP_BAD);
    CHECK(gdp_index_store(x, 0, GDP_PREDICTED, 0, true, chain, 1, NULL, 1) == GDP_BAD);
    CHECK(gdp_index_predict(x, GDP_INDEX_SLOTS, chain, 1, 1, 9) == GDP_BAD);
    CHECK(gdp_index_store(x, 0, GDP_ON_GPU, 12, false, chain, 1, NULL, 1) == GDP_ORPHAN);
    CHECK(gdp_index_remove(x, 0, GDP_PREDICTED, 7) == 0 && gdp_index_remove(x, 0, GDP_ON_GPU, 7) == 0);
    gdp_index_clear(x, GDP_INDEX_SLOTS);
    CHECK(!gdp_index_holds(x, 0, GDP_ON_GPU, 7) && gdp_index_depth(x, 7) == -1);
    CHECK(counted(x).blocks == 0 && counted(x).orphans == 1);
}

static void a_chain_that_repeats_a_name_is_cut_there(gdp_index *x)
{
    const uint64_t chain[3] = {5, 6, 5};
    CHECK(gdp_index_store(x, 0, GDP_ON_GPU, 0, true, chain, 3, NULL, 1) == GDP_BAD);
    CHECK(gdp_index_depth(x, 5) == 0 && gdp_index_depth(x, 6) == 1 && counted(x).misfits == 1);
    gdp_index_clear(x, 0);
}

static void readers_have_seats(gdp_index *x)
{
    gdp_index_reader *all[GDP_INDEX_READERS];
    for (unsigned i = 0; i < GDP_INDEX_READERS; i++) CHECK((all[i] = gdp_index_reader_new(x)));
    CHECK(!gdp_index_reader_new(x));
    for (unsigned i = 0; i < GDP_INDEX_READERS; i++) gdp_index_reader_free(all[i]);
}

/* A way of a thousand segments, more than one climb notes: every block has another set of holders. */
static void a_way_of_many_segments_is_climbed_in_parts(gdp_index *x)
{
    enum { LONG = 1000 };
    uint64_t chain[LONG];
    uint32_t reach[100], *const columns[GDP_INDEX_MEDIA] = {reach};
    gdp_index_reader *r = gdp_index_reader_new(x);
    for (uint32_t i = 0; i < LONG; i++) chain[i] = gdp_world_name(i);
    for (uint32_t s = 0; s < 2; s++)
        CHECK(gdp_index_store(x, s, GDP_ON_GPU, 0, true, chain, LONG, NULL, 1) == LONG);
    for (uint32_t i = 0; i < LONG; i += 2) CHECK(gdp_index_remove(x, 2, GDP_ON_GPU, chain[i]) == 0);
    for (uint32_t i = 1; i < LONG; i += 2)
        CHECK(gdp_index_store(x, 3, GDP_ON_GPU, chain[i - 1], false, chain + i, 1, NULL, 1) == 1);
    CHECK(gdp_index_store(x, 4, GDP_ON_GPU, 0, true, chain, 700, NULL, 1) == 700);
    CHECK(counted(x).segments > 500);
    CHECK(gdp_index_match(r, chain, LONG, 1, 100, columns) == LONG);
    CHECK(reach[0] == LONG && reach[1] == LONG && reach[2] == 0 && reach[3] == 0 && reach[4] == 700);
    gdp_index_reader_free(r);
}

void gdp_test_index_words(void)
{
    gdp_index *x = gdp_index_new(NULL);
    bad_arguments_change_nothing(x);
    a_chain_that_repeats_a_name_is_cut_there(x);
    readers_have_seats(x);
    a_way_of_many_segments_is_climbed_in_parts(x);
    gdp_index_free(x);
}

/* ---- without memory: as at the cap ----------------------------------------------------------------------------- */

void gdp_oom_index(void)
{
    gdp_world w;
    if (gdp_world_init(&w, (gdp_source){.state = 9}, 200, low_slots, true))
        for (uint32_t i = 0; i < 400; i++) gdp_world_do(&w);
    gdp_world_free(&w);
}
